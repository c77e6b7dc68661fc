// Which job may start now, so that a stage that several jobs need is computed once and nobody waits for it in a slot.
// A job is held while the first thing that it needs is being computed by one that runs. Pure bookkeeping.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/pipeline/need.h"

namespace caddie::registry {

class CADDIE_API Gate {
 public:
  explicit Gate(std::vector<std::vector<pipeline::Need>> needs);

  void add(std::vector<pipeline::Need> needs);  // one more job
  void start(std::size_t job);
  void stage_done(std::size_t job, const std::string& stage);
  // `complete`: everything that the job needs is in the cache now.
  void end(std::size_t job, bool complete);
  bool held(std::size_t job) const;
  // What a held job waits for: the stage and the job that computes it.
  std::size_t waits_for(std::size_t job, std::string& stage) const;

 private:
  const pipeline::Need* first(std::size_t job) const;
  std::vector<std::vector<pipeline::Need>> needs_;
  std::set<std::size_t> running_;
  std::set<std::string> done_;  // tokens
};

}  // namespace caddie::registry
