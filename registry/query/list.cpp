#include "registry/query/list.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <unordered_map>

#include "caddie/error.h"
#include "registry/compare/statistics.h"
#include "registry/query/expression.h"
#include "registry/query/keys.h"

namespace caddie::registry {
namespace {

// Columns that were read, each once.
class Table {
 public:
  explicit Table(const RunIndex& index) : index_(index), keys_(index.keys()) {}

  const std::vector<std::string>& keys() const { return keys_; }
  // Whole keys behind a name. Throws Error(usage).
  std::vector<std::string> resolve(const std::string& name) const {
    const FoundKeys found = find_keys(name, keys_);
    if (!found.keys.empty()) return found.keys;
    throw Error(ErrorKind::usage, found.problem,
                found.suggestion.empty() ? found.hint : concat("did you mean '", found.suggestion, "'?"));
  }
  const std::vector<OptionalValue>& column(const std::string& key) {
    const auto found = columns_.find(key);
    return found != columns_.end() ? found->second : columns_.emplace(key, index_.column(key)).first->second;
  }
  // One cell: equal entries once, several with commas.
  OptionalValue cell(const std::vector<std::string>& keys, std::size_t row) {
    if (keys.size() == 1) return column(keys.front())[row];
    std::vector<std::string> texts;
    for (const std::string& key : keys)
      if (const OptionalValue& value = column(key)[row]) {
        const std::string text = value->is_number ? canonical(to_json(value)) : value->text;
        if (std::find(texts.begin(), texts.end(), text) == texts.end()) texts.push_back(text);
      }
    if (texts.empty()) return std::nullopt;
    std::string joined;
    for (const std::string& text : texts) joined += (joined.empty() ? "" : ",") + text;
    return Value::of(joined);
  }

