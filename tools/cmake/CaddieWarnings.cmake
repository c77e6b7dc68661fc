# Warnings are errors in our own code; LibTorch and other libraries come in as SYSTEM includes.
function(caddie_strict target)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Werror -Wshadow=local -Wnon-virtual-dtor -Wno-unknown-pragmas>)
endfunction()
