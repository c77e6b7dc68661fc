#include "core/comm/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>

#include "core/base/interrupt.h"
#include "core/comm/group.h"
#include "core/comm/nccl_environment.h"

extern char** environ;

namespace caddie {
namespace {

constexpr std::size_t kKeptOutput = 8192;  // bytes of what a rank says
constexpr const char* kHost = "127.0.0.1";

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Child {
  pid_t process = -1;
  int output = -1;  // of all ranks but the first: their stdout and stderr
  std::string said;
  bool ended = false;
  int status = 0;
  bool good() const { return ended && WIFEXITED(status) && WEXITSTATUS(status) == 0; }
};

// The environment of rank `rank`, as torchrun makes it; the store is served by this process, as torchrun's agent does.
std::vector<std::string> environment_of(int rank, int size, int port) {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text(*entry);
    variables[text.substr(0, text.find('='))] = text.substr(std::min(text.find('='), text.size() - 1) + 1);
  }
  variables.emplace("OMP_NUM_THREADS", std::to_string(threads_per_rank(size)));  // unless it is set
  for (const NcclVariable& variable : kNcclEnvironment)
    if (variable.always) variables[variable.name] = variable.value;
  variables["RANK"] = variables["LOCAL_RANK"] = std::to_string(rank);
  variables["WORLD_SIZE"] = variables["LOCAL_WORLD_SIZE"] = std::to_string(size);
  variables["MASTER_ADDR"] = kHost;
  variables["MASTER_PORT"] = std::to_string(port);
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  variables["TORCHELASTIC_RESTART_COUNT"] = "0";
  variables.erase("TORCHELASTIC_RUN_ID");
  std::vector<std::string> list;
  for (const auto& [name, value] : variables) list.push_back(name + "=" + value);
  return list;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

class Spawner {
 public:
  explicit Spawner(const SpawnSettings& settings)
      : settings_(settings), store_({kHost, 0}, true, "caddie/.0/", 30), children_(static_cast<std::size_t>(settings.ranks)) {}

  ~Spawner() {
    signal_all(SIGKILL);
    for (Child& child : children_) {
      if (child.process > 0 && !child.ended) ::waitpid(child.process, nullptr, 0);
      if (child.output >= 0) ::close(child.output);
    }
  }

  int run() {
    for (int rank = 0; rank < settings_.ranks; ++rank) start(rank);
    while (!std::all_of(children_.begin(), children_.end(), [](const Child& child) { return child.ended; })) {
      pass_signals_on();
      read_outputs(50);
      collect();
      if (failed_at_ && seconds_now() - *failed_at_ > settings_.grace_seconds) signal_all(SIGKILL);
    }
    read_outputs(0);
    return outcome();
  }

 private:
  void start(int rank) {
    std::vector<std::string> arguments = settings_.command, environment = environment_of(rank, settings_.ranks, store_.port());
    const std::vector<char*> argv = pointers(arguments), envp = pointers(environment);
    int ends[2] = {-1, -1};
    if (rank > 0 && ::pipe2(ends, O_CLOEXEC) != 0)
      throw Error(ErrorKind::environment, concat("cannot start rank ", rank, ": ", ::strerror(errno)));
    const pid_t parent = ::getpid(), process = ::fork();
    if (process < 0) throw Error(ErrorKind::environment, concat("cannot start rank ", rank, ": ", ::strerror(errno)));
    if (process == 0) {  // only what may be called between fork and exec
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      ::setpgid(0, 0);  // Ctrl-C reaches this process alone, which passes it on once
      if (rank > 0) {
        ::dup2(ends[1], 1);
        ::dup2(ends[1], 2);
        const int null = ::open("/dev/null", O_RDONLY);
        ::dup2(null, 0);
      }
      ::execve("/proc/self/exe", argv.data(), envp.data());
      ::_exit(127);
    }
    Child& child = children_[static_cast<std::size_t>(rank)];
    child.process = process;
    if (rank > 0) {
      ::close(ends[1]);
      child.output = ends[0];
      ::fcntl(child.output, F_SETFL, O_NONBLOCK);
    }
  }