 private:
  const RunIndex& index_;
  std::vector<std::string> keys_;
  std::unordered_map<std::string, std::vector<OptionalValue>> columns_;
};

struct SortKey {
  std::string name;
  bool falling = false;
};

SortKey parse_sort(const std::string& text) {
  SortKey key{text, false};
  if (text.starts_with("-")) key = {text.substr(1), true};
  if (text.ends_with(":desc")) key = {text.substr(0, text.size() - 5), true};
  if (text.ends_with(":asc")) key = {text.substr(0, text.size() - 4), false};
  return key;
}

bool comes_first(const OptionalValue& a, const OptionalValue& b, bool falling) {
  if (!a || !b) return a.has_value() && !b.has_value();
  if (a->is_number != b->is_number) return a->is_number;
  if (a->is_number) return falling ? a->number > b->number : a->number < b->number;
  return falling ? a->text > b->text : a->text < b->text;
}

std::vector<std::size_t> matching_rows(const RunIndex& index, Table& table, const Expression& where) {
  std::vector<const std::vector<OptionalValue>*> columns;
  for (const std::string& key : where.keys()) columns.push_back(&table.column(key));
  std::vector<std::size_t> rows;
  std::size_t row = 0;
  const Lookup value = [&](std::size_t i) { return (*columns[i])[row] ? &*(*columns[i])[row] : nullptr; };
  for (; row < index.rows().size(); ++row)
    if (where.holds(value)) rows.push_back(row);
  return rows;
}

void check_limit(std::int64_t limit) {
  if (limit < 0) throw Error(ErrorKind::usage, concat("--limit is ", limit), "accepted: 1 and above; 0 for all");
}

}  // namespace

RunList list_runs(const RunIndex& index, const ListQuery& query) {
  check_limit(query.limit);
  Table table(index);
  const Expression where(query.where, table.keys());
  RunList list;
  list.columns = query.columns;
  const SortKey sort = parse_sort(query.sort);
  if (list.columns.empty()) {
    list.columns = {"run", "status", "seed", "val_bpb", "sliding_bpb", "ttt_bpb", "artifact.total_bytes"};
    std::vector<std::string> asked = where.keys();
    if (!sort.name.empty()) asked.push_back(table.resolve(sort.name).front());
    for (const std::string& key : asked)
      if (const std::string path = without_selectors(key);
          std::find(list.columns.begin(), list.columns.end(), path) == list.columns.end())
        list.columns.push_back(path);
  }
  std::vector<std::vector<std::string>> keys;
  for (const std::string& name : list.columns) keys.push_back(table.resolve(name));

  std::vector<std::size_t> rows = matching_rows(index, table, where);
  list.matching = rows.size();
  if (!sort.name.empty()) {
    const auto sort_keys = table.resolve(sort.name);
    std::vector<OptionalValue> cells(index.rows().size());
    for (const std::size_t row : rows) cells[row] = table.cell(sort_keys, row);
    std::stable_sort(rows.begin(), rows.end(),
                     [&](std::size_t a, std::size_t b) { return comes_first(cells[a], cells[b], sort.falling); });
  }
  if (query.limit > 0 && rows.size() > static_cast<std::size_t>(query.limit))
    rows.resize(static_cast<std::size_t>(query.limit));
  for (const std::size_t row : rows) {
    std::vector<OptionalValue> cells;
    for (const auto& column : keys) cells.push_back(table.cell(column, row));
    list.rows.push_back(std::move(cells));
    list.runs.push_back(index.rows()[row]);
  }
  return list;
}

namespace {

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

std::string shown(const OptionalValue& value) {
  return !value ? "-" : value->is_number ? canonical(to_json(value)) : value->text;
}

}  // namespace

GroupList group_runs(const RunIndex& index, const GroupQuery& query) {
  check_limit(query.list.limit);
  Table table(index);
  const Expression where(query.list.where, table.keys());
  GroupList list;
  list.columns = query.list.columns;
  const SortKey sort = parse_sort(query.list.sort);
  if (list.columns.empty())
    list.columns = {"val_bpb", "roundtrip_bpb", "sliding_bpb", "ttt_bpb", "artifact.total_bytes", "seconds.train"};
  std::vector<std::string> figures = list.columns;
  if (!sort.name.empty()) figures.push_back(sort.name);
  std::vector<std::vector<std::string>> keys;
  for (const std::string& name : figures) keys.push_back(table.resolve(name));
  const bool by_manifest = query.by == "all-but-seed";
  std::vector<std::pair<std::string, std::vector<std::string>>> by;  // name as written, keys
  if (!by_manifest)
    for (const std::string& name : split(query.by)) by.emplace_back(name, table.resolve(name));

  std::map<std::string, std::map<std::string, std::size_t>> members;  // group -> seed (or run) -> row, the newest
  std::map<std::string, std::string> names;
  for (const std::size_t row : matching_rows(index, table, where)) {
    const std::string status = shown(table.column("status")[row]);
    if (status != "ok" && status != "budget") continue;
    std::string group, name;
    if (by_manifest) {
      group = shown(table.column("group")[row]);
      name = shown(table.column("name")[row]);
    } else {
      for (const auto& [written, key] : by) {
        const std::string value = shown(table.cell(key, row));
        group += value + "\n";
        name += (name.empty() ? "" : " ") + written + "=" + value;
      }
    }
    const std::string member = by_manifest ? shown(table.column("seed")[row]) : index.rows()[row].folder;
    members[group][member] = row;
    names[group] = name;
  }

  for (const auto& [id, rows_of] : members) {
    RunGroup group;
    group.name = names[id];
    std::set<std::size_t> rows;
    for (const auto& [seed, row] : rows_of) rows.insert(row);
    std::set<std::int64_t> seeds;
    for (const std::size_t row : rows) {
      group.runs.push_back(index.rows()[row].folder);
      if (const auto& seed = table.column("seed")[row]; seed && seed->is_number)
        seeds.insert(static_cast<std::int64_t>(seed->number));
    }
    group.seeds.assign(seeds.begin(), seeds.end());
    for (std::size_t column = 0; column < figures.size(); ++column) {
      std::vector<double> values;
      for (const std::size_t row : rows)
        if (const OptionalValue cell = table.cell(keys[column], row); cell && cell->is_number)
          values.push_back(cell->number);
      if (!values.empty()) group.figures[figures[column]] = {mean(values), standard_deviation(values), values.size()};
    }
    list.groups.push_back(std::move(group));
  }
  std::sort(list.groups.begin(), list.groups.end(),
            [](const RunGroup& a, const RunGroup& b) { return a.runs < b.runs; });
  if (!sort.name.empty()) {
    const auto figure = [&](const RunGroup& group) -> OptionalValue {
      const auto found = group.figures.find(sort.name);
      return found == group.figures.end() ? OptionalValue() : Value::of(found->second.mean);
    };
    std::stable_sort(list.groups.begin(), list.groups.end(), [&](const RunGroup& a, const RunGroup& b) {
      return comes_first(figure(a), figure(b), sort.falling);
    });
  }
  if (query.list.limit > 0 && list.groups.size() > static_cast<std::size_t>(query.list.limit))
    list.groups.resize(static_cast<std::size_t>(query.list.limit));
  return list;
}

}  // namespace caddie::registry
