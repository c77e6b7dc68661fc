// Test-time training. The host scores a chunk and records the score before it hands the chunk to adapt(): a strategy
// never sees a token that was not scored (score-first, reference section 5).
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <vector>

#include "caddie/component.h"
#include "caddie/model.h"
#include "caddie/services.h"

namespace caddie {

// A chunk all of whose tokens were scored.
struct ScoredChunk {
  std::int64_t index;      // from 0
  std::int64_t count;      // chunks in all
  at::Tensor inputs;       // int64 [sequences, sequence]: the chunk's own whole sequences, in order (this rank's part)
  at::Tensor targets;      // the same, one token later
  bool ends_document = false;  // the text behind the chunk begins another document
};

// The only way to change the model that scores. Gradients are averaged over the ranks before they are returned.
class CADDIE_API Learner {
 public:
  virtual ~Learner();
  // Parameters that may be changed (the manifest can leave some out). Values are float32; change them in place.
  virtual std::span<const Parameter> parameters() = 0;
  // Mean loss over the rows and its gradients, one a parameter, valid until the next call. Fake quantization is off.
  virtual double gradients(const at::Tensor& inputs, const at::Tensor& targets, std::vector<at::Tensor>& out) = 0;
};

struct TttContext {
  Services* services;
};

class CADDIE_API TttStrategy {
 public:
  virtual ~TttStrategy();
  // Whether the host should score chunk by chunk at all; false: plain sliding evaluation is the result.
  virtual bool adapts() const = 0;
  // Learns from a scored chunk; not called for the last one. State (momentum) lives on from chunk to chunk. A strategy
  // that asks the learner for no gradient has not learned from the chunk, and the record says so.
  virtual void adapt(const ScoredChunk& chunk, Learner& learner) = 0;
  // The last chunk that was scored ended its document: what is scored next belongs to another one. Called after adapt()
  // of that chunk. Strategies that keep what they learned do nothing, which is the default.
  virtual void end_document(Learner& learner);
  // The rate used for a chunk, for the record (0: nothing was trained).
  virtual double rate(std::int64_t chunk, std::int64_t count) const = 0;
};

template <class T>
constexpr Component ttt_component(const char* name, const char* summary, std::uint32_t behaviour_version,
                                  std::span<const OptionSpec> options) {
  return make_component<TttStrategy, T, TttContext>(PluginKind::ttt, name, summary, behaviour_version, options.data(),
                                                    options.size());
}

}  // namespace caddie
