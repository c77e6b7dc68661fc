#include "core/host/catalogue.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <span>

#include "caddie/error.h"
#include "core/base/hash.h"
#include "core/base/suggest.h"
#include "core/config/options.h"
#include "core/host/library.h"
#include "core/host/probe.h"

namespace caddie {
namespace {

namespace fs = std::filesystem;

constexpr std::pair<PluginKind, std::string_view> kKinds[] = {{PluginKind::model, "model"},
                                                              {PluginKind::optimizer, "optimizer"},
                                                              {PluginKind::quantizer, "quantizer"},
                                                              {PluginKind::compressor, "compressor"},
                                                              {PluginKind::ttt, "ttt"}};

struct Candidate {
  fs::path file;       // as found
  std::string plugin;  // by its name; empty: not named like a plugin
  bool tried = false;
  const Library* library = nullptr;
};

struct Found {
  const Component* component;
  const Library* library;
};

}  // namespace

std::string_view kind_name(PluginKind kind) {
  for (const auto& [value, name] : kKinds)
    if (value == kind) return name;
  return "unknown kind";
}

PluginKind kind_from_name(std::string_view name) {
  for (const auto& [value, known] : kKinds)
    if (known == name) return value;
  std::vector<std::string> names;
  for (const auto& [value, known] : kKinds) names.emplace_back(known);
  const std::string guess = closest(name, names);
  throw Error(ErrorKind::usage,
              concat("unknown plugin kind '", name, "'", guess.empty() ? "" : ", did you mean '" + guess + "'?"),
              "Kinds are model, optimizer, quantizer, compressor and ttt.");
}

Json to_json(const Provenance& from) {
  return Json{{"plugin", from.plugin},   {"file", from.file},
              {"sha256", from.sha256},   {"version", from.version},
              {"abi", from.abi},         {"behaviour_version", from.behaviour_version}};
}

struct Catalogue::Impl {
  std::vector<fs::path> folders;
  std::vector<std::string> folder_notes;
  std::deque<Candidate> candidates;
  std::vector<PluginProblem> problems;
  std::map<std::pair<PluginKind, std::string>, std::vector<Found>, std::less<>> components;
  bool scanned = false;
  std::recursive_mutex mutex;

  void scan();
  void scan_folder(const fs::path& folder, std::set<fs::path>& seen);
  void open(Candidate& candidate);
  void open_named(std::string_view plugin);
  void open_all();
  void refuse(Candidate& candidate, std::string reason, std::string hint);
  const std::vector<Found>& look_up(PluginKind kind, std::string_view name);
  const Found* find(PluginKind kind, std::string_view name);
};

void Catalogue::Impl::scan() {
  if (std::exchange(scanned, true)) return;
  std::set<fs::path> seen;
  for (const fs::path& folder : folders) scan_folder(folder, seen);
}

void Catalogue::Impl::scan_folder(const fs::path& folder, std::set<fs::path>& seen) {
  std::error_code failure;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end; it.increment(failure))
    if (it->path().extension() == ".so") files.push_back(it->path());
  folder_notes.push_back(failure ? failure.message() : concat(files.size(), files.size() == 1 ? " library" : " libraries"));
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    // The same file through a link, or through a folder named twice, is one plugin.
    const fs::path real = fs::canonical(file, failure);
    if (failure) {
      candidates.push_back({fs::absolute(file), {}, true, nullptr});
      refuse(candidates.back(), "cannot be read: " + failure.message(), "");
    } else if (seen.insert(real).second) {
      candidates.push_back({real, plugin_of_file(real), false, nullptr});
    }
  }
}

void Catalogue::Impl::refuse(Candidate& candidate, std::string reason, std::string hint) {
  candidate.tried = true;
  problems.push_back({candidate.file.string(), std::move(reason), std::move(hint)});
}

