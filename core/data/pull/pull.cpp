#include "core/data/pull/pull.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <mutex>
#include <thread>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/progress.h"
#include "core/data/pull/download.h"
#include "core/data/pull/hub_cache.h"
#include "core/data/pull/listing.h"

namespace caddie::data {
namespace fs = std::filesystem;
namespace {

std::string size_text(std::int64_t bytes) {
  char text[32];
  if (bytes >= 1'000'000'000)
    std::snprintf(text, sizeof text, "%.2f GB", static_cast<double>(bytes) / 1e9);
  else if (bytes >= 1'000'000)
    std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  else
    std::snprintf(text, sizeof text, "%.1f kB", static_cast<double>(bytes) / 1e3);
  return text;
}

std::int64_t free_bytes(fs::path folder) {
  std::error_code code;
  while (!folder.empty() && !fs::exists(folder, code) && folder.has_parent_path() && folder != folder.parent_path())
    folder = folder.parent_path();
  const fs::space_info space = fs::space(folder.empty() ? fs::path(".") : folder, code);
  return code ? -1 : static_cast<std::int64_t>(space.available);
}

// Files that come, on several threads; the first failure ends all.
class Transfer {
 public:
  Transfer(const Hub& hub, const DatasetRequest& request, const HubCache& cache, const std::string& commit)
      : hub_(hub), request_(request), cache_(cache), commit_(commit) {}

  void run(const std::vector<RemoteFile>& files, int connections) {
    std::int64_t total = 0;
    for (const RemoteFile& file : files) total += file.size;
    std::vector<std::thread> pool;
    running_ = std::max(1, std::min(connections, static_cast<int>(files.size())));
    for (int i = running_; i > 0; --i) pool.emplace_back([&] { work(files); });
    watch(files.size(), total);
    for (std::thread& thread : pool) thread.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void work(const std::vector<RemoteFile>& files) {
    try {
      HttpClient client;
      client.set_stop([this] { return stop_.load(); });
      for (std::size_t i = next_++; i < files.size() && !stop_; i = next_++) {
        const RemoteFile& file = files[i];
        download(client, hub_,
                 {file_url(hub_, request_, commit_, file.path), file, cache_.blob(file),
                  concat(file.path, " of ", request_.name()), &received_, [this] { return stop_.load(); }});
        cache_.link(commit_, file);
        ++done_;
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!stop_.exchange(true)) failure_ = std::current_exception();
    }
    --running_;
  }

  // A bar on a terminal, a line every ten seconds elsewhere.
  void watch(std::size_t files, std::int64_t total) {
    Progress progress("pull");
    const Stopwatch watch;
    Stopwatch since_line;
    while (running_ > 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const double seconds = std::max(watch.seconds(), 1e-3);
      const auto received = received_.load();
      const std::string detail =
          concat(size_text(received), " of ", size_text(total), ", ", done_.load(), " of ", files, " files, ",
                 size_text(static_cast<std::int64_t>(static_cast<double>(received) / seconds)), "/s");
      progress.update(total == 0 ? 1 : static_cast<double>(received) / static_cast<double>(total), detail);
      if (log::fancy() || since_line.seconds() < 10) continue;
      log::info("pull: " + detail);
      since_line.restart();
    }
  }

  const Hub& hub_;
  const DatasetRequest& request_;
  const HubCache& cache_;
  const std::string commit_;
  std::atomic<std::size_t> next_{0}, done_{0};
  std::atomic<int> running_{0};
  std::atomic<std::int64_t> received_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::exception_ptr failure_;
};

std::vector<RemoteFile> listed_files(HttpClient& client, const Hub& hub, const DatasetRequest& request,
                                     const HubCache& cache, const std::string& commit) {
  try {
    if (auto known = cache.tree(commit)) return *known;
  } catch (const Error& error) {
    log::warning(error.message());  // asked for again
  }
  std::vector<RemoteFile> files = ask_tree(client, hub, request, commit);
  cache.save_tree(commit, files);
  return files;
}

Json manifest_of(const std::vector<RemoteFile>& tree, Transfer& transfer, const HubCache& cache,
                 const std::string& commit) {
  const RemoteFile* file = manifest_file(tree);
  if (file == nullptr) return nullptr;
  if (!cache.has(commit, *file)) transfer.run({*file}, 1);
  return read_json(cache.snapshot(commit, *file));
}

// Hard links where the disk is the same, copies elsewhere.
void link_files(const fs::path& folder, const HubCache& cache, const std::string& commit,
                const std::vector<RemoteFile>& files) {
  make_directories(folder);
  for (const RemoteFile& file : files) {
    const fs::path from = fs::canonical(cache.snapshot(commit, file)), to = folder / fs::path(file.path).filename();
    std::error_code code;
    if (fs::exists(to, code) && fs::equivalent(from, to, code)) continue;
    fs::path temporary = to;
    temporary += ".caddie-" + std::to_string(::getpid()) + ".tmp";  // another process may link the same files
    fs::remove(temporary, code);
    fs::create_hard_link(from, temporary, code);
    if (code) {
      code.clear();
      fs::copy_file(from, temporary, code);
    }
    if (!code) fs::rename(temporary, to, code);
    if (code) {
      const std::string reason = code.message();
      fs::remove(temporary, code);
      throw Error(ErrorKind::failed, concat("cannot write ", to.string(), ": ", reason));
    }
  }
}

Json paths_json(const std::vector<fs::path>& paths) {
  Json out = Json::array();
  for (const fs::path& path : paths) out.push_back(path.string());
  return out;
}

Json facts_of(const LocalDataset& local, const DatasetRequest& request) {
  return {{"dataset", request.repository},
          {"revision", request.revision},
          {"commit", local.commit},
          {"train", paths_json(local.train)},
          {"validation", paths_json(local.validation)},
          {"tokenizer", local.tokenizer.string()}};
}

}  // namespace

Json pull_dataset(const DatasetRequest& request, const PullOptions& options) {
  CADDIE_CHECK(options.connections >= 1 && options.connections <= 64, ErrorKind::usage, options.connections,
               " connections are not possible: 1 to 64 are");
  const Hub hub = Hub::from_environment();
  if (hub.offline || options.offline) return facts_of(local_dataset(request), request);
  HttpClient client;
  const HubCache cache(hub.cache, request.repository);
  const std::string commit = ask_commit(client, hub, request);
  const std::vector<RemoteFile> tree = listed_files(client, hub, request, cache, commit);
  Transfer transfer(hub, request, cache, commit);
  const Selection chosen = select_files(tree, manifest_of(tree, transfer, cache, commit), request);

  std::vector<RemoteFile> missing;
  std::int64_t bytes = 0, missing_bytes = 0;
  for (const RemoteFile& file : chosen.files()) {
    bytes += file.size;
    if (cache.has(commit, file)) continue;
    std::error_code code;
    if (fs::file_size(cache.blob(file), code) == static_cast<std::uintmax_t>(file.size) && !code) {
      if (!options.dry_run) cache.link(commit, file);  // another commit has the same content
      continue;
    }
    missing.push_back(file);
    missing_bytes += file.size;
  }
  const auto files = static_cast<std::int64_t>(chosen.files().size());
  const std::int64_t space = free_bytes(cache.folder());
  Json report = {{"dataset", request.repository}, {"revision", request.revision}, {"commit", commit},
                 {"variant", chosen.variant}, {"folder", cache.folder().string()}, {"files", files}, {"bytes", bytes},
                 {"cached_files", files - static_cast<std::int64_t>(missing.size())},
                 {"cached_bytes", bytes - missing_bytes}, {"free_bytes", space}};
  if (options.dry_run) return report;
  if (!missing.empty()) {
    log::info(concat("pulling ", missing.size(), " of ", files, " files, ", size_text(missing_bytes), ", of ",
                     request.name(), " at ", commit.substr(0, 12), " into ", cache.folder().string(),
                     " (interrupted, the same command goes on)"));
    // A little more than the files: the disk is others' as well.
    CADDIE_CHECK(space < 0 || space > missing_bytes + missing_bytes / 50, ErrorKind::failed, "the disk of ",
                 cache.folder().string(), " has ", size_text(space), " left, ", size_text(missing_bytes),
                 " are needed: free some space, ask for fewer shards, or set HF_HUB_CACHE to another disk");
    const Stopwatch watch;
    Transfer(hub, request, cache, commit).run(missing, options.connections);
    log::info(concat("pulled ", size_text(missing_bytes), " in ", human_seconds(watch.seconds())));
  }
  cache.save_commit(request.revision, commit);
  if (!options.link_into.empty()) link_files(options.link_into, cache, commit, chosen.files());
  report.update(facts_of(local_dataset(request), request));
  return report;
}

void ensure_dataset(const DatasetRequest& request, bool offline) {
  std::string missing;
  if (find_dataset(request, &missing)) return;
  if (offline || Hub::from_environment().offline) {
    local_dataset(request);  // throws: it says what is missing
    return;
  }
  log::info(concat("the dataset ", request.name(), " is not on this machine (", missing, "): it is pulled now"));
  pull_dataset(request, {});
}

}  // namespace caddie::data
