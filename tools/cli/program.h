// From the command line to the exit code: runs the chosen command, and maps an error's kind to a code. Nowhere else is a
// kind turned into a code, and nothing else ends the process.
#pragma once

#include <functional>

#include "tools/cli/command.h"

namespace caddie::cli {

// `describe` adds the commands that there are.
int run_program(int argc, char** argv, const std::function<void(Command&)>& describe);

}  // namespace caddie::cli

// All commands. In libcaddie_cli.so, which takes LibTorch along: start.cpp loads it where it is needed.
extern "C" __attribute__((visibility("default"))) int caddie_main(int argc, char** argv);
