#include "registry/sweep/gate.h"

#include <utility>

namespace caddie::registry {

Gate::Gate(std::vector<std::vector<pipeline::Need>> needs) : needs_(std::move(needs)) {
  for (const auto& list : needs_)
    for (const pipeline::Need& need : list)
      if (need.cached) done_.insert(need.token);
}

void Gate::add(std::vector<pipeline::Need> needs) {
  for (const pipeline::Need& need : needs)
    if (need.cached) done_.insert(need.token);
  needs_.push_back(std::move(needs));
}

void Gate::start(std::size_t job) { running_.insert(job); }

void Gate::stage_done(std::size_t job, const std::string& stage) {
  for (const pipeline::Need& need : needs_[job])
    if (need.stage == stage) done_.insert(need.token);
}

void Gate::end(std::size_t job, bool complete) {
  running_.erase(job);
  if (!complete) return;
  for (const pipeline::Need& need : needs_[job]) done_.insert(need.token);
}

const pipeline::Need* Gate::first(std::size_t job) const {
  for (const pipeline::Need& need : needs_[job])
    if (!done_.contains(need.token)) return &need;
  return nullptr;
}

std::size_t Gate::waits_for(std::size_t job, std::string& stage) const {
  const pipeline::Need* wanted = first(job);
  if (wanted == nullptr) return job;
  for (const std::size_t other : running_)
    for (const pipeline::Need& need : needs_[other])
      if (other != job && need.token == wanted->token) {
        stage = wanted->stage;
        return other;
      }
  return job;
}

bool Gate::held(std::size_t job) const {
  std::string ignored;
  return waits_for(job, ignored) != job;
}

}  // namespace caddie::registry
