#include "core/eval/evaluate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/interrupt.h"
#include "core/base/progress.h"
#include "core/base/trace.h"

namespace caddie::eval {
namespace {

// Sums on the device, so that a GPU is not stopped after every batch.
class Sums {
 public:
  explicit Sums(at::Device device)
      : nats_(at::zeros({}, at::TensorOptions(at::kDouble).device(device))),
        bytes_(at::zeros({}, at::TensorOptions(at::kLong).device(device))) {}

  void add(const at::Tensor& nats, const at::Tensor& bytes) {
    nats_.add_(nats.sum(at::kDouble));
    bytes_.add_(bytes.sum(at::kLong));
    tokens_ += nats.numel();
  }
  Score read() const {
    Score score;
    score.nats = nats_.item<double>();
    score.bytes = bytes_.item<std::int64_t>();
    score.tokens = tokens_;
    if (!std::isfinite(score.nats)) {
      throw Error(ErrorKind::failed, concat("the score is ", score.nats, ": the model gives no finite loss"),
                  "The weights hold NaN or infinity, or the precision is too low for this model.");
    }
    return score;
  }

 private:
  at::Tensor nats_, bytes_;
  std::int64_t tokens_ = 0;
};

// `rows` rows of `length` values, the first at `start`, `distance` apart; a view.
at::Tensor rows_of(const at::Tensor& values, std::int64_t start, std::int64_t rows, std::int64_t distance,
                   std::int64_t length) {
  CADDIE_ASSERT(start >= 0 && start + (rows - 1) * distance + length <= values.size(0));
  return values.as_strided({rows, length}, {distance, 1}, values.storage_offset() + start);
}

struct Rows {
  std::int64_t start, count, distance;  // first input position, windows, positions between two of them
};

void score_rows(Model& model, const Prepared& text, std::int64_t sequence, const Rows& rows, std::int64_t from,
                Sums& sums, LossProfile* profile = nullptr) {
  const trace::Span span("evaluate", "batch", rows.start);
  const at::Tensor inputs = rows_of(text.tokens, rows.start, rows.count, rows.distance, sequence);
  const at::Tensor targets = rows_of(text.tokens, rows.start + 1, rows.count, rows.distance, sequence);
  const at::Tensor bytes = rows_of(text.bytes, rows.start + from, rows.count, rows.distance, sequence - from);
  const at::Tensor nats =
      model.nats(inputs.to(at::kLong).contiguous(), targets.to(at::kLong).contiguous(), from);
  CADDIE_ASSERT(nats.dim() == 2 && nats.size(0) == rows.count && nats.size(1) == sequence - from);
  sums.add(nats, bytes);
  if (profile != nullptr) profile->add(nats, bytes);
}

// Shows how far it is, and now and then the loss so far (which makes a GPU wait).
class Report {
 public:
  Report(std::string label, std::int64_t total) : progress_(std::move(label)), total_(total) {}
  void update(std::int64_t done, const Sums& sums) {
    if (since_.seconds() > 0.5 || detail_.empty()) {
      char text[48];
      std::snprintf(text, sizeof text, "loss %.4f", sums.read().loss());
      detail_ = text;
      since_.restart();
    }
    progress_.update(static_cast<double>(done) / static_cast<double>(std::max<std::int64_t>(total_, 1)), detail_);
  }

 private:
  Progress progress_;
  std::int64_t total_;
  Stopwatch since_;
  std::string detail_;
};

}  // namespace

Score flat(Model& model, const Text& text, const Settings& settings, Communicator* communicator,
           LossProfile* profile) {
  const at::NoGradGuard no_gradients;
  const Prepared prepared = prepare_text(model, text, settings);
  const at::Device device = device_of(model);
  const std::int64_t sequences = prepared.targets / settings.sequence;
  const std::int64_t rank = communicator != nullptr ? communicator->rank() : 0;
  const std::int64_t ranks = communicator != nullptr ? communicator->size() : 1;
  const std::int64_t begin = sequences * rank / ranks, end = sequences * (rank + 1) / ranks;
  const std::int64_t batch = batch_rows(settings, device);

  Sums sums(device);
  Report report("score (flat)", end - begin);
  for (std::int64_t first = begin; first < end; first += batch) {
    throw_if_interrupted();
    const std::int64_t rows = std::min(batch, end - first);
    score_rows(model, prepared, settings.sequence, {first * settings.sequence, rows, settings.sequence}, 0, sums,
               profile);
    report.update(first + rows - begin, sums);
  }
  Score score = sums.read();
  reduce(score, communicator);
  if (profile != nullptr) profile->reduce(communicator);
  score.limited_to = prepared.limited_to;
  return score;
}

Score score_windows(Model& model, const Prepared& text, const Settings& settings, const WindowRange& range,
                    const std::function<void(std::int64_t)>& done) {
  const at::NoGradGuard no_gradients;
  const at::Device device = device_of(model);
  const std::int64_t sequence = settings.sequence, stride = settings.stride;
  const std::int64_t batch = batch_rows(settings, device);
  Sums sums(device);
  std::int64_t scored = 0;
  for (std::int64_t index = range.first; index < range.end;) {
    throw_if_interrupted();
    // Window 0 scores all of its positions and goes alone; all others score their last `stride` ones.
    const std::int64_t left = (range.end - index + range.step - 1) / range.step;
    const std::int64_t rows = index == 0 ? 1 : std::min(batch, left);
    const std::int64_t from = index == 0 ? 0 : sequence - stride;
    score_rows(model, text, sequence, {index * stride, rows, range.step * stride}, from, sums);
    index += rows * range.step;
    scored += rows;
    if (done) done(scored);
  }
  Score score = sums.read();
  score.limited_to = text.limited_to;
  return score;
}

Score sliding(Model& model, const Text& text, const Settings& settings, Communicator* communicator) {
  const Prepared prepared = prepare_text(model, text, settings);
  const auto windows =
      static_cast<std::int64_t>(sliding_windows(prepared.targets, settings.sequence, settings.stride).size());
  const std::int64_t rank = communicator != nullptr ? communicator->rank() : 0;
  const std::int64_t ranks = communicator != nullptr ? communicator->size() : 1;
  const std::int64_t own = std::max<std::int64_t>((windows - rank + ranks - 1) / ranks, 1);
  Progress progress("score (sliding)");
  Score score = score_windows(model, prepared, settings, {rank, windows, ranks}, [&](std::int64_t scored) {
    progress.update(static_cast<double>(scored) / static_cast<double>(own));
  });
  reduce(score, communicator);
  score.limited_to = prepared.limited_to;
  return score;
}

}  // namespace caddie::eval
