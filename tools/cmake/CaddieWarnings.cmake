# Warnings are errors in our own code; LibTorch and other libraries come in as SYSTEM includes.
# -Wno-restrict: g++ 12 reports false overlaps in std::string concatenation (its bug 105651).
function(caddie_strict target)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Werror -Wshadow=local -Wnon-virtual-dtor -Wno-unknown-pragmas
    -Wno-restrict>)
endfunction()
