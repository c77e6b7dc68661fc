// Runs of several ranks: the same results as one process, however the ranks are started, and an end within seconds with
// the right error when one of them is killed, stopped, fails or runs another manifest.
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>

#include "caddie/error.h"
#include "core/base/files.h"
#include "tests/integration/ranks.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

const std::vector<std::string> kTwelve = join(kExact, {"train.stop.steps=12"});
const std::vector<std::string> kLong = {"train.stop.steps=100000", "train.checkpoint.steps=0", "--until", "train", "--ranks", "2"};

}  // namespace

TEST_CASE("two and four ranks give what one process gives") {
  static const Workplace place;
  static const Json alone = result_of(place.run(kTwelve));
  const std::string ranks = GENERATE("2", "4");
  CAPTURE(ranks);
  const Outcome outcome = place.run(join(kTwelve, {"--ranks", ranks}));
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json result = result_of(outcome);
  CHECK(result.at("status") == "ok");
  CHECK(worst_difference(losses_of(result), losses_of(alone)) < 1e-5);
  // The scores of other weights: the difference of the weights goes through 5-bit codes.
  for (const char* metric : {"val_bpb", "last_step_bpb"})
    CHECK(difference(result, alone, metric) < 1e-5);
  for (const char* metric : {"roundtrip_bpb", "sliding_bpb", "ttt_bpb"})
    CHECK(difference(result, alone, metric) < 2e-3);
  CHECK(result["metrics"]["val_tokens"] == alone["metrics"]["val_tokens"]);
  CHECK(result["metrics"]["val_bytes"] == alone["metrics"]["val_bytes"]);
  // The world size is part of the keys of training: no result of one process was taken for it.
  CHECK_FALSE(cached(result).at("train").get<bool>());
  CHECK(cached(result).at("data").get<bool>());
}

TEST_CASE("with fake quantization and bfloat16 Newton-Schulz ranks stay near one process") {
  const Workplace place;
  const std::vector<std::string> short_run = {"train.micro_batches=4", "train.stop.steps=12", "--until", "train"};
  const Json alone = result_of(place.run(short_run));
  const Outcome outcome = place.run(join(short_run, {"--ranks", "2"}));
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(worst_difference(losses_of(result_of(outcome)), losses_of(alone)) < 1e-2);
}

TEST_CASE("ranks that a launcher started by torchrun's variables, with rank 0 as the server") {
  const Workplace place;
  const Json spawned = result_of(place.run(join(kTwelve, {"--ranks", "2", "--until", "train"})));
  const Workplace other;
  const int port = free_port();
  std::vector<std::unique_ptr<Process>> processes;
  for (int rank = 0; rank < 2; ++rank)
    processes.push_back(std::make_unique<Process>(
        other.command(join({"run", kTiny}, join(kTwelve, {"device=cpu", "--until", "train"}))),
        hand_made(rank, port)));
  const Outcome first = processes[0]->wait(120), second = processes[1]->wait(30);
  INFO(first.err << second.err);
  REQUIRE(first.exit_code == 0);
  CHECK(second.exit_code == 0);
  CHECK(second.out.empty());
  CHECK(losses_of(result_of(first)) == losses_of(spawned));
  CHECK(other.run_count() == 1);
}

TEST_CASE("a half-set environment is refused with what is missing") {
  const Workplace place;
  const Outcome outcome = place.caddie({"run", kTiny}, {{"RANK=0", "WORLD_SIZE=2"}, {}, 0});
  CHECK(outcome.exit_code == 7);
  CHECK(outcome.err.find("LOCAL_RANK, MASTER_ADDR, MASTER_PORT is missing") != std::string::npos);
  CHECK(place.run_count() == 0);
}

TEST_CASE("ranks that do not divide the micro batches are a usage error, before anything starts") {
  const Workplace place;
  const Outcome outcome = place.run({"--ranks", "3"});
  CHECK(outcome.exit_code == 2);
  CHECK(outcome.err.find("cannot be dealt to 3 ranks") != std::string::npos);
  CHECK(place.run_count() == 0);
}

