#include "core/base/interrupt.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "caddie/error.h"

namespace caddie {
namespace {
std::atomic<int> pending{0};
static_assert(std::atomic<int>::is_always_lock_free, "used inside a signal handler");

std::atomic<bool> once{false};
std::atomic<std::int64_t> first_at{0};  // milliseconds

std::int64_t milliseconds_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);  // may be called in a signal handler
  return std::int64_t{1000} * now.tv_sec + now.tv_nsec / 1000000;
}

void on_signal(int number) {
  if (pending.exchange(1) != 0) {
    if (once && milliseconds_now() - first_at < 1000) return;
    ::_exit(128 + number);
  }
  first_at = milliseconds_now();
  static constexpr char kText[] = "\nstopping at the next safe point; once more to stop at once\n";
  [[maybe_unused]] const ssize_t n = ::write(2, kText, sizeof kText - 1);
}
}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGUSR2, &action, nullptr);
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, nullptr);
  ::sigaction(SIGXFSZ, &ignore, nullptr);  // a file size limit becomes an error of write()
}

void count_signals_once() noexcept { once = true; }
bool interrupted() noexcept { return pending.load() != 0; }
void request_interrupt() noexcept { pending.store(1); }
void clear_interrupt() noexcept { pending.store(0); }

void throw_if_interrupted() {
  if (interrupted()) throw Error(ErrorKind::interrupted, "interrupted", "The run can be resumed.");
}

}  // namespace caddie
