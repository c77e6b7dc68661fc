# The package for plugins outside of this tree: lib/cmake/caddie, found by find_package(caddie). The libraries, headers and
# plugins are installed where they are defined.
include(CMakePackageConfigHelpers)
configure_file(${CMAKE_SOURCE_DIR}/tools/cmake/caddieConfig.cmake.in ${CMAKE_BINARY_DIR}/cmake/caddieConfig.cmake @ONLY)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/cmake/caddieConfigVersion.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY ExactVersion)
install(FILES ${CMAKE_BINARY_DIR}/cmake/caddieConfig.cmake ${CMAKE_BINARY_DIR}/cmake/caddieConfigVersion.cmake
  ${CMAKE_SOURCE_DIR}/tools/cmake/CaddiePlugin.cmake ${CMAKE_SOURCE_DIR}/tools/cmake/CaddieTorch.cmake
  DESTINATION lib/cmake/caddie)
