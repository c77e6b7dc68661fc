#include "registry/query/manage.h"

#include <algorithm>
#include <set>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/suggest.h"
#include "registry/record/run_record.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

fs::path bin_of(const fs::path& runs) { return fs::absolute(runs) / ".bin"; }

void check_tag(const std::string& tag) {
  if (!tag.empty() && tag.size() <= 64 && tag.find_first_of(" ,'\"\t\n") == std::string::npos) return;
  throw Error(ErrorKind::usage, concat("'", tag, "' cannot be a tag"),
              "accepted: up to 64 characters without blanks, commas and quotes");
}

fs::path find_in_bin(const fs::path& runs, const std::string& name) {
  std::vector<std::string> matching;
  const auto all = bin_contents(runs);
  for (const std::string& id : all) {
    if (id == name) return bin_of(runs) / id;
    if (id.starts_with(name)) matching.push_back(id);
  }
  if (matching.size() == 1) return bin_of(runs) / matching.front();
  if (matching.size() > 1)
    throw Error(ErrorKind::usage, concat("'", name, "' is the beginning of ", matching.size(), " runs in the bin"),
                "Write more of the name; caddie runs list --bin shows all.");
  const std::string guess = closest(name, all);
  throw Error(ErrorKind::usage, concat("there is no run '", name, "' in the bin of ", fs::absolute(runs).string()),
              guess.empty() ? "caddie runs list --bin shows what is there." : "Did you mean '" + guess + "'?");
}

void check_at_rest(const fs::path& folder) {
  try {
    const RunRecord run = load_run(folder);
    if (run.shown_status() == "running")
      throw Error(ErrorKind::usage, concat("the run '", run.id, "' is running (process ", run.process, ")"),
                  "Stop it first.");
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::usage) throw;  // a torn folder may go
  }
}

void move(const fs::path& from, const fs::path& to) {
  std::error_code code;
  if (fs::exists(to, code))
    throw Error(ErrorKind::failed, concat(to.string(), " exists already"), "Purge or rename it first.");
  fs::rename(from, to, code);
  if (code)
    throw Error(ErrorKind::failed, concat("cannot move ", from.string(), " to ", to.string(), ": ", code.message()));
}

}  // namespace

std::vector<std::string> tag_run(const fs::path& runs, const std::string& run, const std::vector<std::string>& add,
                                 const std::vector<std::string>& remove) {
  for (const std::string& tag : add) check_tag(tag);
  const fs::path folder = find_run(runs, run);
  const RunRecord record = load_run(folder);
  std::set<std::string> tags(record.tags.begin(), record.tags.end());
  for (const std::string& tag : remove) {
    if (tags.erase(tag) == 0)
      throw Error(ErrorKind::usage, concat("the run '", record.id, "' has no tag '", tag, "'"),
                  record.tags.empty() ? "It has none." : concat("It has: ", canonical(record.tags)));
  }
  tags.insert(add.begin(), add.end());
  if (!add.empty() || !remove.empty()) write_json(folder / "tags.json", tags);
  return {tags.begin(), tags.end()};
}

std::vector<std::string> remove_runs(const fs::path& runs, const std::vector<std::string>& names, bool purge) {
  std::vector<fs::path> folders;
  for (const std::string& name : names) {
    fs::path folder;
    try {
      folder = find_run(runs, name);
    } catch (const Error&) {
      // A torn folder is none to find_run(), and what is purged may be in the bin already.
      const fs::path torn = fs::absolute(runs) / name;
      if (!name.empty() && name.find('/') == std::string::npos && !name.starts_with(".") && name != "sweeps" &&
          fs::is_directory(torn))
        folder = torn;
      else if (purge)
        folder = find_in_bin(runs, name);
      else
        throw;
    }
    check_at_rest(folder);
    if (std::find(folders.begin(), folders.end(), folder) == folders.end()) folders.push_back(folder);
  }
  std::vector<std::string> ids;
  for (const fs::path& folder : folders) {
    const std::string id = folder.filename().string();
    if (purge) {
      std::error_code code;
      fs::remove_all(folder, code);
      if (code) throw Error(ErrorKind::failed, concat("cannot delete ", folder.string(), ": ", code.message()));
    } else {
      make_directories(bin_of(folder.parent_path()));
      move(folder, bin_of(folder.parent_path()) / id);
    }
    ids.push_back(id);
  }
  return ids;
}

std::vector<std::string> restore_runs(const fs::path& runs, const std::vector<std::string>& names) {
  std::vector<fs::path> folders;
  for (const std::string& name : names) folders.push_back(find_in_bin(runs, name));
  std::vector<std::string> ids;
  for (const fs::path& folder : folders) {
    move(folder, fs::absolute(runs) / folder.filename());
    ids.push_back(folder.filename().string());
  }
  return ids;
}

std::vector<std::string> bin_contents(const fs::path& runs) {
  std::vector<std::string> ids;
  std::error_code code;
  for (const auto& item : fs::directory_iterator(bin_of(runs), code))
    if (item.is_directory()) ids.push_back(item.path().filename().string());
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace caddie::registry
