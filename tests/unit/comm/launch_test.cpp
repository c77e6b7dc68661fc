// Which rank a process is: every launcher's variables, and environments that are half set or contradict themselves.
#include "core/comm/launch.h"

#include <map>

#include "caddie/error.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

using Variables = std::map<std::string, std::string>;

std::optional<Launch> detect(const Variables& variables) {
  return detect_launch([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found != variables.end() ? found->second.c_str() : nullptr;
  });
}

std::string error_of(const Variables& variables) {
  try {
    detect(variables);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::environment);
    return error.message();
  }
  return {};
}

const Variables kTorchrun = {{"RANK", "3"}, {"WORLD_SIZE", "8"}, {"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "2"},
                             {"MASTER_ADDR", "node0"}, {"MASTER_PORT", "29500"}};

Variables with(Variables variables, const std::string& name, const std::string& value) {
  variables[name] = value;
  return variables;
}
Variables without(Variables variables, const std::string& name) {
  variables.erase(name);
  return variables;
}

}  // namespace

TEST_CASE("no launcher, or one that started a process alone") {
  CHECK_FALSE(detect({}));
  CHECK_FALSE(detect({{"RANK", "0"}, {"WORLD_SIZE", "1"}, {"LOCAL_RANK", "0"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "1"}}));
  CHECK_FALSE(detect({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}, {"SLURM_STEP_ID", "0"}}));
  CHECK_FALSE(detect({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}));  // the batch script itself: no step
  CHECK_FALSE(detect({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}}));
}

TEST_CASE("torchrun's variables") {
  const Launch launch = detect(kTorchrun).value();
  CHECK(launch.rank == 3);
  CHECK(launch.size == 8);
  CHECK(launch.local_rank == 1);
  CHECK(launch.local_size == 2);
  CHECK(launch.store.host == "node0");
  CHECK(launch.store.port == 29500);
  CHECK_FALSE(launch.serves);
  const Variables first = with(with(kTorchrun, "RANK", "0"), "LOCAL_RANK", "0");
  CHECK(detect(first)->serves);
  CHECK_FALSE(detect(with(first, "TORCHELASTIC_USE_AGENT_STORE", "True"))->serves);
  CHECK(detect(with(first, "TORCHELASTIC_USE_AGENT_STORE", "False"))->serves);
  CHECK(detect(with(first, "TORCHELASTIC_RESTART_COUNT", "1"))->attempt != detect(first)->attempt);
}

TEST_CASE("srun's variables, and torchrun's before them") {
  const Variables srun = {{"SLURM_PROCID", "2"}, {"SLURM_NTASKS", "4"}, {"SLURM_LOCALID", "0"}, {"SLURM_STEP_ID", "0"},
                          {"SLURM_JOB_ID", "17"}, {"SLURM_NNODES", "2"}, {"SLURM_JOB_NODELIST", "gpu[07-08]"}};
  const Launch launch = detect(srun).value();
  CHECK(launch.launcher == "srun");
  CHECK(launch.rank == 2);
  CHECK(launch.local_size == 2);
  CHECK(launch.store.host == "gpu07");
  CHECK(launch.store.port >= 20000);
  CHECK(launch.store.port == detect(with(srun, "SLURM_PROCID", "3"))->store.port);
  CHECK(launch.store.port != detect(with(srun, "SLURM_JOB_ID", "18"))->store.port);
  Variables both = srun;
  both.insert(kTorchrun.begin(), kTorchrun.end());
  CHECK(detect(both)->launcher == "torchrun");
  CHECK(error_of(without(srun, "SLURM_JOB_NODELIST")).find("SLURM_JOB_NODELIST is missing") != std::string::npos);
}

TEST_CASE("hosts in Slurm's notation") {
  for (const auto& [list, host] : std::vector<std::pair<std::string, std::string>>{
           {"n1", "n1"}, {"n1,n2", "n1"}, {"n[1-3,5]", "n1"}, {"n[5],m7", "n5"}, {"rack[02,04]-ib,x", "rack02-ib"}})
    CHECK(first_host(list) == host);
  CHECK_THROWS_AS(first_host("n["), Error);
}

TEST_CASE("OpenMPI's variables need an address that is passed on") {
  const Variables mpirun = {{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "4000"}};
  CHECK(detect(mpirun)->launcher == "mpirun");
  CHECK(detect(mpirun)->local_rank == 1);
  const std::string error = error_of(without(without(mpirun, "MASTER_PORT"), "MASTER_ADDR"));
  CHECK(error.find("MASTER_ADDR, MASTER_PORT is missing") != std::string::npos);
}

TEST_CASE("half-set and contradicting environments name what is wrong") {
  CHECK(error_of({{"RANK", "0"}}).find("WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT is missing") != std::string::npos);
  CHECK(error_of(without(kTorchrun, "MASTER_PORT")).find("MASTER_PORT is missing") != std::string::npos);
  CHECK(error_of(without(kTorchrun, "RANK")).find("RANK is missing") != std::string::npos);
  CHECK(error_of(with(kTorchrun, "MASTER_PORT", "")).find("MASTER_PORT is missing") != std::string::npos);
  CHECK(error_of(with(kTorchrun, "RANK", "8")).find("rank 8 of 8") != std::string::npos);
  CHECK(error_of(with(kTorchrun, "RANK", "two")).find("RANK is 'two'") != std::string::npos);
  CHECK(error_of(with(kTorchrun, "LOCAL_RANK", "2")).find("local rank 2 of 2") != std::string::npos);
  CHECK(error_of(with(kTorchrun, "MASTER_PORT", "70000")).find("70000") != std::string::npos);
}
