// The trainer of `run`, step by step; the loader; and what a new process needs before its first step is done.
#include <ATen/ops/zeros.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/environment.h"
#include "core/base/files.h"
#include "core/bench/bench.h"
#include "core/bench/measure.h"
#include "core/bench/muted_communicator.h"
#include "core/data/loader.h"
#include "core/train/train.h"
#include "core/train/trainer.h"

namespace caddie::bench {
namespace {

// Steps that are run and not counted: memory is being taken, caches are cold.
constexpr std::int64_t kWarm = 2;

data::LoaderSettings loader_settings(const Bench& bench, const train::TrainSettings& settings) {
  data::LoaderSettings loader;
  loader.shards = {bench.shard(std::max<std::int64_t>(settings.tokens_per_step + settings.micro_batches, 1 << 20))};
  loader.sequence = settings.sequence;
  loader.tokens_per_step = settings.tokens_per_step;
  loader.micro_batches = settings.micro_batches;
  loader.vocabulary = bench.vocabulary();
  loader.device = bench.session().device();
  loader.rank = bench.session().rank();
  loader.world = bench.session().world();
  return loader;
}

// Which steps are counted, and as what. With several ranks blocks of steps with communication and blocks without take turns;
// between two blocks all ranks wait for each other, and the first step after that is not counted.
class Steps {
 public:
  Steps(std::int64_t wanted, MutedCommunicator& ranks, at::Device device)
      : wanted_(wanted), several_(ranks.size() > 1), block_(std::min<std::int64_t>(wanted, 5)), ranks_(ranks), device_(device) {}

  std::int64_t total() const { return kWarm + (several_ ? 2 * ((wanted_ + block_ - 1) / block_) * (block_ + 1) : wanted_); }

  void done(std::int64_t step, double seconds) {  // from 1
    if (step <= kWarm) return;
    const std::int64_t place = several_ ? (step - kWarm - 1) % (block_ + 1) : 1;
    if (place > 0) (ranks_.muted() ? alone_ : together_).push_back(seconds);
    if (!several_ || place < block_) return;
    const bool was_muted = ranks_.muted();
    synchronize(device_);
    ranks_.mute(false);
    ranks_.barrier();
    ranks_.mute(!was_muted);
  }

  const std::vector<double>& together() const { return together_; }
  const std::vector<double>& alone() const { return alone_; }

