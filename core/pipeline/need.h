// One cache entry that a run needs, without anything of the pipeline: what schedulers of many runs look at.
#pragma once

#include <string>

namespace caddie::pipeline {

// The stage evaluate has one need for each score.
struct Need {
  std::string stage;  // "train", ...
  std::string what;   // the stage's name, or the score's
  std::string key;    // empty while it depends on something that is not computed
  // The key, or while it is not known a hash over everything that will decide it. Runs with equal tokens share the entry.
  std::string token;
  bool cached = false;
  double seconds = 0;  // that computing it took, if it is cached
};

}  // namespace caddie::pipeline
