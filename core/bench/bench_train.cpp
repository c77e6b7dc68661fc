// The trainer of `run`, step by step; the loader; and what a new process needs before its first step is done.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/bench/bench.h"
#include "core/bench/measure.h"
#include "core/comm/solo.h"
#include "core/data/loader.h"
#include "core/train/train.h"

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
  return loader;
}

}  // namespace

Json train(Bench& bench) {
  const pipeline::Session& session = bench.session();
  Json manifest = session.resolved();
  const std::int64_t steps = bench.repeats(10);
  manifest["train"]["stop"]["steps"] = steps + kWarm;
  manifest["train"]["schedule"]["shape"] = "constant";
  const auto settings = train::TrainSettings::from_json(manifest);

  const auto model = session.create_model(bench.vocabulary(), session.device());
  Random random(session.seed(), "initial weights");
  model->initialize(random);
  data::Loader loader(loader_settings(bench, settings));
  SoloCommunicator solo;
  const Json& entries = session.section("optimizers");
  double first = 0;
  std::vector<double> seconds;
  train::TrainJob job{*model, loader, solo, session.services(),
                      [&](std::size_t entry, const OptimizerContext& context) {
                        return session.catalogue().create_optimizer(entries.at(entry), context);
                      },
                      {}, "bench",
                      [&](const train::StepMetrics& m) {
                        if (m.step == 1) synchronize(session.device()), first = seconds_since_process_start();
                        if (m.step > kWarm) seconds.push_back(static_cast<double>(settings.tokens_per_step) / m.tokens_per_second);
                      },
                      {}, {}};
  const train::TrainResult done = train::train(settings, job);

  Json result = bench.head("train");
  add_spread(result, "step_ms", seconds, 1000);
  const double step = spread(seconds).median;
  result["tokens_per_step"] = settings.tokens_per_step;
  result["tokens_per_second"] = static_cast<double>(settings.tokens_per_step) / step;
  result["flops_per_second"] = model->training_flops_per_token() * static_cast<double>(settings.tokens_per_step) / step;
  result["first_step_seconds"] = first;
  result["train_loss"] = done.train_loss;
  result["path"] = model->path();
  bench.add_memory(result);
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
