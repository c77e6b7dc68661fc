// How many bytes of text a target token stands for: the denominator of bits per byte. Derived from the SentencePiece
// model file alone. Reference section 1, "Bytes of a target".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"

namespace caddie::data {

struct TokenizerModel;

class CADDIE_API ByteTable {
 public:
  // Throws Error(data) if the file is not a SentencePiece model.
  static ByteTable from_file(const std::filesystem::path& path);
  explicit ByteTable(const TokenizerModel& model);

  std::int64_t vocabulary() const { return static_cast<std::int64_t>(bytes_.size()); }
  // One entry a piece. bytes: UTF-8 length without one leading U+2581; byte pieces 1; control, unknown, unused 0.
  const std::vector<std::int16_t>& bytes() const { return bytes_; }
  const std::vector<std::uint8_t>& leading_space() const { return leading_space_; }  // 1: the piece starts with U+2581
  const std::vector<std::uint8_t>& boundary() const { return boundary_; }            // 1: control, unknown or unused
  std::int64_t unknown() const { return unknown_; }                                  // the id of the unknown piece
  const std::string& tokenizer_sha256() const { return tokenizer_sha256_; }

  // Bytes of `target` after `previous`. Both must be below vocabulary().
  std::int64_t target_bytes(std::int64_t previous, std::int64_t target) const {
    const auto p = static_cast<std::size_t>(previous), t = static_cast<std::size_t>(target);
    return bytes_[t] + (leading_space_[t] != 0 && boundary_[p] == 0 ? 1 : 0);
  }
  // Of tokens[1..] given their predecessors, summed. Throws Error(data) for an id outside the table.
  std::int64_t sum(std::span<const std::uint16_t> tokens) const;
  // int64, elementwise, on the tensors' device; previous and targets int64 of one shape, ids already checked.
  at::Tensor target_bytes(const at::Tensor& previous, const at::Tensor& targets) const;
  // The same summed, as a number.
  std::int64_t sum(const at::Tensor& previous, const at::Tensor& targets) const;

 private:
  std::vector<std::int16_t> bytes_;
  std::vector<std::uint8_t> leading_space_, boundary_;
  std::int64_t unknown_ = -1;
  std::string tokenizer_sha256_;
};

}  // namespace caddie::data
