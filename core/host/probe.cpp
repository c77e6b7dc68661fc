#include "core/host/probe.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "caddie/error.h"
#include "core/host/library.h"

namespace caddie {
namespace {

constexpr int kPatienceMs = 20'000;
constexpr std::uint32_t kDone = ~0u;

// In the child: announces each file, opens it, and goes on. Errors are found again in the parent.
[[noreturn]] void open_all(std::span<const std::filesystem::path> files, int announce) {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  if (const int null = open("/dev/null", O_RDWR | O_CLOEXEC); null >= 0) {
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
  }
  const auto say = [announce](std::uint32_t value) {
    if (write(announce, &value, sizeof value) != sizeof value) _exit(0);
  };
  for (std::uint32_t i = 0; i < files.size(); ++i) {
    say(i);
    try {
      open_library(files[i]);
    } catch (...) {
    }
  }
  say(kDone);
  _exit(0);
}

// The last value that the child announced before it ended or fell silent; `silent` says which.
std::uint32_t last_announced(int descriptor, bool& silent) {
  std::uint32_t last = kDone, value = 0;
  while (true) {
    pollfd wait{descriptor, POLLIN, 0};
    const int ready = poll(&wait, 1, kPatienceMs);
    if (ready < 0 && errno == EINTR) continue;
    silent = ready == 0;
    if (ready <= 0 || read(descriptor, &value, sizeof value) != sizeof value) return last;
    last = value;
  }
}

std::string describe_end(int status) {
  if (WIFSIGNALED(status))
    return concat("is killed by signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)), ")");
  return concat("exits with code ", WEXITSTATUS(status));
}

}  // namespace

std::map<std::string, std::string> lethal_files(std::span<const std::filesystem::path> files) {
  std::map<std::string, std::string> lethal;
  while (!files.empty()) {
    int ends[2];
    CADDIE_CHECK(pipe2(ends, O_CLOEXEC) == 0, ErrorKind::failed, "no pipe to a child: ", std::strerror(errno));
    std::fflush(nullptr);  // what is buffered would be written twice if a plugin calls exit() in the child
    const pid_t child = fork();
    if (child == 0) {
      close(ends[0]);
      open_all(files, ends[1]);
    }
    close(ends[1]);
    if (child < 0) {
      close(ends[0]);
      throw Error(ErrorKind::failed, concat("no child process: ", std::strerror(errno)));
    }
    bool silent = false;
    const std::uint32_t last = last_announced(ends[0], silent);
    close(ends[0]);
    if (silent) kill(child, SIGKILL);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (last == kDone || last >= files.size()) return lethal;
    lethal[files[last].string()] = silent ? "does not come back" : describe_end(status);
    files = files.subspan(last + 1);
  }
  return lethal;
}

}  // namespace caddie
