// What the tests of runs of several ranks share, on CPUs (ranks_test.cpp) and on GPUs (gpu_ranks_test.cpp): the processes of
// a run, its losses, and what must hold when a rank is killed.
#pragma once

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/comm/key_store.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

namespace caddie::test {

// What makes the ranks' numbers those of one process but for the order of sums.
inline const std::vector<std::string> kExact = {"train.fake_quant=[]", "optimizers[match=matrix].newton_schulz_precision=float32",
                                                "train.micro_batches=4", "train.checkpoint.steps=0"};

inline std::vector<std::string> join(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline std::vector<double> losses_of(const Json& result) {
  std::vector<double> losses;
  for (const Json& line : read_json_lines(std::filesystem::path(result.at("directory").get<std::string>()) / "metrics.jsonl"))
    if (line.contains("train_loss")) losses.push_back(line["train_loss"]);
  return losses;
}

inline double worst_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] / b[i] - 1));
  return worst;
}

inline double difference(const Json& a, const Json& b, const char* metric) {
  return std::abs(a["metrics"][metric].get<double>() / b["metrics"][metric].get<double>() - 1);
}

inline std::filesystem::path run_folder(const Workplace& place) {
  std::error_code code;
  for (const auto& item : std::filesystem::directory_iterator(place.runs(), code)) return item.path();
  return {};
}

inline bool trains(const Workplace& place, std::size_t steps) {
  const std::filesystem::path metrics = run_folder(place) / "metrics.jsonl";
  return std::filesystem::exists(metrics) && read_json_lines(metrics).size() >= steps;
}

template <class Reached>
bool wait_for(Process& process, Reached reached) {
  while (process.running()) {
    if (reached()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

// The process of a rank, by its parent and its environment.
inline pid_t process_of_rank(pid_t parent, int rank) {
  std::error_code code;
  for (const auto& item : std::filesystem::directory_iterator("/proc", code)) {
    const std::string name = item.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    try {
      const std::string status = read_text(item.path() / "status");
      if (status.find("PPid:\t" + std::to_string(parent) + "\n") == std::string::npos) continue;
      const std::string variables = '\0' + read_text(item.path() / "environ");
      if (variables.find('\0' + ("RANK=" + std::to_string(rank)) + '\0') != std::string::npos) return static_cast<pid_t>(std::stol(name));
    } catch (const Error&) {  // it has just ended
    }
  }
  return -1;
}

// A port that is free now.
inline int free_port() { return KeyStore({"127.0.0.1", 0}, true, "", 10).port(); }

// As torchrun would start it without an agent: rank 0 serves the store.
inline Process::Setup hand_made(int rank, int port) {
  return {{concat("RANK=", rank), "WORLD_SIZE=2", concat("LOCAL_RANK=", rank), "MASTER_ADDR=127.0.0.1", concat("MASTER_PORT=", port)}, {}, 0};
}

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Starts `run` of two ranks, sends `signal` to one of them in the middle of training and checks how all end: exit code 1
// within `seconds`, an error that names the rank and says `expected`, no process left.
inline void end_a_rank(const Workplace& place, const std::vector<std::string>& run, int rank, int signal, double seconds,
                       const std::string& expected) {
  Process process(place.command(run), {{"CADDIE_RANK_SILENCE_SECONDS=3"}, {}, 0});
  const bool reached = wait_for(process, [&] { return trains(place, 6); });
  if (!reached) {
    const Outcome early = process.wait(60);
    FAIL("the run ended before its sixth step, exit code " << early.exit_code << ": " << early.err);
  }
  const pid_t victim = process_of_rank(process.id(), rank), other = process_of_rank(process.id(), 1 - rank);
  REQUIRE(victim > 0);
  const auto start = std::chrono::steady_clock::now();
  ::kill(victim, signal);
  const Outcome outcome = process.wait(90);
  const double took = seconds_since(start);
  INFO("ended after " << took << " s: " << outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(took < seconds);
  CHECK(outcome.err.find("error: ") != std::string::npos);
  CHECK(outcome.err.find(concat("rank ", rank, ": ", expected)) != std::string::npos);
  for (const pid_t process_id : {victim, other}) CHECK(::kill(process_id, 0) != 0);  // none is left
  if (rank == 1) CHECK(read_json(run_folder(place) / "status.json").at("status") == "failed");
}

// The run after that, to its end, from a checkpoint.
inline void resume_after(const Workplace& place, const std::vector<std::string>& run, std::size_t steps) {
  const Outcome outcome = place.caddie(join(run, {"--resume", run_folder(place).filename().string()}));
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json result = result_of(outcome);
  CHECK(result.at("status") == "ok");
  CHECK(result.at("train").at("resumed_from_step").get<int>() >= 4);
  CHECK(losses_of(result).size() == steps);
}

}  // namespace caddie::test
