#include "core/comm/launch.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <thread>
#include <vector>

#include "caddie/error.h"
#include "core/base/hash.h"

namespace caddie {
namespace {

// The variables of one launcher.
class Variables {
 public:
  Variables(const Environment& environment, std::string launcher) : environment_(environment), launcher_(std::move(launcher)) {}

  std::optional<std::string> text(const char* name) const {
    const char* value = environment_(name);
    return value != nullptr && *value != '\0' ? std::optional<std::string>(value) : std::nullopt;
  }
  void require(std::initializer_list<const char*> names) const {
    std::string missing, present;
    for (const char* name : names) {
      std::string& list = text(name) ? present : missing;
      list += (list.empty() ? "" : ", ") + std::string(name);
    }
    if (missing.empty()) return;
    throw Error(ErrorKind::environment, concat("the environment of ", launcher_, " is half set: ", present, " is there, ", missing, " is missing"),
                launcher_ == "mpirun" ? "Pass them on: mpirun -x MASTER_ADDR=HOST -x MASTER_PORT=PORT ..., or start with --ranks N."
                                      : "Set all of them, or none: caddie run --ranks N starts ranks by itself.");
  }
  int number(const char* name) const {
    const std::string value = text(name).value();
    int number = 0;
    const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (code != std::errc() || end != value.data() + value.size() || number < 0)
      throw Error(ErrorKind::environment, concat(name, " is '", value, "', expected a whole number"));
    return number;
  }
  int number(const char* name, int otherwise) const { return text(name) ? number(name) : otherwise; }

