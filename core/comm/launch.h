// Who this process is among the ranks of a run, by what its launcher put into the environment: torchrun, srun or OpenMPI,
// in this order. The program's own spawner (spawn.h) speaks torchrun's variables.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "caddie/export.h"
#include "core/comm/key_store.h"

namespace caddie {

struct Launch {
  int rank = 0, size = 1;              // of all hosts
  int local_rank = 0, local_size = 1;  // of this host
  StoreAddress store;
  bool serves = false;    // this rank serves the store
  std::string launcher;   // "torchrun", "srun", "mpirun"
  std::string attempt;    // tells a restarted group from the one before
};

// A variable's value, or null.
using Environment = std::function<const char*(const char*)>;

// Nothing if no launcher started this process, or if it started one alone. Throws Error(environment) for a half-set
// environment, naming what is missing, and for numbers that are none or contradict each other.
CADDIE_API std::optional<Launch> detect_launch(const Environment& environment);
CADDIE_API std::optional<Launch> detect_launch();  // of this process

// The first host of Slurm's notation: "n[1-3,5],m7" gives "n1".
CADDIE_API std::string first_host(const std::string& node_list);

// Threads for each rank of a host, from the cores that this process may use.
CADDIE_API int threads_per_rank(int local_size);

}  // namespace caddie
