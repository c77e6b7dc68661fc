#include "registry/sweep/verdict.h"

#include <signal.h>
#include <sys/wait.h>

#include "caddie/error.h"
#include "core/base/files.h"
#include "registry/sweep/child.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// {} for a run that has none, or a file that cannot be read.
Json read_or_nothing(const fs::path& file) {
  std::error_code code;
  if (!fs::exists(file, code)) return Json::object();
  try {
    return read_json(file);
  } catch (const std::exception&) {
    return Json::object();
  }
}

std::string finished_status(const SweepFolder& folder, const SweepJob& job) {
  if (job.run.empty()) return {};
  const Json result = read_or_nothing(folder.runs() / job.run / "result.json");
  return result.contains("result") ? result["result"].value("status", std::string()) : std::string();
}

// What the run says went wrong, or the last thing that its process printed.
std::string reason_of(const SweepFolder& folder, const SweepJob& job) {
  const Json status = job.run.empty() ? Json::object() : read_or_nothing(folder.runs() / job.run / "status.json");
  if (status.contains("error")) return first_line(status["error"].get<std::string>());
  const std::string printed = tail_of(folder.output(job.job, ".err"), 20);
  const auto error = printed.rfind("error: ");
  if (error != std::string::npos) return first_line(printed.substr(error + 7));
  return first_line(tail_of(folder.output(job.job, ".err"), 1));
}

bool from_outside(int signal) { return signal == SIGKILL || signal == SIGTERM || signal == SIGINT || signal == SIGHUP; }

}  // namespace

JobVerdict verdict_of_exit(const SweepFolder& folder, const SweepJob& job, int wait_status) {
  JobVerdict verdict;
  const bool signalled = WIFSIGNALED(wait_status);
  const int code = signalled ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
  verdict.exit_code = code;
  if (const std::string status = finished_status(folder, job); !status.empty()) {
    verdict.status = status;  // whatever came after: the result is whole
    if (status != "ok") verdict.reason = status == "budget" ? "a budget is exceeded" : status;
    return verdict;
  }
  if (signalled && from_outside(code - 128)) {
    verdict.status = "interrupted";
    verdict.reason = "ended by " + signal_text(code - 128);
    if (code - 128 == SIGKILL) verdict.reason += " (out of memory, or by hand)";
    verdict.worth_a_retry = true;
    return verdict;
  }
  if (signalled) {
    verdict.status = "failed";
    verdict.reason = "crashed: " + signal_text(code - 128);
    verdict.worth_a_retry = true;
    return verdict;
  }
  const bool stopped = code == 75 || code == 130 || code == 143;
  verdict.status = stopped ? "interrupted" : code == 4 ? "illegal" : code == 5 ? "budget" : "failed";
  verdict.worth_a_retry = code == 1 || code == 7 || verdict.status == "interrupted";
  const std::string said = reason_of(folder, job);
  verdict.reason = verdict.status == "interrupted" ? "interrupted"
                   : code == 0                     ? "ended without a result"
                                                   : concat("exit ", code, said.empty() ? "" : ": ", said);
  return verdict;
}

JobVerdict verdict_of_folder(const SweepFolder& folder, const SweepJob& job) {
  if (const std::string status = finished_status(folder, job); !status.empty())
    return {status, status == "ok" ? "" : status == "budget" ? "a budget is exceeded" : status, 0, false};
  const Json facts = job.run.empty() ? Json::object() : read_or_nothing(folder.runs() / job.run / "status.json");
  const std::string status = facts.value("status", std::string());
  if (status == "failed" || status == "illegal") return {status, reason_of(folder, job), 1, status == "failed"};
  if (job.run.empty() && job.attempts.empty()) return {"pending", "", 0, true};
  return {"interrupted", "its process is gone", 0, true};
}

}  // namespace caddie::registry
