#include "registry/sweep/stop.h"

#include <signal.h>

#include <atomic>
#include <initializer_list>

namespace caddie::registry {
namespace {

std::atomic<int> stops{0}, last_signal{0};
std::atomic<bool> limit{false};
struct sigaction before[64];

void on_signal(int number) {
  if (number == SIGUSR2) {
    limit = true;
    return;
  }
  last_signal = number;
  ++stops;
}

}  // namespace

StopSignals::StopSignals() {
  stops = 0;
  limit = false;
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR2}) {
    ::sigaction(signal, nullptr, &before[signal]);
    if (signal == SIGHUP && before[signal].sa_handler == SIG_IGN) continue;
    ::sigaction(signal, &action, nullptr);
  }
}

StopSignals::~StopSignals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR2}) ::sigaction(signal, &before[signal], nullptr);
}

int StopSignals::count() noexcept { return stops; }
int StopSignals::last() noexcept { return last_signal; }
bool StopSignals::limit_near() noexcept { return limit; }

}  // namespace caddie::registry
