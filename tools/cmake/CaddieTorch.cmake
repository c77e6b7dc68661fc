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
  target_link_libraries(caddie_torch INTERFACE ${CADDIE_TORCH_ROOT}/lib/libtorch.so
    ${CADDIE_TORCH_ROOT}/lib/libtorch_cpu.so ${CADDIE_TORCH_ROOT}/lib/libc10.so)
endif()

# With CADDIE_CUDA, caddie_torch_cuda adds the CUDA half of the wheel. A GPU is not needed to build.
option(CADDIE_CUDA "Build the CUDA kernels; needs a CUDA wheel and the CUDA toolkit" OFF)
set(CADDIE_NVIDIA_INCLUDE "" CACHE STRING "Folders with cublas_v2.h, cusparse.h, cusolverDn.h and nccl.h")
if(CADDIE_CUDA AND NOT TARGET caddie_torch_cuda)
  if(NOT EXISTS "${CADDIE_TORCH_ROOT}/lib/libtorch_cuda.so")
    message(FATAL_ERROR "CADDIE_CUDA is on, but ${CADDIE_TORCH_ROOT} is a CPU wheel. Install a CUDA wheel: ./caddie --cuda")
  endif()
  find_package(CUDAToolkit REQUIRED)
  add_library(caddie_torch_cuda INTERFACE)
  # The toolkit comes before the wheels' folders: their cu13/include lacks crt/.
  target_include_directories(caddie_torch_cuda SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS} ${CADDIE_NVIDIA_INCLUDE})
  target_compile_definitions(caddie_torch_cuda INTERFACE USE_CUDA USE_C10D_NCCL)
  target_link_libraries(caddie_torch_cuda INTERFACE caddie_torch
    ${CADDIE_TORCH_ROOT}/lib/libtorch_cuda.so ${CADDIE_TORCH_ROOT}/lib/libc10_cuda.so CUDA::cudart)
endif()