void Catalogue::Impl::open(Candidate& candidate) {
  if (std::exchange(candidate.tried, true)) return;
  try {
    candidate.library = &open_library(candidate.file);
  } catch (const Error& error) {
    return refuse(candidate, error.message(), error.hint());
  }
  const PluginDescriptor& descriptor = *candidate.library->descriptor;
  for (const Component& component : std::span(descriptor.components, descriptor.component_count)) {
    auto& found = components[{component.kind, component.name}];
    if (std::any_of(found.begin(), found.end(), [&](const Found& f) { return f.library == candidate.library; })) continue;
    if (!found.empty())
      problems.push_back({candidate.file.string(),
                          concat("has the ", kind_name(component.kind), " '", component.name, "', which ",
                                 found.front().library->file.string(), " has too"),
                          "Remove one of the files, or leave its folder out of the search."});
    found.push_back({&component, candidate.library});
  }
}

void Catalogue::Impl::open_named(std::string_view plugin) {
  scan();
  for (Candidate& candidate : candidates)
    if (candidate.plugin == plugin) open(candidate);
}

void Catalogue::Impl::open_all() {
  scan();
  for (Candidate& candidate : candidates) open(candidate);
}

const std::vector<Found>& Catalogue::Impl::look_up(PluginKind kind, std::string_view name) {
  open_named(name);
  const std::pair<PluginKind, std::string> key(kind, name);
  if (!components.contains(key)) open_all();
  static const std::vector<Found> nothing;
  const auto found = components.find(key);
  return found == components.end() ? nothing : found->second;
}

const Found* Catalogue::Impl::find(PluginKind kind, std::string_view name) {
  const std::vector<Found>& found = look_up(kind, name);
  CADDIE_CHECK(found.size() < 2, ErrorKind::environment, "the ", kind_name(kind), " '", name, "' is in two plugins: ",
               found[0].library->file.string(), " and ", found[1].library->file.string());
  if (!found.empty()) return &found.front();
  for (const PluginProblem& problem : problems)
    if (plugin_of_file(problem.file) == name)
      throw Error(ErrorKind::environment,
                  concat("the ", kind_name(kind), " '", name, "' cannot be used: ", problem.file, " ", problem.reason),
                  problem.hint);
  return nullptr;
}

Catalogue::Catalogue(std::vector<fs::path> folders) : impl_(std::make_unique<Impl>()) {
  impl_->folders = std::move(folders);
}
Catalogue::~Catalogue() = default;

std::vector<fs::path> Catalogue::search_folders(const std::vector<std::string>& plugin_dirs) {
  std::vector<fs::path> folders(plugin_dirs.begin(), plugin_dirs.end());
  if (const char* path = std::getenv("CADDIE_PLUGIN_PATH")) {
    std::string_view rest = path;
    while (!rest.empty()) {
      const std::string_view folder = rest.substr(0, rest.find(':'));
      if (!folder.empty()) folders.emplace_back(folder);
      rest.remove_prefix(std::min(folder.size() + 1, rest.size()));
    }
  }
  std::error_code failure;
  const fs::path executable = fs::read_symlink("/proc/self/exe", failure);
  if (!failure) folders.push_back(executable.parent_path().parent_path() / "lib" / "caddie");
  return folders;
}

void Catalogue::probe() const {
  const std::scoped_lock lock(impl_->mutex);
  impl_->scan();
  std::vector<fs::path> files;
  for (const Candidate& candidate : impl_->candidates)
    if (!candidate.tried) files.push_back(candidate.file);
  const auto lethal = lethal_files(files);
  for (Candidate& candidate : impl_->candidates)
    if (const auto found = lethal.find(candidate.file.string()); found != lethal.end() && !candidate.tried)
      impl_->refuse(candidate, "ends the process that loads it: it " + found->second,
                    "Its static constructors run when it is loaded; a plugin needs none.");
}

const Component* Catalogue::find(PluginKind kind, std::string_view name) const {
  const std::scoped_lock lock(impl_->mutex);
  const Found* found = impl_->find(kind, name);
  return found ? found->component : nullptr;
}

std::vector<std::string> Catalogue::names(PluginKind kind) const {
  const std::scoped_lock lock(impl_->mutex);
  impl_->open_all();
  std::vector<std::string> names;
  for (const auto& [key, found] : impl_->components)
    if (key.first == kind) names.push_back(key.second);
  return names;
}

