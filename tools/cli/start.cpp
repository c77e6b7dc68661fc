// The program's start. Loading LibTorch takes a quarter of a second on every call, so that commands which only read the
// records of runs do without: they are linked here. All others are in libcaddie_cli.so, opened on demand.
#include <dlfcn.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

#include "core/comm/nccl_environment.h"
#include "tools/cli/program.h"

namespace {

// Global, as if the program were linked with it: plugins find LibTorch and caddie's libraries loaded.
int run_all_commands(int argc, char** argv) {
  std::error_code code;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", code);
  const std::string file = (self.parent_path().parent_path() / "lib" / "libcaddie_cli.so").string();
  void* const library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL);
  void* const entry = library == nullptr ? nullptr : ::dlsym(library, "caddie_main");
  if (entry == nullptr) {
    std::fprintf(stderr, "error: the program's own library cannot be loaded: %s\n  Build or install it again.\n",
                 ::dlerror());
    return 7;
  }
  return reinterpret_cast<decltype(&caddie_main)>(entry)(argc, argv);
}

}  // namespace

int main(int argc, char** argv) {
#ifndef CADDIE_SUBMISSION
  if (argc > 1 && std::string(argv[1]) == "runs")
    return caddie::cli::run_program(argc, argv, caddie::cli::add_runs_commands);
#endif
  caddie::set_nccl_environment();  // LibTorch brings NCCL
  return run_all_commands(argc, argv);
}
