#include "core/train/train.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/environment.h"
#include "core/base/freed_memory.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "core/base/progress.h"
#include "core/base/trace.h"
#include "core/ops/kernel_record.h"
#include "core/train/checkpoint.h"
#include "core/train/schedule.h"

namespace caddie::train {
namespace {

// Training time: stands still during warm-up and checkpoints.
class TrainingClock {
 public:
  explicit TrainingClock(std::function<double()> now) : now_(std::move(now)) {
    if (!now_) now_ = [watch = Stopwatch()] { return watch.seconds(); };
  }
  double seconds() const { return running_ ? before_ + now_() - started_ : before_; }
  void run(bool on) {
    before_ = seconds();
    started_ = now_();
    running_ = on;
  }
  void set(double seconds) {
    before_ = seconds;
    started_ = now_();
  }

 private:
  std::function<double()> now_;
  double before_ = 0, started_ = 0;
  bool running_ = false;
};

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string with_commas(double value) {
  const std::string digits = std::to_string(static_cast<std::int64_t>(value));
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

class Loop {
 public:
  Loop(const TrainSettings& settings, const TrainJob& job)
      : settings_(settings),
        job_(job),
        trainer_(job.model, settings, job.optimizers, job.communicator, job.services),
        clock_(job.clock),
        checkpoints_(job.checkpoint_folder, job.identity, job.communicator) {
    const int ranks = job.communicator.size();
    CADDIE_CHECK(settings.micro_batches % ranks == 0, ErrorKind::usage, "train.micro_batches is ", settings.micro_batches,
                 "; it must be a multiple of the number of ranks, ", ranks);
    own_micro_batches_ = settings.micro_batches / ranks;
  }

  TrainResult run() {
    const KeepFreedMemory keep(device().is_cpu());
    if (!resume()) warm_up();
    Progress progress("train");
    clock_.run(true);
    since_checkpoint_.restart();
    while (next_step_wanted()) {
      profile_device();
      one_step(progress);
    }
    keep_kernels();
    clock_.run(false);
    return result();
  }

 private:
  bool has_checkpoints() const { return !job_.checkpoint_folder.empty(); }

  void save(StateWriter& writer) const {
    writer.number("elapsed_seconds", clock_.seconds());
    writer.number("train_loss", loss_);
    writer.number("last_step_started_at", started_at_);
    ScopedWriter trainer(writer, "trainer"), loader(writer, "loader");
    trainer_.save(trainer);
    job_.batches.save(loader);
  }

  void load(const StateReader& reader) {
    trainer_.load(ScopedReader(reader, "trainer"));
    job_.batches.load(ScopedReader(reader, "loader"));
    clock_.set(reader.number("elapsed_seconds"));
    loss_ = reader.number("train_loss");
    started_at_ = reader.number("last_step_started_at");
  }

  bool resume() {
    if (!has_checkpoints()) return false;
    const auto state = checkpoints_.read();
    if (!state) return false;
    load(*state);
    resumed_from_ = trainer_.steps();
    log::info(concat("train: goes on after step ", trainer_.steps(), ", ", human_seconds(clock_.seconds()), " of training"));
    if (job_.on_resume) job_.on_resume(trainer_.steps());
    return true;
  }

  void warm_up() {
    if (settings_.warmup_steps == 0) return;
    const trace::Span span("train", "warm-up");
    StateDictionary before(StateDictionary::Keep::copies);
    save(before);
    for (std::int64_t i = 0; i < settings_.warmup_steps; ++i) {
      throw_if_interrupted();
      trainer_.step(next_batches(0), 1.0);
    }
    load(before);
  }

  std::vector<Batch> next_batches(double progress) {
    const trace::Span span("train", "wait for the loader");
    std::vector<Batch> batches;
    for (std::int64_t i = 0; i < own_micro_batches_; ++i) batches.push_back(job_.batches.next());
    const std::int64_t sequence = sequence_at(settings_, progress);
    if (sequence == settings_.sequence) return batches;
    // The same tokens in shorter rows: their order, and the tokens of a step, stay.
    for (Batch& batch : batches) batch = {batch.inputs.reshape({-1, sequence}), batch.targets.reshape({-1, sequence})};
    return batches;
  }

  // Looks at the clock, the interrupts and the checkpoints; with several ranks all decide alike, by rank 0's clock.
  bool next_step_wanted() {
    const std::int64_t step = trainer_.steps();
    bool stop_asked = interrupted();
    bool due = checkpoint_due(step);
    step_start_ = clock_.seconds();
    if (job_.communicator.size() > 1) {
      const bool leads = job_.communicator.rank() == 0;
      // In the host's memory: GPUs go on with the optimizers meanwhile.
      auto shared = at::tensor({leads ? step_start_ : 0.0, stop_asked ? 1.0 : 0.0, leads && due ? 1.0 : 0.0}, at::kDouble);
      job_.communicator.all_reduce_sum(shared);
      step_start_ = shared[0].item<double>();
      stop_asked = shared[1].item<double>() > 0;
      due = shared[2].item<double>() > 0;
    }
    if (settings_.stop_steps && step >= *settings_.stop_steps) return false;
    if (settings_.stop_seconds && step_start_ >= *settings_.stop_seconds) return false;
    if (stop_asked) stop_here(step);
    if (due) checkpoint(step);
    return true;
  }

  bool checkpoint_due(std::int64_t step) const {
    if (!has_checkpoints() || step == 0 || step == resumed_from_) return false;
    return (settings_.checkpoint_steps > 0 && step % settings_.checkpoint_steps == 0) ||
           (settings_.checkpoint_seconds > 0 && since_checkpoint_.seconds() >= settings_.checkpoint_seconds);
  }

  [[noreturn]] void stop_here(std::int64_t step) {
    clock_.run(false);
    if (!has_checkpoints())
      throw Error(ErrorKind::interrupted, concat("training stopped on request after step ", step, "; it keeps no checkpoints"));
    write_checkpoint(step);
    throw Error(ErrorKind::interrupted, concat("training stopped on request after step ", step, "; a checkpoint was written"),
                "Start the same run with --resume to go on.");
  }

  void write_checkpoint(std::int64_t step) {
    const trace::Span span("train", "checkpoint", step);
    StateDictionary state(StateDictionary::Keep::references);
    save(state);
    checkpoints_.write(state, step);
  }

  // A disk that is full now must not end the training: the weights are still to come.
  void checkpoint(std::int64_t step) {
    clock_.run(false);
    try {
      write_checkpoint(step);
    } catch (const Error& error) {
      log::warning(concat("train: ", error.message()));
    }
    since_checkpoint_.restart();
    clock_.run(true);
  }

  void one_step(Progress& progress) {
    const trace::Span span("train", "step", trainer_.steps() + 1);
    started_at_ = step_start_;
    const double factor = job_.factor ? job_.factor(trainer_.steps()) : rate_factor(settings_, trainer_.steps(), started_at_);
    const double before = clock_.seconds();
    const double share = progress_share(settings_, trainer_.steps(), started_at_);
    loss_ = trainer_.step(next_batches(share), factor, share);
    const double after = clock_.seconds(), took = std::max(after - before, 1e-9);
    step_seconds_.push_back(took);
    const double rate = static_cast<double>(settings_.tokens_per_step) / took;
    if (job_.on_step) job_.on_step({trainer_.steps(), loss_, factor, after, rate});
    double fraction = 0;
    if (settings_.stop_seconds) fraction = after / *settings_.stop_seconds;
    if (settings_.stop_steps)
      fraction = std::max(fraction, static_cast<double>(trainer_.steps()) / static_cast<double>(*settings_.stop_steps));
    progress.update(std::min(fraction, 1.0), concat("step ", trainer_.steps(), "  loss ", fixed(loss_, 3), "  ",
                                                    with_commas(rate), " tokens/s"));
  }

  // With run --profile: what a GPU does in a few steps, as tracks of the trace. All steps of a run would be millions of kernels.
  void profile_device() {
    constexpr std::size_t kFirst = 3, kSteps = 3;
    if (!trace::on()) return;
    if (step_seconds_.size() == kFirst) kernels_ = std::make_unique<ops::KernelRecord>(device());
    if (step_seconds_.size() == kFirst + kSteps) keep_kernels();
  }

  void keep_kernels() {
    if (!kernels_) return;
    std::map<std::int64_t, std::vector<trace::Timed>> streams;
    for (const auto& run : kernels_->finish()) streams[run.stream].push_back({run.name, run.start_ns, run.duration_ns});
    for (auto& [stream, runs] : streams) trace::add_track(concat(device(), ", stream ", stream), "kernel", std::move(runs));
    kernels_.reset();
  }

  at::Device device() const { return job_.model.parameters().front().tensor.device(); }

  TrainResult result() {
    job_.model.set_progress(1);
    TrainResult result;
    result.weights = trainer_.averager().final_weights();
    result.last_weights = trainer_.weights();
    result.steps = trainer_.steps();
    result.seconds = clock_.seconds();
    result.last_step_started_at = started_at_;
    result.step_ms_median = 1000 * median(step_seconds_);
    double total = 0;
    for (double seconds : step_seconds_) total += seconds;
    if (total > 0)
      result.tokens_per_second = static_cast<double>(settings_.tokens_per_step) * static_cast<double>(step_seconds_.size()) / total;
    result.peak_memory_bytes = caddie::peak_memory_bytes(device());
    result.train_loss = loss_;
    result.swa_count = trainer_.averager().swa_count();
    if (resumed_from_ >= 0) result.resumed_from_step = resumed_from_;
    return result;
  }

  const TrainSettings& settings_;
  const TrainJob& job_;
  Trainer trainer_;
  TrainingClock clock_;
  Checkpoints checkpoints_;
  Stopwatch since_checkpoint_;
  std::int64_t own_micro_batches_ = 1, resumed_from_ = -1;
  double loss_ = 0, step_start_ = 0, started_at_ = 0;
  std::vector<double> step_seconds_;
  std::unique_ptr<ops::KernelRecord> kernels_;
};

}  // namespace

double rate_factor(const TrainSettings& settings, std::int64_t step, double elapsed) {
  return settings.schedule_by_seconds ? factor_by_seconds(settings.schedule, elapsed, settings.stop_seconds.value())
                                      : factor_by_steps(settings.schedule, step, settings.stop_steps.value());
}

double progress_share(const TrainSettings& settings, std::int64_t step, double elapsed) {
  const double share = settings.schedule_by_seconds
                           ? elapsed / settings.stop_seconds.value()
                           : static_cast<double>(step) / static_cast<double>(settings.stop_steps.value());
  return std::clamp(share, 0.0, 1.0);
}

std::int64_t sequence_at(const TrainSettings& settings, double progress) {
  for (const auto& [until, sequence] : settings.sequence_schedule)
    if (progress < until) return sequence;
  return settings.sequence;
}

TrainResult train(const TrainSettings& settings, const TrainJob& job) { return Loop(settings, job).run(); }

}  // namespace caddie::train
