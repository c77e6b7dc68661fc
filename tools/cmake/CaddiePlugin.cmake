# caddie_add_plugin(NAME KIND <model|optimizer|quantizer|compressor|ttt> SOURCES a.cpp ... [LIBRARIES ...] [NO_TORCH]
#   [COMPONENT NAME])
# builds lib/caddie/libcaddie_NAME.so. The same function serves plugins in this tree and plugins outside of it, after
# find_package(caddie). NO_TORCH: the plugin includes no LibTorch header and loads beside any LibTorch.
# COMPONENT: what a manifest calls it, where a plugin of another kind has the name already (library names are unique).
# Plugins see the SDK's headers and nothing else of caddie; libcaddie_core gives them the interfaces' key functions.
function(caddie_add_plugin name)
  cmake_parse_arguments(arg "NO_TORCH" "KIND;COMPONENT" "SOURCES;LIBRARIES" ${ARGN})
  if(NOT arg_COMPONENT)
    set(arg_COMPONENT ${name})
  endif()
  if(NOT arg_KIND MATCHES "^(model|optimizer|quantizer|compressor|ttt)$")
    message(FATAL_ERROR "caddie_add_plugin(${name}): KIND is '${arg_KIND}', accepted: model optimizer quantizer compressor ttt")
  endif()
  set(target caddie_plugin_${name})
  add_library(${target} MODULE ${arg_SOURCES})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME caddie_${name} CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON CXX_STANDARD 20 CXX_EXTENSIONS OFF)
  if(CADDIE_PLUGIN_OUTPUT)
    set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CADDIE_PLUGIN_OUTPUT}
      BUILD_RPATH "$ORIGIN/.." INSTALL_RPATH "$ORIGIN/..")
  endif()
  set(abi ${CADDIE_ABI_ID})
  if(arg_NO_TORCH)
    set(abi ${CADDIE_ABI_ID_NO_TORCH})
    target_link_libraries(${target} PRIVATE caddie::sdk)
  else()
    target_link_libraries(${target} PRIVATE caddie::sdk caddie_torch)
  endif()
  if(TARGET caddie_core)
    add_dependencies(${target} caddie_core)
  endif()
  target_compile_definitions(${target} PRIVATE CADDIE_ABI_ID=${abi} CADDIE_PLUGIN_STEM=caddie_${name})
  target_link_libraries(${target} PRIVATE ${arg_LIBRARIES})
  # An undefined symbol is a build error; third-party symbols stay inside; the library is never unmapped.
  target_link_options(${target} PRIVATE LINKER:-z,defs LINKER:-z,nodelete LINKER:--exclude-libs,ALL)
  install(TARGETS ${target} LIBRARY DESTINATION lib/caddie)
  if(COMMAND caddie_strict)
    caddie_strict(${target})
  endif()
  set_property(GLOBAL APPEND PROPERTY CADDIE_PLUGIN_TARGETS ${target})
  set_property(GLOBAL APPEND PROPERTY CADDIE_PLUGIN_KINDS ${arg_KIND}/${arg_COMPONENT})
  # A unit test beside the plugin, <name>_test.cpp, is found by its name. It is linked with the plugin's own objects, so
  # that it can call the algorithm, and runs after the library is built, so that it can load it too.
  if(CADDIE_TESTS AND COMMAND caddie_add_test AND EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${name}_test.cpp)
    caddie_add_test(plugin_${name} SOURCES ${name}_test.cpp $<TARGET_OBJECTS:${target}> LABELS fast
      LIBRARIES ${arg_LIBRARIES})
    target_include_directories(test_plugin_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
    add_dependencies(test_plugin_${name} ${target})
  endif()
endfunction()
