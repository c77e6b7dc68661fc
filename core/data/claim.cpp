#include "core/data/claim.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "caddie/error.h"
#include "core/base/interrupt.h"
#include "core/data/shards.h"

namespace caddie::data {
namespace {

// A positive number and the size of a unit of its last digit.
bool read_figure(const std::string& text, double& value, double& unit) {
  char* end = nullptr;
  value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(value) || value <= 0) return false;
  const std::size_t exponent = text.find_first_of("eE"), point = text.find('.');
  const std::size_t digits_end = std::min(exponent, text.size());
  const double digits = point == std::string::npos ? 0 : static_cast<double>(digits_end - point - 1);
  const double scale = exponent == std::string::npos ? 0 : std::strtod(text.c_str() + exponent + 1, nullptr);
  unit = std::pow(10.0, scale - digits);
  return true;
}

}  // namespace

Claim Claim::parse(const std::string& text) {
  const std::size_t first = text.find(','), second = first == std::string::npos ? first : text.find(',', first + 1);
  double tokens = 0, loss_unit = 0, bits_unit = 0, token_unit = 0;
  Claim claim;
  const bool good = second != std::string::npos && read_figure(text.substr(0, first), claim.loss, loss_unit) &&
                    read_figure(text.substr(first + 1, second - first - 1), tokens, token_unit) &&
                    read_figure(text.substr(second + 1), claim.bits_per_byte, bits_unit) && tokens == std::floor(tokens) &&
                    tokens < 9e15;
  if (!good)
    throw Error(ErrorKind::usage, concat("'", text, "' is no claim"),
                "accepted: LOSS,TOKENS,BPB, for example 2.6318,45516800,1.1439");
  claim.tokens = static_cast<std::int64_t>(tokens);
  // Flat scores add means of batches in float32: a millionth.
  claim.tolerance = loss_unit / claim.loss + bits_unit / claim.bits_per_byte + 1e-6;
  return claim;
}

double Claim::implied_bytes() const { return loss / std::log(2.0) * static_cast<double>(tokens) / bits_per_byte; }

std::int64_t bytes_of_targets(const std::vector<std::filesystem::path>& shards, const ByteTable& table,
                              std::int64_t targets) {
  std::int64_t bytes = 0, left = targets + 1, last = -1;
  for (const std::filesystem::path& path : shards) {
    throw_if_interrupted();
    const Shard shard(path);
    const auto tokens =
        shard.tokens().first(static_cast<std::size_t>(std::min<std::int64_t>(left, static_cast<std::int64_t>(shard.tokens().size()))));
    if (tokens.empty()) continue;
    bytes += table.sum(tokens);
    if (last >= 0) bytes += table.target_bytes(last, tokens.front());
    last = tokens.back();
    left -= static_cast<std::int64_t>(tokens.size());
  }
  CADDIE_CHECK(left == 0, ErrorKind::data, targets, " targets are claimed, the shards have ",
               std::max<std::int64_t>(targets - left, 0));
  return bytes;
}

Json check_claim(const Claim& claim, const std::vector<std::filesystem::path>& shards, const ByteTable& table) {
  const auto bytes = static_cast<double>(bytes_of_targets(shards, table, claim.tokens));
  const double implied = claim.implied_bytes(), ratio = implied / bytes;
  if (!(std::abs(ratio - 1) <= claim.tolerance)) {
    char text[256];
    std::snprintf(text, sizeof text,
                  "the claim implies %.0f bytes, its %lld targets have %.0f: off by %+.4f %%, rounding explains %.4f %%",
                  implied, static_cast<long long>(claim.tokens), bytes, 100 * (ratio - 1), 100 * claim.tolerance);
    throw Error(ErrorKind::data, text,
                "Loss and bits per byte are of different runs or passes, or the bytes were counted wrong.");
  }
  return {{"implied_bytes", implied}, {"bytes", bytes}, {"ratio", ratio}, {"tolerance", claim.tolerance}};
}

}  // namespace caddie::data
