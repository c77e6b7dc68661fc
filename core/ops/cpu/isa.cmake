# Flags of the kernels' files. -fno-strict-aliasing: pairs of bfloat16 values are read as one word. No fast-math: NaNs
# must stay visible, and results must not depend on what a compiler likes to reorder.
set(_kernel_flags -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -fno-strict-aliasing)
function(_caddie_isa name)
  set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/ops/cpu/isa_${name}.cpp PROPERTIES COMPILE_OPTIONS
    "${_kernel_flags};${ARGN}")
endfunction()
_caddie_isa(generic)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  _caddie_isa(avx2 -mavx2 -mfma -mf16c)
  set(_avx512 -mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
  _caddie_isa(avx512 ${_avx512})
  _caddie_isa(avx512_bf16 ${_avx512} -mavx512bf16)
  _caddie_isa(amx ${_avx512} -mavx512bf16 -mamx-tile -mamx-bf16)
endif()