  void signal_all(int number) const {
    for (const Child& child : children_)
      if (child.process > 0 && !child.ended) ::kill(child.process, number);
  }

  void pass_signals_on() {
    if (!interrupted() || passed_on_) return;
    passed_on_ = true;
    signal_all(SIGTERM);
  }

  void read_outputs(int wait_milliseconds) {
    std::vector<pollfd> polled;
    for (const Child& child : children_)
      if (child.output >= 0) polled.push_back({child.output, POLLIN, 0});
    ::poll(polled.data(), polled.size(), wait_milliseconds);
    for (Child& child : children_) {
      if (child.output < 0) continue;
      char buffer[4096];
      ssize_t count = 0;
      while ((count = ::read(child.output, buffer, sizeof buffer)) > 0) {
        child.said.append(buffer, static_cast<std::size_t>(count));
        if (child.said.size() > 2 * kKeptOutput) child.said.erase(0, child.said.size() - kKeptOutput);
      }
      if (count == 0) {
        ::close(child.output);
        child.output = -1;
      }
    }
  }

  void collect() {
    for (std::size_t rank = 0; rank < children_.size(); ++rank) {
      Child& child = children_[rank];
      if (child.ended || ::waitpid(child.process, &child.status, WNOHANG) != child.process) continue;
      child.ended = true;
      if (child.good()) continue;
      read_outputs(0);
      if (!failed_at_) failed_at_ = seconds_now();
      // Only if it could not tell itself.
      store_.set_first("failure", Failure{static_cast<int>(rank), ErrorKind::failed, last_words(child), true}.to_text());
    }
    if (failed_at_) return;
    const auto text = store_.find("failure");
    if (!text) return;
    failed_at_ = seconds_now();
    const Failure failure = Failure::from_text(*text);
    const Child& child = children_.at(static_cast<std::size_t>(failure.rank));
    if (failure.silent && !child.ended) ::kill(child.process, SIGKILL);  // it cannot end by itself
  }

  static std::string last_words(const Child& child) {
    if (WIFSIGNALED(child.status)) {
      const int number = WTERMSIG(child.status);
      const char* name = ::sigabbrev_np(number);
      std::string text = concat("it was ended by signal ", number, " (SIG", name != nullptr ? name : "?", ")");
      if (number == SIGKILL) text += "; the system does that when memory runs out";
      return child.said.empty() ? text : text + "; its last words:\n" + child.said;
    }
    return concat("it ended with exit code ", WEXITSTATUS(child.status), child.said.empty() ? "" : "; its last words:\n" + child.said);
  }

  int outcome() {
    const auto failure_text = store_.find("failure");
    const Child& leader = children_.front();
    // Rank 0 has printed the failure, its own or another's, if it lived to do so.
    const bool told = WIFEXITED(leader.status);
    if (!failure_text) return told ? WEXITSTATUS(leader.status) : 1;
    const Failure failure = Failure::from_text(*failure_text);
    const Child& first = children_[static_cast<std::size_t>(std::clamp(failure.rank, 0, settings_.ranks - 1))];
    if (told && WEXITSTATUS(leader.status) != 0) return WIFEXITED(first.status) && !first.good() ? WEXITSTATUS(first.status) : WEXITSTATUS(leader.status);
    throw Error(failure.kind, concat("rank ", failure.rank, ": ", failure.text));
  }

  const SpawnSettings& settings_;
  KeyStore store_;
  std::vector<Child> children_;
  std::optional<double> failed_at_;
  bool passed_on_ = false;
};

}  // namespace

int spawn_ranks(const SpawnSettings& settings) { return Spawner(settings).run(); }

}  // namespace caddie