 private:
  std::int64_t wanted_;
  bool several_;
  std::int64_t block_;
  MutedCommunicator& ranks_;
  at::Device device_;
  std::vector<double> together_, alone_;
};

// What communication costs beyond what runs behind a rank's own work, waits for slower ranks included: the step as it is
// less the mean over ranks of the median step without communication.
void add_ranks(Json& result, Communicator& ranks, const Steps& steps, const at::Device& device) {
  add_spread(result, "own_work_ms", steps.alone(), 1000);
  at::Tensor rows = at::zeros({ranks.size(), 2}, at::kDouble);
  at::Tensor own = rows.select(0, ranks.rank());
  own[0].fill_(spread(steps.alone()).median);
  own[1].fill_(static_cast<double>(peak_memory_bytes(device)));
  ranks.all_gather(rows);
  const double step = spread(steps.together()).median, alone = rows.select(1, 0).mean().item<double>();
  result["ranks"] = ranks.size();
  result["communication_not_hidden_ms"] = 1000 * (step - alone);
  result["communication_not_hidden_share"] = (step - alone) / step;
  result["peak_memory_bytes"] = static_cast<std::int64_t>(rows.select(1, 1).max().item<double>());  // of a rank
  result["own_work_ms_of_ranks"] = Json::array();
  for (int rank = 0; rank < ranks.size(); ++rank) result["own_work_ms_of_ranks"].push_back(1000 * rows[rank][0].item<double>());
}

// The optimizers and averages alone, on the gradients of one more step.
std::vector<double> time_updates(const train::TrainJob& job, const train::TrainSettings& settings, const at::Device& device) {
  train::Trainer trainer(job.model, settings, job.optimizers, job.communicator, job.services);
  std::vector<Batch> batches;
  for (std::int64_t i = 0; i < settings.micro_batches; ++i) batches.push_back(job.batches.next());
  trainer.step(batches, 1.0);
  return time_calls(device, 10, [&] { trainer.update(1.0); });
}

}  // namespace

Json train(Bench& bench) {
  const pipeline::Session& session = bench.session();
  Json manifest = session.resolved();
  MutedCommunicator ranks(session.communicator());
  Steps steps(bench.repeats(10), ranks, session.device());
  manifest["train"]["stop"]["steps"] = steps.total();
  manifest["train"]["schedule"]["shape"] = "constant";
  const auto settings = train::TrainSettings::from_json(manifest);

  const auto model = session.create_model(bench.vocabulary(), session.device());
  Random random(session.seed(), "initial weights");
  model->initialize(random);
  data::Loader loader(loader_settings(bench, settings));
  const Json& entries = session.section("optimizers");
  double first = 0, loss = 0;
  train::TrainJob job{*model, loader, ranks, session.services(),
                      [&](std::size_t entry, const OptimizerContext& context) {
                        return session.catalogue().create_optimizer(entries.at(entry), context);
                      },
                      {}, "bench",
                      [&](const train::StepMetrics& m) {
                        if (m.step == 1) synchronize(session.device()), first = seconds_since_process_start();
                        if (steps.alone().empty() && !ranks.muted()) loss = m.train_loss;  // muted steps lead nowhere
                        if (m.step == kWarm) bench.record_kernels();
                        steps.done(m.step, static_cast<double>(settings.tokens_per_step) / m.tokens_per_second);
                      },
                      {}, {}};
  train::train(settings, job);

  Json result = bench.head("train");
  bench.add_kernels(result, steps.total() - kWarm);  // of a step
  bench.add_memory(result);  // before there is a second trainer
  add_spread(result, "step_ms", steps.together(), 1000);
  if (ranks.size() == 1) add_spread(result, "optimizer_ms", time_updates(job, settings, session.device()), 1000);
  result["samples"] = steps.together().size();
  const double step = spread(steps.together()).median;
  result["tokens_per_step"] = settings.tokens_per_step;
  result["tokens_per_second"] = static_cast<double>(settings.tokens_per_step) / step;
  result["flops_per_second"] = model->training_flops_per_token() * static_cast<double>(settings.tokens_per_step) / step;
  result["first_step_seconds"] = first;
  result["train_loss"] = loss;
  result["path"] = model->path();
  if (ranks.size() > 1) add_ranks(result, session.communicator(), steps, session.device());
  return result;
}

Json load(Bench& bench) {
  Json manifest = bench.session().resolved();
  const auto settings = train::TrainSettings::from_json(manifest);
  data::Loader loader(loader_settings(bench, settings));
  const int micro = static_cast<int>(settings.micro_batches);
  const auto seconds = time_calls(bench.session().device(), bench.repeats(100), [&] {
    for (int i = 0; i < micro; ++i) loader.next();
  });
  Json result = bench.head("load");
  add_spread(result, "step_ms", seconds, 1000);
  result["tokens_per_second"] = static_cast<double>(settings.tokens_per_step) / spread(seconds).median;
  return result;
}

// A copy of this program runs one training step; its own clock starts when the kernel started it.
Json first_step(Bench& bench) {
  std::vector<double> first, beyond;
  for (int i = 0; i < bench.repeats(3); ++i) {
    const auto file = bench.folder() / "first.json";
    std::vector<std::string> words = {"caddie", "bench", "train", "--shape", bench.shape(), "--steps", "3", "--json", "-q"};
    for (const std::string& override : bench.overrides()) words.push_back(override);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    pid_t child = 0;
    const int error = posix_spawn(&child, "/proc/self/exe", &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    CADDIE_CHECK(error == 0, ErrorKind::environment, "a process cannot be started: ", std::strerror(error));
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    CADDIE_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, ErrorKind::failed,
                 "caddie bench train in a new process ended with status ", status);
    const Json step = read_json(file);
    first.push_back(step.at("first_step_seconds").get<double>());
    beyond.push_back(first.back() - step.at("step_ms_median").get<double>() / 1000);
  }
  Json result = bench.head("first-step");
  add_spread(result, "beyond_a_step_seconds", beyond, 1);  // what it takes beyond a steady step
  add_spread(result, "first_step_seconds", first, 1);
  result["first_step_seconds"] = spread(first).median;
  return result;
}

}  // namespace caddie::bench
