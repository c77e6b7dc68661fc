#include "registry/query/run_index.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "caddie/error.h"
#include "core/base/log.h"
#include "registry/query/database.h"
#include "registry/query/facts.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

constexpr int kSchemaVersion = 1;

// `facts` is kept key by key: one key of all runs, which is what a query reads, lies together.
constexpr const char* kSchema = R"(
CREATE TABLE runs (id INTEGER PRIMARY KEY, folder TEXT NOT NULL UNIQUE, stamp TEXT NOT NULL, status TEXT NOT NULL,
                   skipped TEXT);
CREATE TABLE documents (run INTEGER PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE keys (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE facts (key INTEGER NOT NULL, run INTEGER NOT NULL, value NOT NULL, PRIMARY KEY (key, run)) WITHOUT ROWID;
)";

// Files of a run appear by renames, which change the folder's time; status.json may also be edited in place.
std::string stamp_of(const fs::path& folder) {
  struct stat directory {
  }, status{};
  if (::stat(folder.c_str(), &directory) != 0) return {};
  std::string stamp = concat(directory.st_mtim.tv_sec, ".", directory.st_mtim.tv_nsec);
  if (::stat((folder / "status.json").c_str(), &status) == 0)
    stamp += concat(" ", status.st_mtim.tv_sec, ".", status.st_mtim.tv_nsec, " ", status.st_size);
  return stamp;
}

struct Folder {
  std::string name, stamp;
  std::string status, skipped;  // `skipped`: why it could not be read
  std::vector<std::pair<std::string, Value>> facts;
  std::string document;
};

void read_folder(const fs::path& runs, Folder& folder) {
  try {
    const RunRecord run = load_run(runs / folder.name);
    folder.status = run.shown_status();
    folder.facts = facts_of(run);
    folder.document = canonical(document_of(run));
  } catch (const Error& error) {
    folder.skipped = error.message();
  }
}

void read_all(const fs::path& runs, std::vector<Folder>& folders) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < folders.size(); i = next++) read_folder(runs, folders[i]);
  };
  const std::size_t workers =
      std::min<std::size_t>({8, std::max(1U, std::thread::hardware_concurrency()), folders.size() / 16 + 1});
  std::vector<std::jthread> threads;
  for (std::size_t i = 1; i < workers; ++i) threads.emplace_back(work);
  work();
}

class Writer {
 public:
  explicit Writer(Database& database)
      : database_(database),
        put_run_(database,
                 "INSERT INTO runs (folder, stamp, status, skipped) VALUES (?, ?, ?, ?) ON CONFLICT (folder) DO "
                 "UPDATE SET stamp = excluded.stamp, status = excluded.status, skipped = excluded.skipped "
                 "RETURNING id"),
        put_document_(database, "INSERT OR REPLACE INTO documents VALUES (?, ?)"),
        put_fact_(database, "INSERT OR REPLACE INTO facts VALUES (?, ?, ?)") {
    Statement all(database, "SELECT id, key FROM keys");
    while (all.step()) keys_[all.text(1)] = all.integer(0);
  }

  // `known`: run ids that the database had before; their old facts go.
  void put(const std::vector<Folder>& folders, const std::unordered_map<std::string, std::int64_t>& known) {
    struct Fact {
      std::int64_t key, run;
      const Value* value;
    };
    std::vector<Fact> facts;
    for (const Folder& folder : folders) {
      put_run_.bind(1, folder.name).bind(2, folder.stamp).bind(3, folder.status).bind(4, folder.skipped);
      put_run_.step();
      const std::int64_t run = put_run_.integer(0);
      put_run_.reset();
      if (known.contains(folder.name)) forget_facts(run);
      put_document_.bind(1, run).bind(2, folder.document).run();
      for (const auto& [key, value] : folder.facts) facts.push_back({key_id(key), run, &value});
    }
    // In the order of the table: a new index is then written front to back.
    std::sort(facts.begin(), facts.end(),
              [](const Fact& a, const Fact& b) { return a.key != b.key ? a.key < b.key : a.run < b.run; });
    for (const Fact& fact : facts) put_fact_.bind(1, fact.key).bind(2, fact.run).bind(3, *fact.value).run();
  }

  void forget(std::int64_t run) {
    forget_facts(run);
    Statement(database_, "DELETE FROM documents WHERE run = ?").bind(1, run).run();
    Statement(database_, "DELETE FROM runs WHERE id = ?").bind(1, run).run();
  }

 private:
  void forget_facts(std::int64_t run) {
    Statement one(database_, "DELETE FROM facts WHERE key = ? AND run = ?");
    for (const auto& [key, id] : keys_) one.bind(1, id).bind(2, run).run();
  }

  std::int64_t key_id(const std::string& key) {
    const auto found = keys_.find(key);
    if (found != keys_.end()) return found->second;
    Statement put(database_, "INSERT INTO keys (key) VALUES (?) RETURNING id");
    put.bind(1, key).step();
    return keys_[key] = put.integer(0);
  }

  Database& database_;
  Statement put_run_, put_document_, put_fact_;
  std::unordered_map<std::string, std::int64_t> keys_;
};

}  // namespace

