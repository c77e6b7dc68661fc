// What the host gives a plugin. Plugins reach for no globals: no getenv, no manual_seed, no set_num_threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "caddie/export.h"

namespace caddie {

enum class LogLevel { debug, info, warning };

class CADDIE_API Services {
 public:
  virtual ~Services();
  virtual void log(LogLevel level, std::string_view text) = 0;
  // True once the run was asked to stop; long loops look at it and throw Error(ErrorKind::interrupted).
  virtual bool cancelled() const = 0;
  // Threads that the plugin may use for its own loops.
  virtual int threads() const = 0;
};

// A reproducible random stream (xoshiro256** seeded by splitmix64 of seed and label). Equal seed and label give the
// same numbers on every machine.
class CADDIE_API Random {
 public:
  Random(std::uint64_t seed, std::string_view label);
  std::uint64_t next();                     // uniform over all 64-bit values
  std::uint64_t below(std::uint64_t bound);  // uniform in [0, bound)
  double uniform();                         // uniform in [0, 1), 53 bits
  double normal();                          // N(0, 1), Box-Muller
  Random split(std::string_view label) const;  // an independent stream

 private:
  std::uint64_t state_[4];
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace caddie
