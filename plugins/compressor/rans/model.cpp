#include "model.h"

#include <algorithm>

#include "caddie/error.h"
#include "levels.h"

namespace rans {
namespace {

using caddie::ErrorKind;
static_assert(kModelLevels == kLevels);

bool any(const Counts& counts) {
  return std::any_of(counts.begin(), counts.end(), [](std::uint32_t count) { return count > 0; });
}

struct Group {
  std::size_t first;  // level
  Counts counts;
  double bits;  // codes and table
};

double bits_of(const Counts& counts) {
  if (!any(counts)) return 0;
  const Frequencies frequencies = fit(counts, true);
  BitWriter writer;
  write(frequencies, true, writer);
  return cost_bits(counts, frequencies) + 8 * static_cast<double>(writer.finish().size());
}

Group merged(const Group& a, const Group& b) {
  Group sum{a.first, a.counts, 0};
  for (std::size_t i = 0; i < sum.counts.size(); ++i) sum.counts[i] += b.counts[i];
  sum.bits = bits_of(sum.counts);
  return sum;
}

ClassModel fit_class(const std::array<Counts, kModelLevels>& counts) {
  std::vector<Group> groups;
  for (std::size_t level = 0; level < kModelLevels; ++level)
    groups.push_back({level, counts[level], bits_of(counts[level])});
  // Greedily: the pair of neighbours whose union saves most, or costs nothing.
  while (groups.size() > 1) {
    std::size_t best = 0;
    double saved = -1;
    std::vector<Group> unions;
    for (std::size_t i = 0; i + 1 < groups.size(); ++i) {
      unions.push_back(merged(groups[i], groups[i + 1]));
      const double gain = groups[i].bits + groups[i + 1].bits - unions.back().bits;
      if (gain > saved) best = i, saved = gain;
    }
    if (saved < 0) break;
    groups[best] = unions[best];
    groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  ClassModel model;
  model.used = any(groups[0].counts) || groups.size() > 1;
  if (!model.used) return model;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const std::size_t end = i + 1 < groups.size() ? groups[i + 1].first : kModelLevels;
    for (std::size_t level = groups[i].first; level < end; ++level) model.table[level] = static_cast<std::uint8_t>(i);
    model.tables.push_back(fit(groups[i].counts, true));
  }
  return model;
}

}  // namespace

std::size_t class_of(int largest_magnitude) {
  return largest_magnitude < 16 ? 0 : largest_magnitude < 32 ? 1 : largest_magnitude < 64 ? 2 : 3;
}

Model fit(const ModelCounts& counts) {
  Model model;
  for (std::size_t c = 0; c < kClasses; ++c) model[c] = fit_class(counts[c]);
  return model;
}

void write(const Model& model, BitWriter& to) {
  for (const ClassModel& own : model) {
    to.put(own.used ? 1 : 0, 1);
    if (!own.used) continue;
    for (std::size_t level = 1; level < kModelLevels; ++level) to.put(own.table[level] != own.table[level - 1] ? 1 : 0, 1);
    for (const Frequencies& frequencies : own.tables) write(frequencies, true, to);
  }
}

Model read_model(BitReader& from) {
  Model model;
  for (ClassModel& own : model) {
    own.used = from.get(1) != 0;
    if (!own.used) continue;
    for (std::size_t level = 1; level < kModelLevels; ++level)
      own.table[level] = static_cast<std::uint8_t>(own.table[level - 1] + from.get(1));
    for (int i = 0; i <= own.table.back(); ++i) own.tables.push_back(read(true, from));
  }
  return model;
}

std::vector<std::uint32_t> lay_out(const ClassModel& model) {
  if (!model.used) return {};
  std::vector<std::uint32_t> entries(kModelLevels * kProbabilityOne);
  for (std::size_t level = 0; level < kModelLevels; ++level) {
    std::uint32_t* own = entries.data() + level * kProbabilityOne;
    if (level > 0 && model.table[level] == model.table[level - 1])
      std::copy_n(own - kProbabilityOne, kProbabilityOne, own);
    else
      lay_out(model.tables[model.table[level]], own);
  }
  return entries;
}

}  // namespace rans