 private:
  const Environment& environment_;
  std::string launcher_;
};

std::optional<Launch> checked(Launch launch) {
  CADDIE_CHECK(launch.size >= 1 && launch.rank < launch.size, ErrorKind::environment, launch.launcher, ": rank ", launch.rank, " of ",
               launch.size, " ranks does not exist");
  CADDIE_CHECK(launch.local_size >= 1 && launch.local_rank < launch.local_size, ErrorKind::environment, launch.launcher, ": local rank ",
               launch.local_rank, " of ", launch.local_size, " ranks of this host does not exist");
  CADDIE_CHECK(launch.size == 1 || (launch.store.port > 0 && launch.store.port < 65536), ErrorKind::environment, "the port is ",
               launch.store.port, ", accepted: 1 to 65535");
  if (launch.size == 1) return std::nullopt;
  return launch;
}

std::optional<Launch> from_torchrun(const Environment& environment) {
  const Variables variables(environment, "torchrun");
  if (!variables.text("RANK") && !variables.text("WORLD_SIZE") && !variables.text("LOCAL_RANK")) return std::nullopt;
  variables.require({"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"});
  Launch launch;
  launch.launcher = "torchrun";
  launch.rank = variables.number("RANK");
  launch.size = variables.number("WORLD_SIZE");
  launch.local_rank = variables.number("LOCAL_RANK");
  launch.local_size = variables.number("LOCAL_WORLD_SIZE", launch.size);
  launch.store = {*variables.text("MASTER_ADDR"), variables.number("MASTER_PORT")};
  // With the agent's store every rank is a client of it.
  launch.serves = launch.rank == 0 && variables.text("TORCHELASTIC_USE_AGENT_STORE").value_or("") != "True";
  launch.attempt = concat(variables.text("TORCHELASTIC_RUN_ID").value_or(""), ".", variables.text("TORCHELASTIC_RESTART_COUNT").value_or("0"));
  return checked(launch);
}

std::optional<Launch> from_srun(const Environment& environment) {
  const Variables variables(environment, "srun");
  // SLURM_PROCID alone is the batch script's own; a step has an id.
  if (!variables.text("SLURM_PROCID") || !variables.text("SLURM_STEP_ID")) return std::nullopt;
  if (variables.number("SLURM_NTASKS", 1) == 1) return std::nullopt;
  variables.require({"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_JOB_ID", "SLURM_JOB_NODELIST"});
  Launch launch;
  launch.launcher = "srun";
  launch.rank = variables.number("SLURM_PROCID");
  launch.size = variables.number("SLURM_NTASKS");
  launch.local_rank = variables.number("SLURM_LOCALID");
  const int nodes = std::max(variables.number("SLURM_STEP_NUM_NODES", variables.number("SLURM_NNODES", 1)), 1);
  launch.local_size = std::max((launch.size + nodes - 1) / nodes, launch.local_rank + 1);
  const std::string list = variables.text("SLURM_STEP_NODELIST").value_or(*variables.text("SLURM_JOB_NODELIST"));
  // Any process of the step finds the same port: by the step's number, in the range that Slurm's tools leave alone.
  const std::string step = concat(*variables.text("SLURM_JOB_ID"), ".", *variables.text("SLURM_STEP_ID"));
  const int port = 20000 + static_cast<int>(std::stoul(sha256(step).substr(0, 6), nullptr, 16) % 40000);
  launch.store = {variables.text("MASTER_ADDR").value_or(first_host(list)), variables.number("MASTER_PORT", port)};
  launch.serves = launch.rank == 0;
  launch.attempt = concat(step, ".", variables.text("SLURM_RESTART_COUNT").value_or("0"));
  return checked(launch);
}

std::optional<Launch> from_mpirun(const Environment& environment) {
  const Variables variables(environment, "mpirun");
  if (!variables.text("OMPI_COMM_WORLD_RANK") && !variables.text("OMPI_COMM_WORLD_SIZE")) return std::nullopt;
  if (variables.number("OMPI_COMM_WORLD_SIZE", 2) == 1) return std::nullopt;
  variables.require({"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"});
  Launch launch;
  launch.launcher = "mpirun";
  launch.rank = variables.number("OMPI_COMM_WORLD_RANK");
  launch.size = variables.number("OMPI_COMM_WORLD_SIZE");
  launch.local_rank = variables.number("OMPI_COMM_WORLD_LOCAL_RANK");
  launch.local_size = variables.number("OMPI_COMM_WORLD_LOCAL_SIZE", launch.size);
  launch.store = {*variables.text("MASTER_ADDR"), variables.number("MASTER_PORT")};
  launch.serves = launch.rank == 0;
  return checked(launch);
}

}  // namespace

std::optional<Launch> detect_launch(const Environment& environment) {
  // A launcher that started one process alone still wins over those behind it.
  const auto has = [&](const char* name) { return environment(name) != nullptr && *environment(name) != '\0'; };
  if (has("RANK") || has("WORLD_SIZE") || has("LOCAL_RANK")) return from_torchrun(environment);
  if (has("SLURM_PROCID") && has("SLURM_STEP_ID")) return from_srun(environment);
  return from_mpirun(environment);
}

std::optional<Launch> detect_launch() {
  return detect_launch([](const char* name) -> const char* { return std::getenv(name); });
}

std::string first_host(const std::string& node_list) {
  const std::size_t end = node_list.find_first_of("[,");
  if (end == std::string::npos || node_list[end] == ',') return node_list.substr(0, end);
  const std::size_t digits_end = node_list.find_first_of("-,]", end);
  const std::size_t close = node_list.find(']', end);
  CADDIE_CHECK(digits_end != std::string::npos && close != std::string::npos && digits_end > end + 1, ErrorKind::environment,
               "SLURM_JOB_NODELIST is '", node_list, "', expected a list of hosts such as n[1-3,5]");
  const std::size_t rest = node_list.find_first_of(",[", close);
  return node_list.substr(0, end) + node_list.substr(end + 1, digits_end - end - 1) +
         node_list.substr(close + 1, rest == std::string::npos ? rest : rest - close - 1);
}

int threads_per_rank(int local_size) {
  const int cores = std::max(static_cast<int>(std::thread::hardware_concurrency()), 1);
  cpu_set_t set;
  CPU_ZERO(&set);
  const int own = ::sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(CPU_COUNT(&set), 1) : cores;
  // A launcher that binds its ranks to cores has divided them already.
  return own < cores ? own : std::max(cores / std::max(local_size, 1), 1);
}

}  // namespace caddie
