#include "core/pipeline/verdicts.h"

namespace caddie::pipeline {

std::vector<Verdict> verdicts(const Json& budgets, const Json& result, double last_step_started_at) {
  std::vector<Verdict> all;
  const auto cap = [&](const char* name) { return budgets.contains(name) && !budgets[name].is_null(); };
  if (cap("artifact_bytes") && result.contains("artifact")) {
    const double used = result["artifact"].at("total_bytes").get<double>();
    all.push_back({"artifact bytes", used, budgets["artifact_bytes"].get<double>(),
                   used <= budgets["artifact_bytes"].get<double>()});
  }
  const Json seconds = result.value("seconds", Json::object());
  if (cap("train_seconds") && seconds.contains("train")) {
    const double limit = budgets["train_seconds"].get<double>();
    all.push_back({"train seconds", last_step_started_at, limit, last_step_started_at < limit});
  }
  if (cap("evaluate_seconds") && (seconds.contains("evaluate") || seconds.contains("ttt"))) {
    const double limit = budgets["evaluate_seconds"].get<double>();
    const double used = seconds.value("evaluate", 0.0) + seconds.value("ttt", 0.0);
    all.push_back({"evaluate seconds", used, limit, used <= limit});
  }
  return all;
}

}  // namespace caddie::pipeline
