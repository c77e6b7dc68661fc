// A score: sums in float64 over exactly the targets that were scored, and the two figures that people read off them;
// and the text that is scored. Byte counts come ready-made (one number a target), so that evaluation knows no
// tokenizer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "caddie/communicator.h"
#include "caddie/export.h"
#include "caddie/model.h"
#include "core/base/json.h"

namespace caddie::eval {

struct CADDIE_API Score {
  double nats = 0;
  std::int64_t tokens = 0;      // targets scored
  std::int64_t bytes = 0;       // bytes of those targets
  std::int64_t limited_to = 0;  // `evaluate.tokens` where it cut the text short: belongs to every printed score; 0: all

  double loss() const;           // nats a token; Error(data) without tokens
  double bits_per_byte() const;  // nats / (ln 2 bytes); Error(data) without bytes
  Score& operator+=(const Score& other);
  // {"nats", "tokens", "bytes", "loss", "bits_per_byte"} and "limited_to" if the text was cut short.
  Json to_json() const;
  // "2.0134 bits/byte  loss 3.4567  (98,304 tokens of limited text)"
  std::string text() const;
};

struct Text {
  at::Tensor tokens;  // [n + 1], any integer type, on the model's device or not
  at::Tensor bytes;   // [n], any integer type: bytes[i] belongs to target tokens[i + 1], given tokens[i] before it
  std::int64_t bos = -1;  // the token that begins a document; -1: not known
};

struct Settings {
  std::int64_t sequence = 1024;   // train.sequence
  bool flat = true;
  bool sliding = true;
  std::int64_t stride = 64;
  std::int64_t limit = 0;         // evaluate.tokens: only the first targets; 0: all
  std::int64_t batch_tokens = 0;  // tokens a forward pass; 0: chosen for the device
  // `evaluate` section of a resolved manifest.
  static CADDIE_API Settings from_json(const Json& section, std::int64_t sequence);
};

// The text on the model's device, cut to `limit` targets and then to whole sequences.
struct Prepared {
  at::Tensor tokens, bytes;  // [targets + 1] and [targets]
  std::int64_t targets;
  std::int64_t limited_to;  // as in Score
};
// Throws Error(data) if the text does not fill one sequence or tokens and bytes do not belong together.
CADDIE_API Prepared prepare_text(Model& model, const Text& text, const Settings& settings);

// Sum over all ranks, in place (float64; exact for tokens and bytes).
CADDIE_API void reduce(Score& score, Communicator* communicator);

CADDIE_API at::Device device_of(Model& model);
// Rows of `sequence` tokens in a forward pass without gradients.
CADDIE_API std::int64_t batch_rows(const Settings& settings, at::Device device);

}  // namespace caddie::eval
