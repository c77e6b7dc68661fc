// What a sweep would do, before anything runs: its jobs, the stages that they share, and the time that is expected.
// Keys and predictions come from the pipeline through a function, so that this needs no tensors.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/config/sweep.h"
#include "core/pipeline/need.h"
#include "registry/sweep/record.h"

namespace caddie::registry {

// Of one manifest.
struct Forecast {
  std::vector<pipeline::Need> needs;
  Json predicted = Json::object();  // as `plan --json`: {"artifact_bytes", "memory_bytes", "seconds": {stage: x}}
  bool fits = true;
  bool gpu = false;                 // whether it computes on a GPU
  std::string missing;              // data that is not there; empty if all is
};
using Forecaster = std::function<Forecast(const Manifest&)>;

struct PlannedJob {
  SweepJob job;
  bool exclusive = false;
  Forecast forecast;
};

struct SweepPlan {
  std::string name;
  std::vector<PlannedJob> jobs;
};

// One stage over all jobs. runs = cached + computed + shared.
struct StageShare {
  std::string stage;
  int runs = 0;      // jobs that need it
  int cached = 0;    // of those, served by the cache as it is now
  int computed = 0;  // that compute it
  int shared = 0;    // that get it from another job of this sweep
};

// `manifests` gets each job's manifest.
CADDIE_API SweepPlan plan_sweep(const Sweep& sweep, const ComponentSchemas& schemas, const Forecaster& forecast,
                                std::vector<Manifest>& manifests);

CADDIE_API std::vector<StageShare> stage_shares(const SweepPlan& plan);

// When each job would end, in seconds from now, with `slots` jobs at a time and shared stages computed once. A stage
// without a prediction takes no time, so this is a lower bound.
struct Timeline {
  std::vector<double> end;   // by job
  std::vector<double> work;  // seconds of stages that the job computes itself
  double total = 0;          // when the last one ends
};
CADDIE_API Timeline timeline(const SweepPlan& plan, int slots);

// {"sweep", "jobs": [...], "stages": {stage: {"runs", "cached", "computed", "shared"}}, "predicted": {...}, "cut":
// [...]} `hours` 0: no budget.
CADDIE_API Json plan_json(const SweepPlan& plan, int slots, double hours);

}  // namespace caddie::registry
