#include "registry/sweep/reserve.h"

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/files.h"

namespace caddie::registry {
namespace fs = std::filesystem;

void reserve_run(const SweepFolder& folder, SweepJob& job) {
  const bool again = !job.run.empty();
  const std::string name = read_json(folder.manifest(job.job)).at("resolved").at("name").get<std::string>();
  const std::string base = concat(utc_compact(), "_", name, "_", job.hash.substr(0, 8));
  for (int i = 1; i < 1000; ++i) {
    if (!again) job.run = i == 1 ? base : concat(base, "-", i);
    if (!again && fs::exists(folder.runs() / job.run)) continue;
    job.status = "running";
    job.attempts.push_back({job.run, 0, "", utc_timestamp(), 0});
    folder.write_state(job);
    std::error_code code;
    if (!fs::create_directory(folder.runs() / job.run, code) && !again) {  // another run was faster
      job.attempts.pop_back();
      continue;
    }
    write_json(folder.runs() / job.run / "sweep.json",
               {{"sweep", folder.id()}, {"job", job.job}, {"variant", job.variant}});
    return;
  }
  throw Error(ErrorKind::failed, concat("cannot make a run folder in ", folder.runs().string()));
}

}  // namespace caddie::registry
