// A progress bar on a terminal, and nothing in a pipe. Redrawn at most ten times a second.
#pragma once

#include <cstdint>
#include <string>

#include "caddie/export.h"
#include "core/base/clock.h"

namespace caddie {

class CADDIE_API Progress {
 public:
  explicit Progress(std::string label);
  ~Progress();  // clears the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // `fraction` in [0, 1]; `detail` such as "loss 3.41  12,300 tokens/s". The time left is derived from the fraction.
  void update(double fraction, const std::string& detail = {});

 private:
  std::string label_;
  Stopwatch total_, since_draw_;
  bool drawn_ = false;
};

}  // namespace caddie
