#include "registry/sweep/child.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "caddie/error.h"
#include "core/base/files.h"

extern char** environ;

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

std::vector<std::string> environment_with(const std::vector<std::string>& more) {
  std::vector<std::string> all = more;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text(*entry);
    const std::string name = text.substr(0, text.find('=') + 1);
    const bool replaced = std::any_of(more.begin(), more.end(), [&](const std::string& m) { return m.starts_with(name); });
    if (!replaced) all.push_back(text);
  }
  return all;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
  list.push_back(nullptr);
  return list;
}

}  // namespace

pid_t start_child(const ChildSetup& setup) {
  make_directories(setup.out.parent_path());
  make_directories(setup.err.parent_path());
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, setup.out.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  ::posix_spawn_file_actions_addopen(&actions, 2, setup.err.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  for (const int descriptor : setup.keep)  // onto itself: it loses close-on-exec in the child
    ::posix_spawn_file_actions_adddup2(&actions, descriptor, descriptor);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR2, SIGPIPE}) sigaddset(&defaults, signal);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const std::vector<std::string> environment = environment_with(setup.environment);
  pid_t child = -1;
  const int code = ::posix_spawn(&child, setup.command.at(0).c_str(), &actions, &attributes,
                                 pointers(setup.command).data(), pointers(environment).data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0)
    throw Error(ErrorKind::failed, concat("cannot start ", setup.command[0], ": ", std::strerror(code)));
  return child;
}

bool reap(pid_t child, int& status) { return ::waitpid(child, &status, WNOHANG) == child; }

void signal_group(pid_t child, int signal) {
  if (child > 1) ::kill(-child, signal);
}

std::string signal_text(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? concat("SIG", name) : concat("signal ", signal);
}

std::string tail_of(const fs::path& file, int lines) {
  std::error_code code;
  if (!fs::exists(file, code)) return {};
  const std::string text = read_text(file);
  std::size_t start = text.size();
  while (start > 0 && lines >= 0) {
    --start;
    if (text[start] == '\n' && start + 1 < text.size()) --lines;
  }
  return text.substr(start == 0 && lines >= 0 ? 0 : start + 1);
}

}  // namespace caddie::registry
