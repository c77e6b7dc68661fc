// Runs the program as a person would: its own process, captured output, an exit code, and signals at any moment.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace caddie::test {

struct Outcome {
  int exit_code = -1;  // -1: ended by a signal
  int signal = 0;
  std::string out, err;
};

// A folder of its own under the system's temporary folder, removed at the end.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class Process {
 public:
  struct Setup {
    std::vector<std::string> environment;       // "NAME=value", added
    std::filesystem::path directory;            // empty: the test's
    unsigned long file_size_limit = 0;          // bytes, as a disk that is full; 0: none
  };
  // `arguments[0]` is the program; it is looked up in PATH unless it has a slash.
  Process(const std::vector<std::string>& arguments, const Setup& setup);
  ~Process();  // kills it if it still runs
  pid_t id() const { return pid_; }
  void kill(int signal) const;
  bool running();
  Outcome wait(double timeout_seconds);

 private:
  Scratch scratch_;
  pid_t pid_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

// build/bin/caddie with these arguments, from the folder `directory`.
Outcome caddie(const std::vector<std::string>& arguments, const Process::Setup& setup = {});
std::vector<std::string> caddie_command(const std::vector<std::string>& arguments);

}  // namespace caddie::test
