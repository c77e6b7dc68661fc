// Which runs the arguments of `compare` mean, and which of them belong together.
#include <algorithm>
#include <set>

#include "caddie/error.h"
#include "core/base/suggest.h"
#include "registry/compare/compare.h"
#include "registry/query/diff.h"
#include "registry/query/run_index.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

std::string text_of(const OptionalValue& value) { return value && !value->is_number ? value->text : std::string(); }

// "20260401T100000Z_what_did_not_work_1a2b3c4d" -> "what_did_not_work"
std::string sweep_name(const std::string& folder) {
  const std::size_t first = folder.find('_'), last = folder.rfind('_');
  return first == std::string::npos || last <= first ? folder : folder.substr(first + 1, last - first - 1);
}

struct Candidates {
  std::vector<RunIndex::Row> rows;
  std::vector<OptionalValue> name, variant, sweep;
};

// Rows that an argument names.
class Finder {
 public:
  explicit Finder(const fs::path& runs)
      : runs_(runs),
        index_(runs),
        name_(index_.column("name")),
        variant_(index_.column("variant")),
        sweep_(index_.column("sweep")) {}

  std::set<std::size_t> rows(const std::string& argument) {
    const auto all = [&](auto matches) {
      std::set<std::size_t> found;
      for (std::size_t row = 0; row < index_.rows().size(); ++row)
        if (matches(row)) found.insert(row);
      return found;
    };
    const std::string last = fs::path(argument).lexically_normal().filename().string();
    if (auto found = all([&](std::size_t row) { return index_.rows()[row].folder == argument; }); !found.empty())
      return found;
    if (auto found =
            all([&](std::size_t row) { return text_of(sweep_[row]) == argument || text_of(sweep_[row]) == last; });
        !found.empty())
      return found;
    if (auto found =
            all([&](std::size_t row) { return text_of(variant_[row]) == argument || text_of(name_[row]) == argument; });
        !found.empty())
      return found;
    if (auto found = all([&](std::size_t row) { return sweep_name(text_of(sweep_[row])) == argument; });
        !found.empty()) {
      // The newest sweep of that name: an older one may have had other settings.
      std::string newest;
      for (const std::size_t row : found) newest = std::max(newest, text_of(sweep_[row]));
      return all([&](std::size_t row) { return text_of(sweep_[row]) == newest; });
    }
    try {
      const std::string id = find_run(runs_, argument).filename().string();
      if (auto found = all([&](std::size_t row) { return index_.rows()[row].folder == id; }); !found.empty())
        return found;
    } catch (const Error&) {}
    std::set<std::string> names;
    for (std::size_t row = 0; row < index_.rows().size(); ++row)
      for (const std::string& text :
           {index_.rows()[row].folder, text_of(name_[row]), text_of(variant_[row]), sweep_name(text_of(sweep_[row]))})
        if (!text.empty()) names.insert(text);
    const std::vector<std::string> known(names.begin(), names.end());
    const std::string guess = closest(argument, known);
    throw Error(ErrorKind::usage,
                concat("'", argument, "' is no run, no name of runs and no sweep in ", fs::absolute(runs_).string()),
                guess.empty() ? "caddie runs list shows all runs; --runs DIR looks elsewhere."
                              : "Did you mean '" + guess + "'?");
  }

  RunRecord load(std::size_t row) const { return load_run(runs_ / index_.rows()[row].folder); }

 private:
  fs::path runs_;
  RunIndex index_;
  std::vector<OptionalValue> name_, variant_, sweep_;
};

std::string name_of(const RunRecord& run) {
  return run.sweep.is_object() && run.sweep.contains("variant") ? run.sweep["variant"].get<std::string>() : run.name;
}

// Groups of one name get what sets them apart: "tiny (compress.use=store)".
void tell_apart(std::vector<Group>& groups) {
  std::map<std::string, std::vector<Group*>> by_name;
  for (Group& group : groups) by_name[group.name].push_back(&group);
  for (auto& [name, same] : by_name) {
    if (same.size() < 2) continue;
    for (std::size_t i = 1; i < same.size(); ++i) {
      std::string what;
      int shown = 0;
      for (const Differing& one : differing(same[0]->runs[0].resolved, same[i]->runs[0].resolved)) {
        if (one.path == "seed" || one.absent_b) continue;
        if (++shown > 2) {
          what += ", ...";
          break;
        }
        what += concat(what.empty() ? "" : ", ", one.path, "=",
                       one.b.is_string() ? one.b.get<std::string>() : canonical(one.b));
      }
      same[i]->name += " (" + (what.empty() ? std::to_string(i + 1) : what) + ")";
    }
  }
  std::set<std::string> taken;
  for (Group& group : groups) {
    const std::string name = group.name;
    for (int i = 2; !taken.insert(group.name).second; ++i) group.name = concat(name, " #", i);
  }
}

}  // namespace

std::vector<Group> resolve_groups(const fs::path& runs, const std::vector<std::string>& arguments) {
  Finder finder(runs);
  std::vector<std::size_t> rows;
  std::set<std::size_t> seen;
  for (const std::string& argument : arguments)
    for (const std::size_t row : finder.rows(argument))
      if (seen.insert(row).second) rows.push_back(row);

  std::vector<Group> groups;
  std::map<std::string, std::size_t> place;  // name and manifest -> in groups
  std::map<std::size_t, std::map<std::int64_t, RunRecord>> members;
  std::vector<std::string> unfinished;
  for (const std::size_t row : rows) {
    RunRecord run = finder.load(row);
    if (!run.finished()) {
      unfinished.push_back(concat(run.id, " (", run.shown_status(), ")"));
      continue;
    }
    // Variants of a sweep differ in their manifests by construction, and two names may share one.
    const std::string key = name_of(run) + "\n" + run.group();
    const auto [found, fresh] = place.try_emplace(key, groups.size());
    if (fresh) groups.push_back({name_of(run), {}, {}});
    Group& group = groups[found->second];
    auto& of_group = members[found->second];
    const auto [member, first] = of_group.try_emplace(run.seed, run);
    if (first) continue;
    if (run.id > member->second.id) std::swap(member->second, run);
    group.notes.push_back(
        concat("seed ", run.seed, " ran more than once: ", run.id, " is left out, the newest counts"));
  }
  for (auto& [i, of_group] : members)
    for (auto& [seed, run] : of_group) groups[i].runs.push_back(std::move(run));
  if (groups.empty())
    throw Error(
        ErrorKind::usage, "none of these runs has a result",
        unfinished.empty() ? "" : concat("not finished: ", unfinished.front(), unfinished.size() > 1 ? ", ..." : ""));
  for (const std::string& run : unfinished) groups.front().notes.push_back("left out, it has no result: " + run);
  tell_apart(groups);
  return groups;
}

}  // namespace caddie::registry