const Component& Catalogue::require(PluginKind kind, std::string_view name) const {
  if (const Component* component = find(kind, name)) return *component;
  std::string message = concat("unknown ", kind_name(kind), " '", name, "'");
  const std::vector<std::string> known = names(kind);
  if (const std::string guess = closest(name, known); !guess.empty()) message += ", did you mean '" + guess + "'?";
  for (PluginKind other : kinds_of(name)) message += concat("; '", name, "' is a ", kind_name(other));
  std::string list;
  for (const std::string& each : known) list += (list.empty() ? "" : ", ") + each;
  throw Error(ErrorKind::usage, message, concat("known: ", list.empty() ? "none" : list, "\n  ", searched()));
}

Provenance Catalogue::provenance(PluginKind kind, std::string_view name) const {
  require(kind, name);
  const std::scoped_lock lock(impl_->mutex);
  const Found& found = *impl_->find(kind, name);
  const Library& library = *found.library;
  if (library.sha256.empty()) library.sha256 = sha256_file(library.file);
  return {library.plugin, library.file.string(), library.sha256, library.descriptor->version,
          found.component->behaviour_version, library.abi};
}

std::vector<PluginKind> Catalogue::kinds_of(std::string_view name) const {
  const std::scoped_lock lock(impl_->mutex);
  impl_->open_all();
  std::vector<PluginKind> kinds;
  for (const auto& [kind, text] : kKinds)
    if (impl_->components.contains(std::pair(kind, std::string(name)))) kinds.push_back(kind);
  return kinds;
}

std::vector<PluginProblem> Catalogue::problems() const {
  const std::scoped_lock lock(impl_->mutex);
  impl_->open_all();
  return impl_->problems;
}

const std::vector<fs::path>& Catalogue::folders() const { return impl_->folders; }

std::string Catalogue::searched() const {
  const std::scoped_lock lock(impl_->mutex);
  impl_->open_all();
  std::string text = "looked in:";
  for (std::size_t i = 0; i < impl_->folders.size(); ++i)
    text += concat("\n    ", impl_->folders[i].string(), " (", impl_->folder_notes[i], ")");
  if (impl_->folders.empty()) text += " no folder";
  for (const PluginProblem& problem : impl_->problems) text += concat("\n  refused: ", problem.file, " ", problem.reason);
  return text;
}

template <class Interface>
std::shared_ptr<Interface> Catalogue::create(PluginKind kind, const Json& section, const void* context) const {
  CADDIE_CHECK(section.is_object() && section.contains("use") && section["use"].is_string(), ErrorKind::usage,
               "a section for a ", kind_name(kind), " does not say which: ", section.dump(),
               ", accepted: {\"use\": \"NAME\", ...}");
  const std::string name = section["use"];
  const std::string where = concat(kind_name(kind), " ", name);
  const Component& component = require(kind, name);
  void* instance = nullptr;
  const auto failed = [&where](std::string message, std::string hint = {}) {
    Error error(ErrorKind::failed, std::move(message), std::move(hint));
    error.add_context(where);
    return error;
  };
  try {
    instance = component.create(make_options(section, component), context);
  } catch (Error& error) {
    error.add_context(where);
    throw;
  } catch (const c10::Error& error) {
    throw failed(error.what_without_backtrace());
  } catch (const std::exception& error) {
    throw failed(error.what());
  } catch (...) {
    throw failed("its create function threw something that is not an exception", "Plugins throw caddie::Error.");
  }
  if (!instance) throw failed("its create function returned nothing");
  return std::shared_ptr<Interface>(static_cast<Interface*>(instance), component.destroy);
}

std::shared_ptr<Model> Catalogue::create_model(const Json& section, const ModelContext& context) const {
  return create<Model>(PluginKind::model, section, &context);
}
std::shared_ptr<Optimizer> Catalogue::create_optimizer(const Json& section, const OptimizerContext& context) const {
  return create<Optimizer>(PluginKind::optimizer, section, &context);
}
std::shared_ptr<Quantizer> Catalogue::create_quantizer(const Json& section, const QuantizerContext& context) const {
  return create<Quantizer>(PluginKind::quantizer, section, &context);
}
std::shared_ptr<Compressor> Catalogue::create_compressor(const Json& section, const CompressorContext& context) const {
  return create<Compressor>(PluginKind::compressor, section, &context);
}
std::shared_ptr<TttStrategy> Catalogue::create_ttt(const Json& section, const TttContext& context) const {
  return create<TttStrategy>(PluginKind::ttt, section, &context);
}

}  // namespace caddie
