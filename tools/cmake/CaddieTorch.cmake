# One target, caddie_torch, for the CPU and the CUDA wheel of PyTorch. find_package(Torch) is avoided on purpose:
# it probes for a CUDA toolkit and pollutes the RPATH. CADDIE_TORCH_ROOT is <site-packages>/torch.
set(CADDIE_TORCH_ROOT "" CACHE PATH "The torch folder of an installed PyTorch wheel (<site-packages>/torch)")
if(NOT EXISTS "${CADDIE_TORCH_ROOT}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch was not found: '${CADDIE_TORCH_ROOT}/lib/libtorch_cpu.so' does not exist.\n"
    "Run ./caddie, which installs it, or pass -DCADDIE_TORCH_ROOT=<site-packages>/torch.")
endif()

file(STRINGS "${CADDIE_TORCH_ROOT}/version.py" _caddie_torch_version REGEX "^__version__")
string(REGEX REPLACE ".*'([^']+)'.*" "\\1" CADDIE_TORCH_VERSION "${_caddie_torch_version}")

if(NOT TARGET caddie_torch)
  add_library(caddie_torch INTERFACE)
  target_include_directories(caddie_torch SYSTEM INTERFACE
    ${CADDIE_TORCH_ROOT}/include ${CADDIE_TORCH_ROOT}/include/torch/csrc/api/include)
  target_compile_features(caddie_torch INTERFACE cxx_std_20)
  # Per-operator headers keep a translation unit at seconds; USE_DISTRIBUTED opens c10d's TCPStore.
  target_compile_definitions(caddie_torch INTERFACE AT_PER_OPERATOR_HEADERS USE_DISTRIBUTED)
  target_link_options(caddie_torch INTERFACE LINKER:--allow-shlib-undefined)
  # libstdc++ comes first: some wheels export a std::filesystem of their own, and two in one process end in a crash.
  target_link_libraries(caddie_torch INTERFACE stdc++ ${CADDIE_TORCH_ROOT}/lib/libtorch.so
    ${CADDIE_TORCH_ROOT}/lib/libtorch_cpu.so ${CADDIE_TORCH_ROOT}/lib/libc10.so)
endif()

# The CUDA half of a CUDA wheel. Neither a toolkit nor a GPU is needed to build: tensors go to the device through ATen.
if(EXISTS "${CADDIE_TORCH_ROOT}/lib/libtorch_cuda.so" AND NOT CADDIE_TORCH_HAS_CUDA)
  set(CADDIE_TORCH_HAS_CUDA ON)
  target_link_libraries(caddie_torch INTERFACE ${CADDIE_TORCH_ROOT}/lib/libtorch_cuda.so ${CADDIE_TORCH_ROOT}/lib/libc10_cuda.so)
endif()
