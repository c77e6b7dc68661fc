# Run by ctest with -D BUILD, WORK, GENERATOR, CXX. Every step must succeed; the first that does not ends the test.
cmake_minimum_required(VERSION 3.25)

# step(TITLE COMMAND...): leaves what it printed in `output`.
function(step title)
  message(STATUS "${title}")
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  if(NOT code EQUAL 0)
    string(JOIN " " line ${ARGN})
    message(FATAL_ERROR "${title}: exit code ${code}\n  ${line}\n${output}\n${errors}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(expect what)
  string(FIND "${output}" "${what}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "expected '${what}' in:\n${output}")
  endif()
endfunction()

set(kinds compressor quantizer optimizer ttt model)
set(prefix ${WORK}/prefix)
set(caddie ${prefix}/bin/caddie)
file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})

step("install" ${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
foreach(file bin/caddie lib/libcaddie_core.so lib/caddie/libcaddie_store.so include/caddie/plugin.h
             lib/cmake/caddie/caddieConfig.cmake lib/cmake/caddie/CaddiePlugin.cmake lib/cmake/caddie/CaddieTorch.cmake)
  if(NOT EXISTS ${prefix}/${file})
    message(FATAL_ERROR "not installed: ${file}")
  endif()
endforeach()
step("the installed program lists its plugins" ${caddie} plugin list --json)
expect("\"${prefix}/lib/caddie/libcaddie_store.so\"")

# One project of all scaffolds: a folder each, as `plugin new` writes it.
set(project "cmake_minimum_required(VERSION 3.25)\nproject(outside LANGUAGES CXX)\nfind_package(caddie REQUIRED)\n")
foreach(kind IN LISTS kinds)
  step("plugin new ${kind} my_${kind}" ${caddie} plugin new ${kind} my_${kind} --into ${WORK})
  string(APPEND project "add_subdirectory(my_${kind})\n")
endforeach()
file(WRITE ${WORK}/CMakeLists.txt "${project}")
step("configure outside of the tree" ${CMAKE_COMMAND} -S ${WORK} -B ${WORK}/build -G ${GENERATOR}
  -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_PREFIX_PATH=${prefix})
step("build" ${CMAKE_COMMAND} --build ${WORK}/build --parallel 2)

# And one alone, by the commands of its own README.
step("configure one alone" ${CMAKE_COMMAND} -S ${WORK}/my_compressor -B ${WORK}/alone -G ${GENERATOR}
  -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_PREFIX_PATH=${prefix})
step("build one alone" ${CMAKE_COMMAND} --build ${WORK}/alone)

set(path "")
set(names "")
foreach(kind IN LISTS kinds)
  set(folder ${WORK}/build/my_${kind})
  step("plugin check my_${kind}" ${caddie} plugin check ${folder}/libcaddie_my_${kind}.so)
  expect("${kind} my_${kind}")
  list(APPEND path ${folder})
  list(APPEND names my_${kind})
endforeach()
string(JOIN ":" path ${path})
string(JOIN "," names ${names})
step("plugin list finds them" ${CMAKE_COMMAND} -E env CADDIE_PLUGIN_PATH=${path} ${caddie} plugin list)
foreach(kind IN LISTS kinds)
  expect("my_${kind}")
endforeach()
step("their conformance suites" ${CMAKE_COMMAND} -E env CADDIE_PLUGIN_PATH=${path} CADDIE_CONFORMANCE=${names}
  ${BUILD}/tests/test_conformance)
expect("All tests passed")

foreach(kind IN LISTS kinds)
  step("run the example of my_${kind}" ${CMAKE_COMMAND} -E env CADDIE_PLUGIN_PATH=${path} ${caddie} run
    ${WORK}/my_${kind}/example.yaml --runs ${WORK}/runs --cache ${WORK}/cache --json)
  expect("\"status\":\"ok\"")
endforeach()
