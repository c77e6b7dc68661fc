// The index over run folders: `runs.sqlite` beside them. It can be deleted at any time; opening it makes it again. A
// folder whose stamps (modification times) are as they were is not read again, so listing costs two stats a run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "registry/query/value.h"
#include "registry/record/run_record.h"

namespace caddie::registry {

class Database;

class CADDIE_API RunIndex {
 public:
  // Opens or makes the index of `runs` and brings it up to date. A missing folder has no runs and gets no index; a file
  // that is no database, or of another version, is made anew; where nothing can be written the index is in memory.
  explicit RunIndex(std::filesystem::path runs);
  ~RunIndex();
  RunIndex(const RunIndex&) = delete;
  RunIndex& operator=(const RunIndex&) = delete;

  // Reads every folder again. What `runs reindex` does.
  void rebuild();

  struct Row {
    std::int64_t id;
    std::string folder;  // name in `runs`
  };
  const std::vector<Row>& rows() const { return rows_; }  // by folder, that is by time
  const std::vector<SkippedFolder>& skipped() const { return skipped_; }
  std::size_t read_folders() const { return read_folders_; }  // by the last refresh or rebuild
  std::vector<std::string> keys() const;                      // sorted, with the standing ones
  // One value a row, in the order of rows().
  std::vector<OptionalValue> column(const std::string& key) const;
  // What `runs list --json` prints of the run.
  Json document(const Row& row) const;

 private:
  void open();
  void refresh(bool all);
  void load_rows();
  std::filesystem::path runs_;
  std::unique_ptr<Database> database_;
  std::vector<Row> rows_;
  std::map<std::int64_t, std::size_t> place_;  // of a row's id in rows_
  std::vector<SkippedFolder> skipped_;
  std::size_t read_folders_ = 0;
};

}  // namespace caddie::registry