TEST_CASE("a killed or a stopped rank ends the run within seconds, and the error names it") {
  const int signal = GENERATE(SIGKILL, SIGSTOP);
  const int rank = GENERATE(0, 1);
  CAPTURE(signal, rank);
  const Workplace place;
  const std::string expected = signal == SIGKILL ? "it was ended by signal 9 (SIGKILL)" : "it has shown no sign of life";
  end_a_rank(place, join({"run", kTiny}, kLong), rank, signal, 40, expected);  // about 4 s and 8 s on a machine that does nothing else
}

TEST_CASE("after a rank was killed --resume goes on from a checkpoint") {
  const Workplace place;
  const std::vector<std::string> run = {"run", kTiny, "train.stop.steps=200", "train.checkpoint.steps=4", "--until", "train", "--ranks", "2"};
  end_a_rank(place, run, 1, SIGKILL, 40, "it was ended by signal 9 (SIGKILL)");
  resume_after(place, run, 200);
}

namespace {
Json small_benchmark(std::vector<std::string> command) {
  command.insert(command.begin(), {"bench", "train", "--steps", "3", "--json", "model.width=96", "model.layers=2", "model.heads=3",
                                   "model.kv_heads=3", "model.vocabulary=256", "train.micro_batches=2", "train.tokens_per_step=512"});
  const Outcome outcome = caddie::test::caddie(command);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return result_of(outcome);
}
}  // namespace

TEST_CASE("the benchmark of training times the optimizers alone, too") {
  const Json result = small_benchmark({});
  CHECK(result.at("samples") == 3);
  CHECK(result.at("optimizer_ms_median").get<double>() > 0);
  CHECK(result.at("optimizer_ms_median").get<double>() < result.at("step_ms_high").get<double>());
}

TEST_CASE("the benchmark of training says what communication costs") {
  const Json result = small_benchmark({"--ranks", "2"});
  CHECK(result.at("ranks") == 2);
  CHECK(result.at("samples") == 3);
  const double step = result.at("step_ms_median"), hidden = result.at("communication_not_hidden_ms");
  double alone = 0;
  for (const Json& own : result.at("own_work_ms_of_ranks")) alone += own.get<double>() / 2;
  CHECK(hidden == Approx(step - alone));
  CHECK(result.at("communication_not_hidden_share").get<double>() == Approx(hidden / step));
  CHECK(result.at("peak_memory_bytes").get<double>() > 1e7);

  const Outcome other = caddie::test::caddie({"bench", "gptq", "--ranks", "2"});
  CHECK(other.exit_code == 2);
  CHECK(other.err.find("several ranks do not share caddie bench gptq") != std::string::npos);
}

TEST_CASE("the script for machines with several GPUs passes on ranks of this one") {
  const Workplace place;
  const std::string program = caddie_command({}).front(), out = place.path() / "scaling";
  const Outcome outcome = Process({"python3", CADDIE_SOURCE_DIR "/tools/dev/scaling", "--ranks", "2", "--caddie", program, "--out", out,
                                   "--steps", "8", "--bench-steps", "1"}, {}).wait(200);
  INFO(outcome.out << outcome.err);
  CHECK(outcome.exit_code == 0);
  const Json parts = read_json(fs::path(out) / "scaling.json").at("parts");
  CHECK(parts.at("losses").at("largest_difference").get<double>() < 1e-3);
  CHECK(parts.at("speed").at("speedup").get<double>() > 0);
  CHECK(parts.at("kill").at("exit_code") == 1);
  CHECK(parts.at("record").at("metrics").contains("ttt_bpb"));
  CHECK(fs::file_size(fs::path(out) / "record.tar.gz") > 1000);
}

TEST_CASE("ranks with different manifests: the first key that differs, told by the rank that fails and by rank 0") {
  const Workplace place;
  const int port = free_port();
  std::vector<std::unique_ptr<Process>> processes;
  for (int rank = 0; rank < 2; ++rank)
    processes.push_back(std::make_unique<Process>(
        place.command({"run", kTiny, concat("seed=", rank + 5)}),
        hand_made(rank, port)));
  for (int rank = 0; rank < 2; ++rank) {
    const Outcome outcome = processes[static_cast<std::size_t>(rank)]->wait(60);
    INFO(outcome.err);
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.err.find("manifest.seed is 6, on rank 0 it is 5") != std::string::npos);
  }
  CHECK(place.run_count() == 0);
}

