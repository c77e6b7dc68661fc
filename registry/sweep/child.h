// A job's process: started with files for its output, in a process group of its own, holding the locks that it is given
// until it ends. It outlives the runner.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "caddie/export.h"

namespace caddie::registry {

struct ChildSetup {
  std::vector<std::string> command;      // command[0] is a path
  std::vector<std::string> environment;  // "NAME=value", in place of this process's own
  std::filesystem::path out, err;        // appended to
  std::vector<int> keep;                 // descriptors that it inherits
};

// Throws Error(failed) if it cannot be started.
CADDIE_API pid_t start_child(const ChildSetup& setup);
// Whether it ended; `status` as waitpid gives it.
CADDIE_API bool reap(pid_t child, int& status);
// To the whole group; does nothing for a process that is gone.
CADDIE_API void signal_group(pid_t child, int signal);

// "killed (SIGKILL)", for people.
CADDIE_API std::string signal_text(int signal);
// The last lines of a text file, at most `lines`; empty without a file.
CADDIE_API std::string tail_of(const std::filesystem::path& file, int lines);

}  // namespace caddie::registry
