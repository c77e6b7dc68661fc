// Real groups (core/comm/group.h) whose ranks are threads of the test: the store, the beats and the failures are those of
// processes.
#pragma once

#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "core/comm/group.h"

namespace caddie::testing {

inline GroupSettings quick_settings() {
  GroupSettings settings;
  settings.join_seconds = 20;
  settings.operation_seconds = 20;
  settings.on_stuck = [](const Error&) {  // a thread cannot be ended
    while (true) std::this_thread::sleep_for(std::chrono::seconds(60));
  };
  settings.grace_seconds = 60;
  return settings;
}

// Runs `body` once a rank and returns what each threw; a rank that throws fails its group.
inline std::vector<std::exception_ptr> run_groups(int size, const std::function<void(Group&)>& body,
                                                  const GroupSettings& settings = quick_settings()) {
  KeyStore server({"127.0.0.1", 0}, true, "", 20);
  std::vector<std::thread> threads;
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(size));
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      Launch launch;
      launch.rank = launch.local_rank = rank;
      launch.size = launch.local_size = size;
      launch.store = {"127.0.0.1", server.port()};
      launch.launcher = "test";
      try {
        Group group(launch, settings);
        try {
          body(group);
          group.leave();
        } catch (const Error& error) {
          group.fail(error);
          throw;
        }
      } catch (...) {
        errors[static_cast<std::size_t>(rank)] = std::current_exception();
      }
    });
  for (auto& thread : threads) thread.join();
  return errors;
}

// The message of an error, "" if there is none.
inline std::string text_of(const std::exception_ptr& error) {
  if (!error) return {};
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& caught) {
    return caught.what();
  }
}

inline void rethrow_first(const std::vector<std::exception_ptr>& errors) {
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace caddie::testing
