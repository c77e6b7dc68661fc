// Certified bytes: a score in bits per byte implies how many bytes it was divided by, and that number must be the
// text's, whatever tokenizer, seed or model. Reference section 1, "Invariant".
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"
#include "core/data/byte_table.h"

namespace caddie::data {

// A stated result: mean loss in nats over so many targets, and the same in bits per byte.
struct CADDIE_API Claim {
  double loss = 0;
  std::int64_t tokens = 0;
  double bits_per_byte = 0;
  double tolerance = 0;  // relative, of the implied bytes: a unit of the last digit of each figure

  // "2.6318,45516800,1.1439". Throws Error(usage) for something else.
  static Claim parse(const std::string& text);
  CADDIE_API double implied_bytes() const;
};

// Bytes of the first `targets` targets of the shards as one stream, as a flat score counts them. Throws Error(data) if
// there are not so many.
CADDIE_API std::int64_t bytes_of_targets(const std::vector<std::filesystem::path>& shards, const ByteTable& table,
                                         std::int64_t targets);

// {"implied_bytes", "bytes", "ratio", "tolerance"}. Throws Error(data) if the claim implies other bytes than its targets
// have.
CADDIE_API Json check_claim(const Claim& claim, const std::vector<std::filesystem::path>& shards, const ByteTable& table);

}  // namespace caddie::data
