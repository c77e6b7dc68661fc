// Keys and values that the processes of a run share, over c10d's TCPStore: one process serves, all are clients. It is made
// for small values and for meeting; payloads between ranks of one host go through shared memory (shared_region.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "caddie/export.h"

namespace caddie {

struct StoreAddress {
  std::string host;
  int port = 0;  // 0, for the server only: any free one
};

class CADDIE_API KeyStore {
 public:
  // Connects, and serves first if told to; waits up to `patience_seconds` for the server. Every key gets `prefix`. Throws
  // Error(environment) naming the address.
  KeyStore(const StoreAddress& address, bool serves, std::string prefix, double patience_seconds);
  ~KeyStore();
  KeyStore(const KeyStore&) = delete;
  KeyStore& operator=(const KeyStore&) = delete;

  int port() const;
  // A connection of its own, for another thread: calls on one connection wait for each other.
  std::unique_ptr<KeyStore> another() const;

  // All throw Error(failed) once the server is gone. None waits for a key.
  void set(const std::string& key, std::string_view value);
  // Sets it if nobody has; false if somebody was first.
  bool set_first(const std::string& key, std::string_view value);
  std::optional<std::string> find(const std::string& key);
  std::int64_t add(const std::string& key, std::int64_t amount);  // the new value; 0 before the first call
  void remove(const std::string& key);
  std::int64_t key_count();  // of all prefixes

  // For the backends of c10d: a c10::intrusive_ptr<c10d::Store>.
  const void* native() const;

 private:
  struct Impl;
  explicit KeyStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace caddie
