#include "registry/sweep/runner.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <thread>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "registry/sweep/child.h"
#include "registry/sweep/gate.h"
#include "registry/sweep/live.h"
#include "registry/sweep/reserve.h"
#include "registry/sweep/stop.h"
#include "registry/sweep/verdict.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

// A job whose process runs.
struct Active {
  std::size_t job = 0;
  pid_t process = 0;
  bool mine = true;              // false: started by a runner that is gone
  std::string stop;              // why it was asked to stop; empty: it was not
  std::string final_status;      // what it becomes after such a stop
  Stopwatch since;
};

bool contains(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

class Runner {
 public:
  Runner(const SweepFolder& folder, const std::vector<RunnerJob>& jobs, const RunnerSettings& settings,
         const RunnerHooks& hooks)
      : folder_(folder), settings_(settings), hooks_(hooks), lock_(take_lock()),
        record_(load_sweep_record(folder.path())), jobs_(jobs), gate_(needs_of(jobs)), slots_(settings.slots),
        live_(record_) {
    CADDIE_ASSERT(jobs_.size() == record_.jobs.size());
    lock_.write(concat(::getpid(), "\n"));
  }

  RunnerOutcome run() {
    for (std::size_t job = 0; job < record_.jobs.size(); ++job) reconcile(job);
    while (true) {
      if (StopSignals::count() >= 2) return stop_at_once();
      if (StopSignals::count() == 1 || StopSignals::limit_near()) ask_all_to_stop("stopped on request", "interrupted");
      reap_children();
      watch_stages();
      take_requests();
      ask_hopeless();
      start_jobs();
      live_.draw(record_, holds());
      if (active_.empty() && !work_left() && !more_work()) break;
      std::this_thread::sleep_for(std::chrono::duration<double>(settings_.poll_seconds));
    }
    RunnerOutcome outcome;
    for (std::size_t job = 0; job < record_.jobs.size(); ++job)
      outcome.interrupted = outcome.interrupted || (wanted(job) && state(job).status == "interrupted");
    outcome.interrupted = outcome.interrupted || StopSignals::count() > 0 || StopSignals::limit_near();
    outcome.limit_near = StopSignals::limit_near();
    return outcome;
  }

 private:
  FileLock take_lock() const {
    for (int i = 0; i < 20; ++i) {  // somebody who only looks holds it for an instant
      if (auto lock = FileLock::try_take(folder_.runner_lock(settings_.lock))) return std::move(*lock);
      std::this_thread::sleep_for(std::chrono::milliseconds(25));
    }
    const std::string owner = FileLock::read(folder_.runner_lock(settings_.lock));
    throw Error(ErrorKind::failed,
                concat("the sweep ", folder_.id(), " is being run by process ", owner.substr(0, owner.find('\n'))),
                "caddie sweep wait waits for it, caddie sweep cancel stops it.");
  }

  static std::vector<std::vector<pipeline::Need>> needs_of(const std::vector<RunnerJob>& jobs) {
    std::vector<std::vector<pipeline::Need>> needs;
    for (const RunnerJob& job : jobs) needs.push_back(job.needs);
    return needs;
  }

  SweepJob& state(std::size_t job) { return record_.jobs[job]; }
  void save(std::size_t job) { folder_.write_state(state(job)); }
  bool wanted(std::size_t job) { return settings_.only.empty() || contains(settings_.only, state(job).job); }

  // What a runner before this one, or nobody, has left.
  void reconcile(std::size_t job) {
    SweepJob& s = state(job);
    folder_.read_state(s);  // "running" as it was written
    if (!wanted(job)) return;
    if (FileLock::is_held(folder_.job_lock(s.job))) {
      adopt(job);
      return;
    }
    if (s.status == "running" || s.status == "interrupted") {
      const JobVerdict verdict = verdict_of_folder(folder_, s);
      if (s.status == "running") end_attempt(s, verdict);
      s.status = verdict.status == "interrupted" ? "pending" : verdict.status;
      save(job);
    }
    if (settings_.retry_failed && contains({"failed", "illegal", "budget", "cancelled"}, s.status) && wanted(job)) {
      s.status = "pending";
      s.note.clear();
      std::error_code ignored;
      fs::remove(folder_.request(s.job), ignored);
      fs::remove(folder_.runs() / s.run / "result.json", ignored);  // what it decided is to be decided again
      save(job);
    }
    if (s.status == "ok" || s.status == "budget") gate_.end(job, true);
  }

  void adopt(std::size_t job) {
    SweepJob& s = state(job);
    Active active;
    active.job = job;
    active.mine = false;
    active.process = static_cast<pid_t>(std::atol(FileLock::read(folder_.job_lock(s.job)).c_str()));
    s.status = "running";
    gate_.start(job);
    active_.push_back(std::move(active));
    log::info(concat("still running: ", s.job, " (process ", active_.back().process, ")"));
  }

  void start_jobs() {
    if (stopping_) return;
    const auto exclusive_runs = [&](const Active& a) { return jobs_[a.job].exclusive; };
    if (std::any_of(active_.begin(), active_.end(), exclusive_runs)) return;
    // Those that share the machine first: an exclusive one starts when nothing runs.
    for (const bool exclusive : {false, true})
      for (std::size_t job = 0; job < record_.jobs.size(); ++job) {
        if (static_cast<int>(active_.size()) >= settings_.jobs || (exclusive && !active_.empty())) return;
        if (state(job).status != "pending" || jobs_[job].exclusive != exclusive || !wanted(job)) continue;
        if (!gate_.held(job) && !start(job)) return;  // no slot is free
      }
  }

  bool start(std::size_t job) {
    SweepJob& s = state(job);
    const bool gpu = jobs_[job].gpu && !settings_.slots.gpus.empty();
    auto lease = settings_.lease ? slots_.try_lease(gpu, jobs_[job].exclusive) : std::optional(Slots::Lease{});
    if (!lease) {
      if (active_.empty() && !said_waiting_)
        log::info("waiting for a free slot: other sweeps of yours use this machine");
      said_waiting_ = said_waiting_ || active_.empty();
      return false;
    }
    auto lock = FileLock::try_take(folder_.job_lock(s.job));
    if (!lock) {  // a process of a runner that is gone, or somebody who looks
      if (FileLock::is_held(folder_.job_lock(s.job))) adopt(job);
      return true;
    }
    reserve_run(folder_, s);
    ChildSetup setup;
    setup.command = settings_.command(s, s.run, static_cast<int>(lease->gpus.size()));
    const int threads = jobs_[job].exclusive && settings_.lease ? slots_.settings().cores : slots_.settings().threads;
    setup.environment = {concat("OMP_NUM_THREADS=", threads)};
    if (!lease->gpus.empty()) {
      std::string devices;
      for (const std::string& uuid : lease->gpus) devices += (devices.empty() ? "" : ",") + uuid;
      setup.environment.push_back("CUDA_VISIBLE_DEVICES=" + devices);
    }
    setup.out = folder_.output(s.job, ".out");
    setup.err = folder_.output(s.job, ".err");
    setup.keep.push_back(lock->descriptor());
    for (const FileLock& slot : lease->locks) setup.keep.push_back(slot.descriptor());
    Active active;
    active.job = job;
    active.process = start_child(setup);
    lock->write(concat(active.process, "\n"));
    gate_.start(job);
    live_.started(record_, job);
    active_.push_back(std::move(active));
    return true;  // our shares of the locks end here; the child has its own
  }

  static void end_attempt(SweepJob& s, const JobVerdict& verdict, double seconds = 0) {
    if (s.attempts.empty()) return;
    s.attempts.back().exit_code = verdict.exit_code;
    s.attempts.back().reason = verdict.reason;
    s.attempts.back().seconds = seconds;
  }

  void reap_children() {
    for (std::size_t i = 0; i < active_.size();) {
      Active& active = active_[i];
      SweepJob& s = state(active.job);
      int status = 0;
      JobVerdict verdict;
      if (active.mine) {
        if (!reap(active.process, status)) {
          ++i;
          continue;
        }
        verdict = verdict_of_exit(folder_, s, status);
      } else {
        if (FileLock::is_held(folder_.job_lock(s.job))) {
          ++i;
          continue;
        }
        folder_.read_state(s);
        verdict = verdict_of_folder(folder_, s);
      }
      const Active ended = active;
      active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(i));
      settle(ended, verdict);
    }
  }

  void settle(const Active& ended, const JobVerdict& verdict) {
    SweepJob& s = state(ended.job);
    end_attempt(s, verdict, ended.since.seconds());
    s.status = verdict.status;
    const bool finished = s.status == "ok" || s.status == "budget";
    if (!ended.stop.empty() && !finished) {
      s.status = ended.final_status;
      if (s.status != "interrupted") s.note = ended.stop;
      if (s.attempts.back().reason.empty() || s.status != "interrupted") s.attempts.back().reason = ended.stop;
    } else if (verdict.worth_a_retry && !finished && !stopping_ && may_retry(s, verdict)) {
      s.status = "pending";
    }
    save(ended.job);
    gate_.end(ended.job, finished);
    live_.ended(record_, ended.job, s.status == "pending" ? verdict.status : s.status,
                s.status == "failed" ? tail_of(folder_.output(s.job, ".err"), 20) : "");
    if (s.status == "failed" || s.status == "illegal") failed();
  }

  bool may_retry(const SweepJob& s, const JobVerdict& verdict) const {
    const auto bad = std::count_if(s.attempts.begin(), s.attempts.end(),
                                   [](const SweepAttempt& a) { return a.exit_code != 0; });
    return bad <= (verdict.status == "interrupted" ? std::max(settings_.retries, 2) : settings_.retries);
  }

  void failed() {
    ++failures_;
    if (settings_.fail_fast) {
      log::warning("a job failed; the others are stopped (--fail-fast)");
      ask_all_to_stop("stopped: another job failed", "interrupted");
    } else if (settings_.max_failures > 0 && failures_ >= settings_.max_failures && !stopping_) {
      stopping_ = true;
      log::warning(concat(failures_, " jobs failed; no more are started (--max-failures)"));
    }
  }

  void ask(Active& active, const std::string& why, const std::string& final_status) {
    if (!active.stop.empty()) return;
    active.stop = why;
    active.final_status = final_status;
    signal_group(active.process, SIGINT);
  }
  void ask_all_to_stop(const std::string& why, const std::string& final_status) {
    if (!stopping_ && !active_.empty() && StopSignals::count() > 0)
      log::info(concat("stopping: ", active_.size(), " jobs write checkpoints; once more to stop at once"));
    stopping_ = true;
    for (Active& active : active_) ask(active, why, final_status);
  }

  RunnerOutcome stop_at_once() {
    for (const Active& active : active_) signal_group(active.process, SIGKILL);
    for (Active& active : active_) {
      for (int i = 0, status = 0; i < 200 && active.mine && !reap(active.process, status); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      SweepJob& s = state(active.job);
      const JobVerdict verdict = verdict_of_folder(folder_, s);
      end_attempt(s, {verdict.status, "stopped at once", 128 + SIGKILL, true}, active.since.seconds());
      s.status = verdict.status == "ok" || verdict.status == "budget" ? verdict.status : "interrupted";
      save(active.job);
    }
    return {true, StopSignals::last(), false};
  }

  void watch_stages() {
    for (const Active& active : active_) {
      std::string before;
      for (const pipeline::Need& need : jobs_[active.job].needs) {
        if (need.stage == before) continue;
        before = need.stage;
        std::error_code code;
        if (!fs::exists(folder_.runs() / state(active.job).run / "stages" / (need.stage + ".json"), code)) break;
        gate_.stage_done(active.job, need.stage);
      }
    }
  }

  // `sweep cancel JOB` leaves a request.
  void take_requests() {
    std::error_code code;
    if (!fs::exists(folder_.path() / "requests", code)) return;
    for (std::size_t job = 0; job < record_.jobs.size(); ++job) {
      SweepJob& s = state(job);
      const bool open = s.status == "pending" || s.status == "running";
      if (!open || !fs::exists(folder_.request(s.job), code)) continue;
      if (s.status == "pending") {
        s.status = "cancelled";
        s.note = "cancelled";
        save(job);
      }
      for (Active& active : active_)
        if (active.job == job) ask(active, "cancelled", "cancelled");
    }
  }

  void ask_hopeless() {
    if (!hooks_.hopeless || since_asked_.seconds() < 0.5) return;
    since_asked_.restart();
    for (Active& active : active_) {
      if (!active.stop.empty()) continue;
      if (const auto reason = hooks_.hopeless(record_, state(active.job))) {
        log::info(concat("stopping ", state(active.job).job, ": ", *reason));
        ask(active, *reason, "stopped");
      }
    }
    for (std::size_t job = 0; job < record_.jobs.size(); ++job) {  // those that would train the same
      SweepJob& s = state(job);
      if (s.status != "pending" || !wanted(job)) continue;
      if (const auto reason = hooks_.hopeless(record_, s)) {
        s.status = "stopped";
        s.note = *reason;
        save(job);
        log::info(concat("not starting ", s.job, ": ", *reason));
      }
    }
  }

  bool work_left() {
    if (stopping_) return false;
    for (std::size_t job = 0; job < record_.jobs.size(); ++job)
      if (state(job).status == "pending" && wanted(job)) return true;
    return false;
  }

  bool more_work() {
    if (stopping_ || !hooks_.more || !hooks_.more(record_, jobs_)) return false;
    SweepRecord grown = load_sweep_record(folder_.path());
    for (std::size_t job = record_.jobs.size(); job < grown.jobs.size(); ++job) {
      gate_.add(jobs_.at(job).needs);
      record_.jobs.push_back(grown.jobs[job]);
    }
    return true;
  }

  // For the table: what a job that does not start waits for.
  std::vector<std::string> holds() {
    std::vector<std::string> waits(record_.jobs.size());
    if (!log::fancy()) return waits;
    for (std::size_t job = 0; job < waits.size(); ++job) {
      std::string stage;
      if (state(job).status != "pending") continue;
      const std::size_t other = gate_.waits_for(job, stage);
      if (other != job) waits[job] = stage + " of " + state(other).job;
    }
    return waits;
  }

  const SweepFolder& folder_;
  const RunnerSettings& settings_;
  const RunnerHooks& hooks_;
  FileLock lock_;
  SweepRecord record_;
  std::vector<RunnerJob> jobs_;
  Gate gate_;
  Slots slots_;
  LiveTable live_;
  std::vector<Active> active_;
  bool stopping_ = false, said_waiting_ = false;
  int failures_ = 0;
  Stopwatch since_asked_;
};

}  // namespace

RunnerOutcome run_sweep(const SweepFolder& folder, const std::vector<RunnerJob>& jobs, const RunnerSettings& settings,
                        const RunnerHooks& hooks) {
  const StopSignals signals;
  log::set_file(folder.log());
  const struct Close {
    ~Close() {
      log::set_status("");
      log::set_file({});
    }
  } close;
  return Runner(folder, jobs, settings, hooks).run();
}

}  // namespace caddie::registry
