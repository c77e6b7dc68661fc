// The processes of one run: how they meet, how rank 0 tells the others what to do, and how the first failure ends them all.
// Payloads are a communicator's (store.h, nccl.h); what goes through here is small.
//
// Each rank shows every half second that it lives. A rank that does not, because it was killed, was stopped or lost its
// network, is a failure like an error that a rank reports, and every wait of the others throws the first failure there was.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "caddie/error.h"
#include "core/base/json.h"
#include "core/comm/key_store.h"
#include "core/comm/launch.h"

namespace caddie {

// Why a group ended: what the rank that failed first had to say.
struct Failure {
  int rank = 0;
  ErrorKind kind = ErrorKind::failed;
  std::string text;
  bool silent = false;  // it did not say so itself: it shows no sign of life
  std::string to_text() const;  // for the store
  static Failure from_text(const std::string& text);
};

struct GroupSettings {
  double join_seconds = 120;       // for all ranks to arrive
  double silence_seconds = 10;     // after which a rank counts as gone
  double operation_seconds = 600;  // for the others in one operation of training or evaluation
  double grace_seconds = 4;        // for this process to end by itself after a failure
  // Called on a thread of the group when the process does not end by itself, because it hangs in a kernel or a
  // system call. Should end the process.
  std::function<void(const Error&)> on_stuck;
  // The defaults, silence from $CADDIE_RANK_SILENCE_SECONDS and operations from $CADDIE_RANK_OPERATION_SECONDS.
  static CADDIE_API GroupSettings from_environment();
};

class CADDIE_API Group {
 public:
  // Meets the other ranks. Throws Error(environment) naming the ranks that did not come.
  Group(Launch launch, GroupSettings settings);
  // Without leave() before, the others take it for a failure, unless fail() told them of one.
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  int rank() const { return launch_.rank; }
  int size() const { return launch_.size; }
  const Launch& launch() const { return launch_; }
  const GroupSettings& settings() const { return settings_; }
  KeyStore& store() { return *store_; }  // for the thread that made the group

  // A name that no earlier meeting of the ranks used; they all ask in the same order.
  std::string unique(const std::string& name) { return concat(name, "/", meetings_++); }
  // Every rank says what it was started with. Throws Error(usage) on a rank that differs from rank 0, naming the first key.
  void agree(const Json& manifest);
  // Rank 0's next message to all others, and the others' wait for it, which has no time-out while rank 0 lives.
  void tell(const Json& message);
  Json next_message();

  // Ends the group with this rank's error, unless another rank's was first.
  void fail(const Error& error) noexcept;
  std::optional<Failure> failure() const;
  // Throws the first failure of a rank, if there is one. For loops that wait.
  void check() const;
  // `ready` is asked again and again until it says yes; 0 seconds: no time-out. Throws as check() does, and Error(failed)
  // naming `what` when the time is up.
  void wait_until(const std::function<bool()>& ready, double seconds, const std::string& what) const;
  // A key of the store, waited for in this way.
  std::string wait_for(const std::string& key, double seconds, const std::string& what);

  // The run is over on this rank. Rank 0, if it serves the store, stays until the others have left.
  void leave();

 private:
  void meet();
  void watch();  // on a thread of its own, with a connection of its own
  void guard();  // on a thread of its own that touches no network
  void look(KeyStore& store, std::vector<double>& last_sign, std::vector<std::string>& signs, double now);
  void learn(const Failure& failure);
  // After which silence means an end. On a host that gives this process little of its time it gives the others little too.
  double patience() const { return settings_.silence_seconds + 5 * lag_; }

  Launch launch_;
  GroupSettings settings_;
  std::unique_ptr<KeyStore> store_, watched_;
  std::int64_t told_ = 0, meetings_ = 0;

  std::atomic<bool> failed_{false}, leaving_{false};
  std::atomic<double> last_contact_{0}, failed_at_{0};
  std::atomic<double> lag_{0};  // by how many seconds the watcher's rounds were late, the last ones most
  mutable std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  Failure failure_;
  std::thread watcher_, guard_;
};

}  // namespace caddie
