// What a payload says about its codes beside the codes: for each class of pieces (by their largest magnitude) which levels
// share a table of frequencies, and the tables.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tables.h"

namespace rans {

constexpr std::size_t kModelLevels = 24, kClasses = 4;
// Pieces of 5 bits, of 6, of 7, others: codes that end at +-15 and codes that go on have different tails.
std::size_t class_of(int largest_magnitude);

struct ClassModel {
  bool used = false;
  std::array<std::uint8_t, kModelLevels> table{};  // of each level
  std::vector<Frequencies> tables;
};
using Model = std::array<ClassModel, kClasses>;
using ModelCounts = std::array<std::array<Counts, kModelLevels>, kClasses>;

// Neighbouring levels share a table where that takes fewer bits altogether.
Model fit(const ModelCounts& counts);
void write(const Model& model, BitWriter& to);
Model read_model(BitReader& from);
// kModelLevels * 4096 entries for the decoder.
std::vector<std::uint32_t> lay_out(const ClassModel& model);

}  // namespace rans
