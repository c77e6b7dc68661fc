#include "registry/report/export.h"

#include <cmath>

namespace caddie::registry::report {
namespace {

const std::vector<std::string>& columns() {
  static const std::vector<std::string> names = {"sweep", "variant", "name", "seed",  "run", "status",
                                                 "kind",  "metric",  "step", "value", "unit"};
  return names;
}

class Rows {
 public:
  Rows(Json& table, Json head) : table_(table), head_(std::move(head)) {}
  void add(const char* kind, const std::string& metric, const std::optional<double>& value, const char* unit,
           const Json& step = nullptr) {
    if (!value || !std::isfinite(*value)) return;
    Json row = head_;
    row["kind"] = kind;
    row["metric"] = metric;
    row["value"] = *value;
    row["unit"] = unit;
    row["step"] = step;
    table_.push_back(std::move(row));
  }

 private:
  Json& table_;
  Json head_;
};

void add_run(Rows& rows, const RunRecord& record) {
  for (const auto& [metric, name] : score_names())
    rows.add("score", metric, number_in(record.metrics, metric), "bits/byte");
  for (const auto& [metric, score] : record.scores) rows.add("loss", metric, score.loss, "nats/token");
  rows.add("loss", "train_loss", number_in(record.metrics, "train_loss"), "nats/token");
  rows.add("size", "val_tokens", number_in(record.metrics, "val_tokens"), "tokens");
  rows.add("size", "val_bytes", number_in(record.metrics, "val_bytes"), "bytes");
  if (!record.result.is_object()) return;
  const Json artifact = record.result.value("artifact", Json());
  for (const char* key : {"bytes", "code_bytes", "total_bytes", "cap"})
    rows.add("size", std::string("artifact_") + key, number_in(artifact, key), "bytes");
  const Json seconds = record.result.value("seconds", Json::object());
  for (const auto& [stage, value] : seconds.items()) rows.add("time", stage, number_in(seconds, stage), "seconds");
  const Json train = record.result.value("train", Json());
  rows.add("train", "steps", number_in(train, "steps"), "steps");
  rows.add("train", "step_ms_median", number_in(train, "step_ms_median"), "milliseconds");
  rows.add("train", "tokens_per_second", number_in(train, "tokens_per_second"), "tokens/second");
  rows.add("train", "peak_memory_bytes", number_in(train, "peak_memory_bytes"), "bytes");
}

std::string csv_field(const Json& value) {
  if (value.is_null()) return {};
  if (!value.is_string()) return canonical(value);
  const std::string raw = value.get<std::string>();
  if (raw.find_first_of(",\"\n\r") == std::string::npos) return raw;
  std::string quoted = "\"";
  for (const char c : raw) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

Json long_table(const ReportData& data, bool steps) {
  Json table = Json::array();
  for (const ReportGroup& group : data.groups)
    for (const std::size_t index : group.runs) {
      const ReportRun& run = data.runs[index];
      const RunRecord& record = run.record;
      const Json sweep = record.sweep.is_object() ? record.sweep.value("sweep", Json("")) : Json("");
      Rows rows(table, {{"sweep", sweep},
                        {"variant", group.name},
                        {"name", record.name},
                        {"seed", record.seed},
                        {"run", record.id},
                        {"status", record.shown_status()}});
      add_run(rows, record);
      if (!steps) continue;
      for (const StepPoint& step : run.steps) {
        rows.add("step", "train_loss", step.loss, "nats/token", step.step);
        rows.add("step", "rate_factor", step.rate, "1", step.step);
        rows.add("step", "tokens_per_second", step.tokens_per_second, "tokens/second", step.step);
        rows.add("step", "val_loss", step.validation_loss, "nats/token", step.step);
      }
    }
  return table;
}

std::string as_csv(const Json& table) {
  std::string out;
  for (const std::string& column : columns()) out += (out.empty() ? "" : ",") + column;
  out += "\r\n";
  for (const Json& row : table) {
    std::string line;
    for (std::size_t i = 0; i < columns().size(); ++i)
      line += (i == 0 ? "" : ",") + csv_field(row.value(columns()[i], Json()));
    out += line + "\r\n";
  }
  return out;
}

}  // namespace caddie::registry::report