TEST_CASE("a rank that fails by itself ends all within seconds, with its own error on top everywhere") {
  // Each rank sees a folder of its own under the same name; in rank 1's a token of its slice of the sixth step is no piece.
  const Workplace places[2];
  const std::vector<std::string> run = join({"run", kTiny, "--runs", "/proc/self/cwd/runs", "--cache", "/proc/self/cwd/cache"},
                                            {"device=cpu", "train.stop.steps=100000", "train.checkpoint.steps=0"});
  const auto start_rank = [&](int rank, int port) {
    Process::Setup setup = hand_made(rank, port);
    setup.directory = places[rank].path();
    return std::make_unique<Process>(caddie_command(join(run, {"--until", "train"})), setup);
  };
  REQUIRE(Process(caddie_command(join(run, {"--until", "data"})), {{}, places[0].path(), 0}).wait(60).exit_code == 0);
  fs::remove_all(places[0].runs());
  fs::copy(places[0].cache(), places[1].cache(), fs::copy_options::recursive);
  bool damaged = false;
  for (const auto& item : fs::recursive_directory_iterator(places[1].cache())) {
    if (item.path().filename() != "train_000000.bin") continue;
    std::fstream shard(item.path(), std::ios::in | std::ios::out | std::ios::binary);
    shard.seekp(1024 + 2 * (5 * 256 + 128 + 10));  // a step has 256 tokens, rank 1 the second half
    shard.write("\x60\xea", 2);
    damaged = true;
  }
  REQUIRE(damaged);
  const int port = free_port();
  const auto first = start_rank(0, port), second = start_rank(1, port);
  const auto start = std::chrono::steady_clock::now();
  const Outcome own = second->wait(120), other = first->wait(30);
  INFO(own.err << "\n-- rank 0\n" << other.err);
  CHECK(seconds_since(start) < 60);  // about 3 s on a machine that does nothing else; it would train for hours
  CHECK(own.exit_code == 6);
  CHECK(own.err.find("id 60000") != std::string::npos);
  CHECK(other.exit_code == 6);
  const std::size_t top = other.err.find("error: ");
  REQUIRE(top != std::string::npos);
  CHECK(other.err.substr(top, other.err.find('\n', top) - top).find("rank 1") != std::string::npos);
  CHECK(other.err.find("id 60000") != std::string::npos);
  CHECK(read_json(run_folder(places[0]) / "status.json").at("status") == "failed");
}

TEST_CASE("an interrupted run of ranks writes a checkpoint and goes on to the same weights") {
  const std::vector<std::string> run = join({"run", kTiny}, {"--until", "train", "--ranks", "2"});
  const Workplace undisturbed;
  const Json expected = result_of(undisturbed.caddie(run));

  const Workplace place;
  Process process(place.command(run), {});
  REQUIRE(wait_for(process, [&] { return trains(place, 6); }));
  process.kill(SIGINT);
  const Outcome stopped = process.wait(60);
  INFO(stopped.err);
  REQUIRE(stopped.exit_code == 75);
  CHECK(result_of(stopped).at("status") == "interrupted");
  const Outcome outcome = place.caddie(join(run, {"--resume", run_folder(place).filename().string()}));
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json result = result_of(outcome);
  CHECK(result.at("train").at("resumed_from_step").get<int>() >= 6);
  CHECK(losses_of(result) == losses_of(expected));
}

TEST_CASE("torchrun starts the program, where Python has it") {
  const std::string python = fs::exists(CADDIE_TORCH_PYTHON) ? CADDIE_TORCH_PYTHON : "python3";
  if (Process({python, "-c", "import torch.distributed.run"}, {}).wait(60).exit_code != 0) {
    SKIP_TEST(python << " has no torch.distributed.run");
  }
  const Workplace place;
  const Outcome outcome = Process(join({python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"},
                                       place.command(join({"run", kTiny}, join(kTwelve, {"--until", "train"})))), {}).wait(180);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(result_of(outcome).at("status") == "ok");
  CHECK(losses_of(result_of(outcome)).size() == 12);
}
