// A Slurm cluster of one node on this machine, without systemd, munge, cgroups and accounting: slurmctld and slurmd of
// Debian's packages as two processes. It cannot show GPUs.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "caddie/error.h"
#include "core/base/files.h"
#include "tests/support/process.h"

namespace caddie::test {

class SlurmCluster {
 public:
  // Why there can be none here; empty if there can.
  static std::string missing() {
    for (const char* program : {"/usr/sbin/slurmctld", "/usr/sbin/slurmd", "/usr/bin/sbatch", "/usr/bin/squeue"})
      if (!std::filesystem::exists(program)) return std::string(program) + " is not there (packages slurmctld slurmd slurm-client)";
    if (::getuid() != 0) return "slurmd needs root";
    return {};
  }

  SlurmCluster() {
    char host[256] = {};
    ::gethostname(host, sizeof host - 1);
    const std::string dir = scratch_.path().string();
    const int port = 20000 + static_cast<int>(::getpid()) % 20000;
    std::string text;
    for (const std::string& line : {
             std::string("ClusterName=caddietest"), concat("SlurmctldHost=", host, "(127.0.0.1)"), std::string("AuthType=auth/none"),
             std::string("CredType=cred/none"), std::string("SlurmUser=root"), std::string("SlurmdUser=root"),
             concat("SlurmctldPort=", port), std::string("ProctrackType=proctrack/linuxproc"), std::string("TaskPlugin=task/none"),
             std::string("SwitchType=switch/none"), std::string("MpiDefault=none"), std::string("JobAcctGatherType=jobacct_gather/none"),
             std::string("SelectType=select/cons_tres"), std::string("SelectTypeParameters=CR_CPU"),
             std::string("AccountingStorageType=accounting_storage/none"), "StateSaveLocation=" + dir + "/state",
             "SlurmdSpoolDir=" + dir + "/spool", "SlurmdPidFile=" + dir + "/slurmd.pid", "SlurmctldPidFile=" + dir + "/slurmctld.pid",
             "SlurmdLogFile=" + dir + "/slurmd.log", "SlurmctldLogFile=" + dir + "/slurmctld.log", std::string("JobCompType=jobcomp/none"),
             std::string("ReturnToService=2"), std::string("JobRequeue=1"), std::string("KillWait=5"),
             std::string("SchedulerParameters=sched_min_interval=100000"),
             concat("NodeName=n1 NodeHostname=", host, " NodeAddr=127.0.0.1 Port=", port + 1, " CPUs=2 RealMemory=1000"),
             std::string("PartitionName=debug Nodes=n1 Default=YES MaxTime=INFINITE State=UP")})
      text += line + "\n";
    write_atomic(configuration(), text);
    make_directories(scratch_.path() / "state");
    make_directories(scratch_.path() / "spool");
    const Process::Setup setup{{environment()}, {}, 0};
    controller_ = std::make_unique<Process>(std::vector<std::string>{"/usr/sbin/slurmctld", "-D", "-c"}, setup);
    node_ = std::make_unique<Process>(std::vector<std::string>{"/usr/sbin/slurmd", "-D", "-N", "n1"}, setup);
  }
  ~SlurmCluster() {
    ask({"scancel", "--state=RUNNING"});
    for (const auto* process : {&node_, &controller_})
      if (*process && (*process)->running()) (*process)->kill(SIGTERM);
    for (const auto* process : {&node_, &controller_})
      for (int i = 0; i < 200 && *process && (*process)->running(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }

  std::string environment() const { return "SLURM_CONF=" + configuration(); }
  // Whether the node has come up.
  bool ready() const {
    for (int i = 0; i < 300; ++i) {
      if (ask({"sinfo", "-h", "-o", "%T"}).find("idle") == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return false;
  }
  std::string ask(const std::vector<std::string>& words) const {
    return Process(words, {{environment()}, {}, 0}).wait(30).out;
  }

 private:
  std::string configuration() const { return (scratch_.path() / "slurm.conf").string(); }
  Scratch scratch_;
  std::unique_ptr<Process> controller_, node_;
};

}  // namespace caddie::test
