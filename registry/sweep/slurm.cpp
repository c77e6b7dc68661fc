#include "registry/sweep/slurm.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/log.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

struct Said {
  int exit_code = 0;
  std::string text;
};

Said ask(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += quoted(word) + " ";
  FILE* pipe = ::popen((line + "2>&1").c_str(), "r");
  if (pipe == nullptr) throw Error(ErrorKind::environment, "cannot start " + words[0]);
  Said said;
  char buffer[4096];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) said.text.append(buffer, n);
  const int status = ::pclose(pipe);
  said.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  return said;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) lines.push_back(line);
  return lines;
}

Json submissions(const SweepFolder& folder) {
  const fs::path file = folder.path() / "slurm.json";
  return fs::exists(file) ? read_json(file) : Json::array();
}

std::string list_of(const std::vector<std::size_t>& places) {
  std::string text;
  for (std::size_t i = 0; i < places.size();) {
    std::size_t end = i;
    while (end + 1 < places.size() && places[end + 1] == places[end] + 1) ++end;
    text += concat(text.empty() ? "" : ",", places[i]);
    if (end > i) text += concat("-", places[end]);
    i = end + 1;
  }
  return text;
}

}  // namespace

std::string slurm_script(const SweepFolder& folder, const std::vector<std::size_t>& places,
                         const SlurmSettings& settings) {
  std::vector<std::pair<std::string, std::string>> lines = {
      {"job-name", "caddie-" + folder.id()},
      {"array", list_of(places) + (settings.parallel > 0 ? concat("%", settings.parallel) : "")},
      {"requeue", ""},
      {"open-mode", "append"},
      {"signal", "B:USR2@120"},
      {"ntasks", "1"},
      {"cpus-per-task", std::to_string(settings.threads)},
      {"output", (folder.path() / "output" / "slurm_%A_%a.log").string()}};
  if (settings.gpus > 0) lines.emplace_back("gres", concat("gpu:", settings.gpus));
  if (settings.exclusive) lines.emplace_back("exclusive", "");
  for (const std::string& option : settings.options) {
    const auto equals = option.find('=');
    const std::string key = option.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : option.substr(equals + 1);
    const char* accepted = "abcdefghijklmnopqrstuvwxyz0123456789-";
    const bool clean = !key.empty() && key.find_first_not_of(accepted) == std::string::npos;
    if (!clean || key == "array" || value.find('\n') != std::string::npos)
      throw Error(ErrorKind::usage, "--slurm is '" + option + "'",
                  "accepted: long options of sbatch but for array, KEY=VALUE: --slurm time=01:00:00");
    const auto same = std::find_if(lines.begin(), lines.end(), [&](const auto& line) { return line.first == key; });
    if (same != lines.end())
      same->second = value;
    else
      lines.emplace_back(key, value);
  }
  std::string script = "#!/bin/bash\n";
  for (const auto& [key, value] : lines) script += "#SBATCH --" + key + (value.empty() ? "" : "=" + value) + "\n";
  script += "# One task is one job of the sweep. USR2 comes before the time limit: the run writes a checkpoint,\n"
            "# and the task asks for its place in the queue again.\n";
  script += "exec " + quoted(settings.program) + " sweep task " + quoted(folder.path().string()) +
            " --place \"$SLURM_ARRAY_TASK_ID\"";
  for (const std::string& option : settings.task_options) script += " " + quoted(option);
  return script + "\n";
}

std::string slurm_submit(const SweepFolder& folder, const std::string& script, const std::vector<std::size_t>& places,
                         const std::string& after) {
  Json all = submissions(folder);
  const fs::path file = folder.path() / concat("slurm_", all.size(), ".sh");
  write_atomic(file, script);
  std::vector<std::string> words = {"sbatch", "--parsable"};
  if (!after.empty()) words.push_back("--dependency=afterany:" + after);
  words.push_back(file.string());
  const Said said = ask(words);
  if (said.exit_code == 127)
    throw Error(ErrorKind::environment, "sbatch is not in PATH",
                "Submit from a machine of the cluster, or take --launcher local.");
  if (said.exit_code != 0)
    throw Error(ErrorKind::environment, "sbatch refused the array: " + said.text, "The script is " + file.string());
  const auto lines = lines_of(said.text);
  const std::string id = lines.empty() ? "" : lines.back().substr(0, lines.back().find(';'));
  if (id.empty() || id.find_first_not_of("0123456789") != std::string::npos)
    throw Error(ErrorKind::environment, "sbatch did not tell a job's id: " + said.text);
  all.push_back({{"id", id}, {"places", places}});
  write_json(folder.path() / "slurm.json", all);
  return id;
}

bool is_slurm(const SweepFolder& folder) { return fs::exists(folder.path() / "slurm.json"); }

std::map<std::string, std::pair<std::string, std::string>> slurm_queue(const SweepRecord& record) {
  std::map<std::string, std::pair<std::string, std::string>> states;
  for (const Json& submission : submissions(SweepFolder(record.folder))) {
    const std::string id = submission.at("id");
    const Said said = ask({"squeue", "-h", "-r", "-j", id, "-o", "%i %T"});
    if (said.exit_code != 0) continue;  // "Invalid job id": it has left Slurm's memory
    for (const std::string& line : lines_of(said.text)) {
      std::istringstream in(line);
      std::string task, state;
      in >> task >> state;
      const auto underscore = task.find('_');
      if (underscore == std::string::npos || state.empty()) continue;
      const std::size_t place = std::strtoul(task.c_str() + underscore + 1, nullptr, 10);
      if (place < record.jobs.size() && state != "COMPLETED" && state != "FAILED" && state != "CANCELLED")
        states[record.jobs[place].job] = {task, state};
    }
  }
  return states;
}

SweepRecord with_slurm_states(SweepRecord record) {
  const SweepFolder folder(record.folder);
  if (!is_slurm(folder)) return record;
  const auto queue = slurm_queue(record);
  for (SweepJob& job : record.jobs) {
    const auto found = queue.find(job.job);
    if (job.status == "running" && found == queue.end()) {
      job.status = "interrupted";
      folder.heed_request(job);
    }
    if (job.status == "interrupted" && found != queue.end())
      job.status = found->second.second == "PENDING" ? "pending" : "running";
    if (job.status == "pending" && found != queue.end()) job.note = "in Slurm's queue as " + found->second.first;
  }
  return record;
}

void slurm_cancel(const std::vector<std::string>& tasks) {
  if (tasks.empty()) return;
  std::vector<std::string> words = {"scancel"};
  words.insert(words.end(), tasks.begin(), tasks.end());
  const Said said = ask(words);
  if (said.exit_code != 0) throw Error(ErrorKind::environment, "scancel: " + said.text);
}

void slurm_requeue_self() {
  const char* array = std::getenv("SLURM_ARRAY_JOB_ID");
  const char* task = std::getenv("SLURM_ARRAY_TASK_ID");
  if (array == nullptr || task == nullptr) return;
  const Said said = ask({"scontrol", "requeue", concat(array, "_", task)});
  if (said.exit_code != 0) log::warning("scontrol requeue: " + said.text);
}

}  // namespace caddie::registry
