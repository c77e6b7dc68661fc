// Speed of the program's parts, measured through the functions that `run` uses, on made-up tokens at fixed sizes. Results
// are JSON; what a figure means is the part's own doc. No part checks a speed: that is what --against is for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"
#include "core/eval/score.h"
#include "core/ops/kernel_record.h"
#include "core/pipeline/session.h"

namespace caddie::bench {

struct Options {
  std::string shape = "quick";
  bool kernels = false;               // record what a GPU does
  std::int64_t steps = 0;             // or repeats of whatever is measured; 0: the part's own number
  std::vector<std::string> overrides;  // of the shape's manifest
  pipeline::SessionRanks ranks = {};   // that share the work, for the parts that can
};

// What a part needs: the shape's manifest resolved, a folder that goes away, and made-up tokens.
class CADDIE_API Bench {
 public:
  Bench(const Options& options, const std::shared_ptr<const Catalogue>& catalogue);
  ~Bench();

  const pipeline::Session& session() const { return *session_; }
  const std::filesystem::path& folder() const { return folder_; }
  std::int64_t vocabulary() const { return session_->stated_vocabulary(); }
  const std::string& shape() const { return options_.shape; }
  const std::vector<std::string>& overrides() const { return options_.overrides; }
  int repeats(int fallback) const { return options_.steps > 0 ? static_cast<int>(options_.steps) : fallback; }

  // Initial weights, with the zeros among them filled so that every part of the model does something; prepared.
  std::shared_ptr<Model> model() const;
  // Uniform over the vocabulary, [count] int64 on the CPU; the same for the same `purpose`.
  at::Tensor tokens(std::int64_t count, const char* purpose) const;
  // `targets` uniform tokens to score, each of three bytes.
  eval::Text text(std::int64_t targets) const;
  // One file of uniform tokens in the shards' format.
  std::filesystem::path shard(std::int64_t tokens) const;
  // {"bench", "shape", "device", "precision", "threads", "caddie", "torch", "cpu" or "gpu"}
  Json head(const std::string& part) const;
  // With Options::kernels: from here to add_kernels() the device's kernels are recorded. Only the first call counts.
  void record_kernels();
  // {"kernels": [{"name", "calls", "ms"}], "kernels_busy_ms", "kernels_idle_ms"}, each divided by `times`.
  void add_kernels(Json& result, std::int64_t times);
  // With the device's, on a CPU the process's, peak.
  void add_memory(Json& result) const;

 private:
  Options options_;
  std::filesystem::path folder_;
  std::unique_ptr<pipeline::Session> session_;
  std::unique_ptr<ops::KernelRecord> kernels_;
};

struct Part {
  const char* name;
  const char* doc;
  bool shared;  // several ranks can share it
  Json (*run)(Bench& bench);
};
CADDIE_API const std::vector<Part>& parts();

// The parts themselves.
Json train(Bench& bench);
Json eval_flat(Bench& bench);
Json sliding(Bench& bench);
Json ttt(Bench& bench);
Json generate(Bench& bench);
Json gptq(Bench& bench);
Json compress(Bench& bench);
Json load(Bench& bench);
Json first_step(Bench& bench);
Json ops(Bench& bench);

}  // namespace caddie::bench
