#include "tests/support/process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace caddie::test {
namespace fs = std::filesystem;
namespace {

std::string content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void redirect(const fs::path& path, int descriptor) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file < 0 || ::dup2(file, descriptor) < 0) ::_exit(126);
}

}  // namespace

Scratch::Scratch() {
  std::string name = (fs::temp_directory_path() / "caddie_test_XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder can be made");
  path_ = name;
}
Scratch::~Scratch() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

Process::Process(const std::vector<std::string>& arguments, const Setup& setup) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ > 0) return;
  redirect(scratch_.path() / "out", 1);
  redirect(scratch_.path() / "err", 2);
  redirect("/dev/null", 0);
  ::setenv("OMP_NUM_THREADS", "1", 1);
  for (const std::string& entry : setup.environment) ::putenv(const_cast<char*>(entry.c_str()));
  if (!setup.directory.empty() && ::chdir(setup.directory.c_str()) != 0) ::_exit(126);
  if (setup.file_size_limit > 0) {
    const rlimit limit{setup.file_size_limit, setup.file_size_limit};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ::execvp(argv[0], argv.data());
  ::_exit(127);
}

Process::~Process() {
  if (running()) {
    kill(SIGKILL);
    wait(10);
  }
}

void Process::kill(int signal) const { ::kill(pid_, signal); }

bool Process::running() {
  if (!ended_ && ::waitpid(pid_, &status_, WNOHANG) == pid_) ended_ = true;
  return !ended_;
}

Outcome Process::wait(double timeout_seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(timeout_seconds);
  while (running()) {
    if (std::chrono::steady_clock::now() > end) {
      kill(SIGKILL);
      ::waitpid(pid_, &status_, 0);
      ended_ = true;
      throw std::runtime_error("the process did not end in time:\n" + content(scratch_.path() / "err"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  Outcome outcome;
  if (WIFEXITED(status_)) outcome.exit_code = WEXITSTATUS(status_);
  if (WIFSIGNALED(status_)) outcome.signal = WTERMSIG(status_);
  outcome.out = content(scratch_.path() / "out");
  outcome.err = content(scratch_.path() / "err");
  return outcome;
}

std::vector<std::string> caddie_command(const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {CADDIE_BINARY_DIR "/bin/caddie"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

Outcome caddie(const std::vector<std::string>& arguments, const Process::Setup& setup) {
  return Process(caddie_command(arguments), setup).wait(300);
}

}  // namespace caddie::test
