// Where things are in a sweep's folder, and the state files in it. Internal to registry/sweep.
#pragma once

#include <filesystem>
#include <string>

#include "registry/sweep/record.h"

namespace caddie::registry {

class CADDIE_API SweepFolder {
 public:
  explicit SweepFolder(std::filesystem::path path) : path_(std::move(path)) {}
  const std::filesystem::path& path() const { return path_; }
  std::string id() const { return path_.filename().string(); }
  std::filesystem::path runs() const { return path_.parent_path().parent_path(); }
  std::filesystem::path plan() const { return path_ / "plan.json"; }
  std::filesystem::path manifest(const std::string& job) const { return path_ / "jobs" / (job + ".json"); }
  std::filesystem::path state(const std::string& job) const { return path_ / "state" / (job + ".json"); }
  std::filesystem::path output(const std::string& job, const char* end) const { return path_ / "output" / (job + end); }
  // Held by the job's process, and by whoever is about to start it.
  std::filesystem::path job_lock(const std::string& job) const { return path_ / "locks" / (job + ".lock"); }
  // Held by the one runner of the sweep on this machine.
  std::filesystem::path runner_lock(const std::string& name = "runner") const {
    return path_ / "locks" / (name + ".lock");
  }
  // A request to stop a job: a file whose text is the reason.
  std::filesystem::path request(const std::string& job) const { return path_ / "requests" / job; }
  std::filesystem::path log() const { return path_ / "log.txt"; }

  // Fills status, run, note and attempts as the file has them; leaves them for a job without a file.
  void read_state(SweepJob& job) const;
  void write_state(const SweepJob& job) const;  // whole or not at all
  // A job that was interrupted because it was to be cancelled is cancelled, whoever wrote its state last.
  void heed_request(SweepJob& job) const;

 private:
  std::filesystem::path path_;
};

}  // namespace caddie::registry
