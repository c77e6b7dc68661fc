// `runs list`: filter, sort, cut and group the runs of an index. Gives rows of values; how they look is the program's.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "registry/query/run_index.h"

namespace caddie::registry {

struct ListQuery {
  std::string where;                 // expression.h; empty: all
  std::string sort;                  // "KEY", "-KEY" or "KEY:desc" for falling; empty: by time. No value: last
  std::int64_t limit = 0;            // 0: all
  std::vector<std::string> columns;  // empty: run, status, seed, the scores, bytes, and what `where` and `sort` ask for
};
struct RunList {
  std::vector<std::string> columns;              // as they were asked for
  std::vector<std::vector<OptionalValue>> rows;  // a list's entries are joined by commas
  std::vector<RunIndex::Row> runs;               // of the rows
  std::size_t matching = 0;                      // before the limit
};
// Throws Error(usage) for unknown keys and conditions that cannot be read.
CADDIE_API RunList list_runs(const RunIndex& index, const ListQuery& query);

struct GroupQuery {
  ListQuery list;
  std::string by = "all-but-seed";  // or keys with commas between
};
struct RunGroup {
  std::string name;                 // of its runs; with values of the keys where it is grouped by keys
  std::vector<std::int64_t> seeds;  // sorted
  std::vector<std::string> runs;    // ids, by time
  struct Figure {
    double mean = 0;
    std::optional<double> deviation;  // of the sample; absent for one value
    std::size_t n = 0;
  };
  std::map<std::string, Figure> figures;  // by column
};
struct GroupList {
  std::vector<std::string> columns;  // figures
  std::vector<RunGroup> groups;
};
// Runs with a result only, one a seed: the newest. Columns default to the scores, bytes and training seconds. Sorted by
// the mean of `sort`, else by time of the first run.
CADDIE_API GroupList group_runs(const RunIndex& index, const GroupQuery& query);

}  // namespace caddie::registry
