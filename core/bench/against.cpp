#include "core/bench/against.h"

#include "caddie/error.h"

namespace caddie::bench {
namespace {

Json as_list(const Json& value) { return value.is_array() ? value : Json::array({value}); }

bool same(const Json& a, const Json& b, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (a.value(key, Json()) != b.value(key, Json())) return false;
  return true;
}

void compare(const Json& stored, const Json& now, const std::string& name, Against& to) {
  const std::string median = name + "_median", low = name + "_low", high = name + "_high";
  for (const Json* side : {&stored, &now})
    if (!side->contains(median) || !side->at(median).is_number()) return;
  const double before = stored.at(median), after = now.at(median);
  if (before <= 0) return;
  bool apart = false;
  if (stored.contains(high) && stored.contains(low) && now.contains(low) && now.contains(high))
    apart = now.at(low) > stored.at(high) || now.at(high) < stored.at(low);
  to.rows.push_back({now.value("bench", ""), now.value("shape", ""), median, before, after, after / before, apart});
}

}  // namespace

Against compare_with(const Json& stored, const Json& now) {
  Against result;
  const Json before = as_list(stored);
  for (const Json& row : as_list(now)) {
    CADDIE_CHECK(row.is_object() && row.contains("bench"), ErrorKind::data, "this is no result of caddie bench");
    const Json* partner = nullptr;
    for (const Json& old : before)
      if (old.is_object() && same(old, row, {"bench", "shape", "device", "precision"})) partner = &old;
    const std::string what = row.at("bench").get<std::string>() + " " + row.value("shape", "");
    if (!partner) {
      result.notes.push_back(what + ": nothing is stored for this device and precision");
      continue;
    }
    for (const char* fact : {"cpu", "gpu", "threads", "libtorch"})
      if (!same(*partner, row, {fact}))
        result.notes.push_back(concat(what, ": ", fact, " was ", partner->value(fact, Json()).dump(), ", is ",
                                      row.value(fact, Json()).dump(), ": the ratios are about more than the program"));
    for (const char* figure : {"step_ms", "one_thread_ms", "read_ms", "hessians_ms", "quantize_ms", "score_ms", "adapt_ms",
                               "first_step_seconds", "beyond_a_step_seconds"})
      compare(*partner, row, figure, result);
    if (partner->contains("peak_memory_bytes") && row.contains("peak_memory_bytes")) {
      const double old = partner->at("peak_memory_bytes"), is = row.at("peak_memory_bytes");
      if (old > 0)
        result.rows.push_back({row.at("bench"), row.value("shape", ""), "peak_memory_bytes", old, is, is / old, false});
    }
    if (row.contains("ops") && partner->contains("ops"))
      for (const Json& op : row.at("ops"))
        for (const Json& old : partner->at("ops"))
          if (same(old, op, {"op"})) {
            Json a = old, b = op;
            for (Json* side : {&a, &b}) (*side)["bench"] = "ops " + op.at("op").get<std::string>(), (*side)["shape"] = row.value("shape", "");
            compare(a, b, "ms", result);
          }
  }
  return result;
}

}  // namespace caddie::bench