RunIndex::RunIndex(fs::path runs) : runs_(fs::absolute(runs)) {
  const fs::path file = runs_ / "runs.sqlite";
  for (int attempt = 0;; ++attempt) {
    try {
      open();
      refresh(false);
      load_rows();
      return;
    } catch (const SqlError& error) {
      database_.reset();
      const auto damage = Database::damage(error.code);
      if (attempt == 0 && damage == Database::Damage::not_a_database) {
        log::warning(concat("the index ", file.string(), " cannot be used (", error.message, ") and is made again"));
        std::error_code ignored;
        for (const char* suffix : {"", "-wal", "-shm"}) fs::remove(file.string() + suffix, ignored);
        continue;
      }
      if (attempt < 2 && damage != Database::Damage::none) {
        // A folder that is not ours to write: the same answers, made anew each time.
        log::debug(
            concat("the index ", file.string(), " cannot be written (", error.message, "): it is kept in memory"));
        try {
          database_ = std::make_unique<Database>("");
          database_->run(kSchema);
          refresh(false);
          load_rows();
          return;
        } catch (const SqlError& again) {
          throw Error(ErrorKind::failed, concat("the index of ", runs_.string(), ": ", again.message));
        }
      }
      throw Error(ErrorKind::failed, concat("the index ", file.string(), ": ", error.message),
                  "It can be deleted at any time: caddie runs reindex makes it again.");
    }
  }
}

RunIndex::~RunIndex() = default;

void RunIndex::open() {
  std::error_code code;
  const bool there = fs::is_directory(runs_, code);
  database_ = std::make_unique<Database>(there ? runs_ / "runs.sqlite" : fs::path());
  database_->use_write_ahead_log();
  database_->run("PRAGMA synchronous = NORMAL");  // a lost index is made again
  if (database_->number("PRAGMA user_version") == kSchemaVersion) return;
  Transaction transaction(*database_);
  if (database_->number("PRAGMA user_version") == kSchemaVersion) return;  // another process was faster
  for (const char* table : {"facts", "keys", "documents", "runs"})
    database_->run(concat("DROP TABLE IF EXISTS ", table));
  database_->run(kSchema);
  database_->run(concat("PRAGMA user_version = ", kSchemaVersion));
  transaction.commit();
}

// With `all` every folder is read, and what the index held before goes, in one transaction: who looks meanwhile sees
// the old index or the new one.
void RunIndex::refresh(bool all) {
  struct Known {
    std::string stamp, status;
  };
  std::unordered_map<std::string, Known> before;
  if (!all) {
    Statement runs(*database_, "SELECT folder, stamp, status FROM runs");
    while (runs.step()) before[runs.text(0)] = {runs.text(1), runs.text(2)};
  }

  std::vector<Folder> changed;
  std::unordered_set<std::string> here;
  for (const fs::path& path : run_folders(runs_)) {
    Folder folder;
    folder.name = path.filename().string();
    here.insert(folder.name);
    folder.stamp = stamp_of(path);
    const auto known = before.find(folder.name);
    // A run that was running may have lost its process without a trace in its folder.
    if (known == before.end() || known->second.stamp != folder.stamp || known->second.status == "running")
      changed.push_back(std::move(folder));
  }
  read_folders_ = changed.size();
  read_all(runs_, changed);
  std::erase_if(changed, [&](const Folder& folder) {
    const auto known = before.find(folder.name);
    return known != before.end() && known->second.stamp == folder.stamp && known->second.status == folder.status;
  });
  const bool some_gone =
      std::any_of(before.begin(), before.end(), [&](const auto& run) { return !here.contains(run.first); });
  if (!all && changed.empty() && !some_gone) return;

  Transaction transaction(*database_);
  if (all)
    for (const char* table : {"facts", "keys", "documents", "runs"}) database_->run(concat("DELETE FROM ", table));
  // Another process may have indexed since: what it wrote is as good as ours and is replaced, what it added stays.
  std::unordered_map<std::string, std::int64_t> known;
  Statement runs(*database_, "SELECT id, folder FROM runs");
  while (runs.step()) known[runs.text(1)] = runs.integer(0);
  runs.reset();
  Writer writer(*database_);
  writer.put(changed, known);
  for (const auto& [name, id] : known)
    if (!here.contains(name) && !fs::exists(runs_ / name)) writer.forget(id);
  transaction.commit();
}

void RunIndex::load_rows() {
  rows_.clear();
  place_.clear();
  skipped_.clear();
  Statement all(*database_, "SELECT id, folder, skipped FROM runs ORDER BY folder");
  while (all.step()) {
    if (const std::string reason = all.text(2); !reason.empty()) {
      skipped_.push_back({runs_ / all.text(1), reason});
      continue;
    }
    place_[all.integer(0)] = rows_.size();
    rows_.push_back({all.integer(0), all.text(1)});
  }
}

void RunIndex::rebuild() {
  try {
    refresh(true);
    load_rows();
  } catch (const SqlError& error) {
    throw Error(ErrorKind::failed, concat("the index of ", runs_.string(), ": ", error.message),
                "Delete runs.sqlite there and try again.");
  }
}

std::vector<std::string> RunIndex::keys() const {
  std::set<std::string> keys(standing_keys().begin(), standing_keys().end());
  Statement all(*database_, "SELECT key FROM keys");
  while (all.step()) keys.insert(all.text(0));
  return {keys.begin(), keys.end()};
}

std::vector<OptionalValue> RunIndex::column(const std::string& key) const {
  std::vector<OptionalValue> values(rows_.size());
  Statement all(*database_, "SELECT run, value FROM facts WHERE key = (SELECT id FROM keys WHERE key = ?)");
  all.bind(1, key);
  while (all.step())
    if (const auto place = place_.find(all.integer(0)); place != place_.end()) values[place->second] = all.value(1);
  return values;
}

Json RunIndex::document(const Row& row) const {
  Statement one(*database_, "SELECT json FROM documents WHERE run = ?");
  return one.bind(1, row.id).step() ? Json::parse(one.text(0)) : Json();
}

}  // namespace caddie::registry
