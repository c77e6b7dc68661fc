// Self-generation with the key/value cache, and sums of X^T X. On one device all through; random numbers are drawn on the
// host before the loop, so that a generation never waits for them.
#include "core/artifact/calibration.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "core/base/interrupt.h"
#include "core/base/progress.h"
#include "core/base/trace.h"
#include "core/base/sampling.h"
#include "core/ops/pick_next.h"
#include "core/ops/recorded.h"

namespace caddie::artifact {
namespace {

CalibrationSource source_from(const std::string& name) {
  if (name == "self") return CalibrationSource::self;
  if (name == "train") return CalibrationSource::train;
  CADDIE_CHECK(name == "random", ErrorKind::usage, "the calibration source '", name,
               "' is unknown, accepted: self, train, random");
  return CalibrationSource::random;
}

}  // namespace

CalibrateSettings CalibrateSettings::from_json(const Json& section) {
  CalibrateSettings settings;
  if (!section.is_object()) return settings;
  settings.source = source_from(section.value("source", "self"));
  settings.sequences = section.value("sequences", settings.sequences);
  settings.length = section.value("length", settings.length);
  settings.temperature = section.value("temperature", settings.temperature);
  settings.batch = section.value("batch", settings.batch);
  settings.sequential = section.value("sequential", settings.sequential);
  CADDIE_CHECK(settings.sequences >= 1 && settings.length >= 2 && settings.batch >= 1 && settings.temperature >= 0,
               ErrorKind::usage,
               "quantize.calibrate needs sequences >= 1, length >= 2, batch >= 1 and temperature >= 0");
  return settings;
}

at::Tensor self_generated_tokens(Model& model, std::int64_t vocabulary, std::int64_t sequences, std::int64_t length,
                                 double temperature, const Random& random, at::Device device, bool cached, bool recorded) {
  const at::NoGradGuard no_gradients;
  auto tokens = at::empty({sequences, length}, at::kLong);
  auto uniform = at::empty({std::max<std::int64_t>(length - 1, 1), sequences}, at::kDouble);
  // A stream a sequence: the first n of them are the same, however many are asked for.
  for (std::int64_t row = 0; row < sequences; ++row) {
    Random stream = random.split(concat("sequence ", row));
    tokens.mutable_data_ptr<std::int64_t>()[row * length] =
        static_cast<std::int64_t>(stream.below(static_cast<std::uint64_t>(vocabulary)));
    for (std::int64_t step = 0; step + 1 < length; ++step)
      uniform.mutable_data_ptr<double>()[step * sequences + row] = stream.uniform();
  }
  tokens = tokens.to(device);
  uniform = uniform.to(device);
  model.prepare(/*training=*/false);
  const auto generator = cached ? model.generator(sequences, length) : nullptr;
  const Sampling sampling{temperature, 0};
  const trace::Span span("quantize", "generate calibration text");
  Progress progress("calibration text");
  const auto done = [&](std::int64_t position) {
    progress.update(static_cast<double>(position + 1) / static_cast<double>(length - 1));
  };
  if (cached && generator->feeds_at() && (recorded || (!device.is_cpu() && !ops::using_oracles()))) {
    // Nothing of a step is on the host: a device that can record it repeats the recording.
    auto next = tokens.narrow(1, 0, 1).clone(), position = at::zeros({1}, tokens.options());
    ops::Recorded step(device);
    const ops::EarlyLaunches early;  // nobody writes weights here
    for (std::int64_t i = 0; i + 1 < length; ++i) {
      throw_if_interrupted();
      step.run([&] { ops::pick_next(generator->feed_at(next, position), uniform, position, temperature, next, tokens); });
      done(i);
    }
    return tokens;
  }
  for (std::int64_t position = 0; position + 1 < length; ++position) {
    throw_if_interrupted();
    const auto logits = cached ? generator->feed(tokens.narrow(1, position, 1))
                               : model.logits(tokens.narrow(1, 0, position + 1)).select(1, position);
    tokens.select(1, position + 1).copy_(pick_tokens(logits, uniform.select(0, position), sampling));
    done(position);
  }
  return tokens;
}

at::Tensor random_tokens(std::int64_t vocabulary, std::int64_t sequences, std::int64_t length, const Random& random,
                         at::Device device) {
  auto tokens = at::empty({sequences, length}, at::kLong);
  Random stream = random.split("uniform tokens");
  for (std::int64_t i = 0; i < tokens.numel(); ++i)
    tokens.mutable_data_ptr<std::int64_t>()[i] =
        static_cast<std::int64_t>(stream.below(static_cast<std::uint64_t>(vocabulary)));
  return tokens.to(device);
}

HessianCollector::HessianCollector(std::function<bool(const std::string&)> wanted) : wanted_(std::move(wanted)) {}
HessianCollector::~HessianCollector() = default;

void HessianCollector::input(std::span<const std::string> weights, const at::Tensor& input) {
  const at::NoGradGuard no_gradients;
  std::vector<std::string> names;
  for (const auto& weight : weights)
    if (!wanted_ || wanted_(weight)) names.push_back(weight);
  if (names.empty()) return;
  CADDIE_CHECK(input.dim() == 2, ErrorKind::failed, "the model announced an input of ", input.dim(),
               " dimensions for '", names[0], "', 2 are needed (rows, columns)");
  const auto columns = input.size(1);
  auto [known, fresh] = group_of_.try_emplace(names[0], groups_.size());
  if (fresh) {
    for (const auto& name : names)
      CADDIE_CHECK(name == names[0] || group_of_.emplace(name, groups_.size()).second, ErrorKind::failed,
                   "the model announced the input of '", name, "' with different partners");
    groups_.push_back(names);
    sums_.push_back(at::zeros({columns, columns}, input.options().dtype(at::kFloat)));
  }
  CADDIE_CHECK(groups_[known->second] == names, ErrorKind::failed, "the model announced the input of '", names[0],
               "' with different partners");
  auto& sum = sums_[known->second];
  const auto values = input.to(at::kFloat);
  // The upper triangle by blocks: columns i.. of the rows of block i. Nearly half of the products are saved.
  constexpr std::int64_t kBlock = 256;
  for (std::int64_t first = 0; first < columns; first += kBlock) {
    const auto count = std::min(kBlock, columns - first);
    auto part = sum.narrow(0, first, count).narrow(1, first, columns - first);
    part.addmm_(values.narrow(1, first, count).t(), values.narrow(1, first, columns - first));
  }
}

const std::vector<std::string>& HessianCollector::group(const std::string& weight) const {
  const auto found = group_of_.find(weight);
  if (found == group_of_.end())
    throw Error(ErrorKind::failed, concat("the model announced no input of '", weight, "', so it cannot be calibrated"),
                "Use a quantizer without calibration for it, for example `round`.");
  return groups_[found->second];
}

std::shared_ptr<const SharedCalibration> HessianCollector::calibration(const std::string& weight) const {
  group(weight);
  CADDIE_CHECK(batches_ > 0, ErrorKind::failed, "no calibration batch was shown to the model");
  const auto& sum = sums_[group_of_.at(weight)];
  const auto upper = sum.triu();
  return std::make_shared<SharedCalibration>(upper.add(sum.triu(1).t()).div_(static_cast<double>(batches_)));
}

void collect_hessians(Model& model, std::span<const at::Tensor> batches, HessianCollector& collector) {
  const at::NoGradGuard no_gradients;
  model.prepare(/*training=*/false);
  Progress progress("calibration");
  double done = 0;
  // A device is slow with one short batch after the other, and the sum over batches is the same at once.
  constexpr std::int64_t kTogether = 16384;
  for (std::size_t first = 0; first < batches.size();) {
    throw_if_interrupted();
    std::size_t count = 1;
    auto tokens = batches[first];
    while (!tokens.is_cpu() && first + count < batches.size() && batches[first + count].sizes() == tokens.sizes() &&
           static_cast<std::int64_t>(count + 1) * tokens.numel() <= kTogether)
      ++count;
    if (count > 1) tokens = at::cat(at::TensorList(batches.data() + first, count));
    CADDIE_CHECK(tokens.dim() == 2 && tokens.size(1) >= 2, ErrorKind::failed, "calibration tokens are ", tokens.sizes(),
                 ", needed are [sequences, tokens] of at least 2 tokens");
    const trace::Span span("quantize", "observe a calibration batch");
    // The last token is only a target.
    model.observe(tokens.narrow(1, 0, tokens.size(1) - 1), collector);
    for (std::size_t i = 0; i < count; ++i) collector.end_batch();
    first += count;
    progress.update((done += static_cast<double>(count)) / static_cast<double>(batches.size()));
  }
}

std::vector<at::Tensor> split_batches(const at::Tensor& tokens, std::int64_t batch) {
  std::vector<at::Tensor> batches;
  for (std::int64_t first = 0; first < tokens.size(0); first += batch)
    batches.push_back(tokens.narrow(0, first, std::min(batch, tokens.size(0) - first)));
  return batches;
}

}  // namespace caddie::artifact
