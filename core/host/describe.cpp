#include "core/host/describe.h"

#include <algorithm>
#include <span>

#include "caddie/error.h"
#include "core/base/suggest.h"
#include "core/config/options.h"

namespace caddie {
namespace {

constexpr std::size_t kWidth = 100;
constexpr PluginKind kKinds[] = {PluginKind::model, PluginKind::optimizer, PluginKind::quantizer, PluginKind::compressor,
                                 PluginKind::ttt};
constexpr const char* kTypes[] = {"boolean", "integer", "number", "text", "numbers"};

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

// `text` broken at spaces, every line but the first indented.
std::string wrapped(const std::string& text, std::size_t indent) {
  std::string out, line;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (!line.empty() && indent + line.size() + 1 + word.size() > kWidth) {
      out += line + "\n" + std::string(indent, ' ');
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
    at = end + 1;
  }
  return out + line;
}

// The columns padded to their longest cell, the last one wrapped.
std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i + 1 < row.size(); ++i) line += padded(row[i], widths[i] + 2);
    text += line + wrapped(row.back(), line.size()) + "\n";
  }
  return text;
}

Json bound(const char* text) { return text ? Json::parse(text) : Json(); }

Json describe_option(const OptionSpec& spec) {
  Json choices = Json::array();
  if (spec.choices)
    for (std::string_view rest = spec.choices;;) {
      const std::size_t bar = rest.find('|');
      choices.push_back(rest.substr(0, bar));
      if (bar == std::string_view::npos) break;
      rest.remove_prefix(bar + 1);
    }
  return Json{{"key", spec.key},
              {"type", kTypes[static_cast<int>(spec.type)]},
              {"required", spec.fallback == nullptr},
              {"default", option_default(spec)},
              {"minimum", bound(spec.minimum)},
              {"maximum", bound(spec.maximum)},
              {"choices", choices},
              {"accepts", option_accepts(spec)},
              {"doc", spec.doc}};
}

PluginKind only_kind(const Catalogue& catalogue, std::string_view name) {
  const std::vector<PluginKind> kinds = catalogue.kinds_of(name);
  if (kinds.size() == 1) return kinds.front();
  if (kinds.size() > 1) {
    std::string list;
    for (PluginKind kind : kinds) list += concat(list.empty() ? "" : ", ", kind_name(kind), "/", name);
    throw Error(ErrorKind::usage, concat("'", name, "' is the name of ", kinds.size(), " components"), "Say which: " + list);
  }
  std::vector<std::string> all;
  for (PluginKind kind : kKinds)
    for (std::string& each : catalogue.names(kind)) all.push_back(std::move(each));
  const std::string guess = closest(name, all);
  throw Error(ErrorKind::usage,
              concat("no plugin has a component '", name, "'", guess.empty() ? "" : ", did you mean '" + guess + "'?"),
              "caddie plugin list shows all\n  " + catalogue.searched());
}

}  // namespace

Json list_components(const Catalogue& catalogue) {
  Json components = Json::array(), refused = Json::array(), folders = Json::array();
  const auto problems = catalogue.problems();
  for (PluginKind kind : kKinds)
    for (const std::string& name : catalogue.names(kind)) {
      Json entry{{"kind", kind_name(kind)}, {"name", name}};
      try {
        const Provenance from = catalogue.provenance(kind, name);
        entry["summary"] = catalogue.require(kind, name).summary;
        entry["plugin"] = from.plugin;
        entry["version"] = from.version;
        entry["behaviour_version"] = from.behaviour_version;
        entry["file"] = from.file;
      } catch (const Error& error) {  // two plugins have it
        entry["error"] = error.message();
      }
      components.push_back(std::move(entry));
    }
  for (const PluginProblem& problem : problems)
    refused.push_back({{"file", problem.file}, {"reason", problem.reason}, {"hint", problem.hint}});
  for (const auto& folder : catalogue.folders()) folders.push_back(folder.string());
  return Json{{"components", components}, {"refused", refused}, {"folders", folders}};
}

std::string list_as_text(const Json& listed) {
  std::vector<std::vector<std::string>> rows{{"KIND", "NAME", "VERSION", "SUMMARY"}};
  std::string folders;
  std::vector<std::string> seen;
  for (const Json& entry : listed.at("components")) {
    if (entry.contains("error")) {
      rows.push_back({entry.at("kind"), entry.at("name"), "-", "unusable: " + entry.at("error").get<std::string>()});
      continue;
    }
    rows.push_back({entry.at("kind"), entry.at("name"), entry.at("version"), entry.at("summary")});
    const std::string file = entry.at("file");
    if (std::find(seen.begin(), seen.end(), file) == seen.end()) seen.push_back(file);
  }
  std::string text = rows.size() == 1 ? "no plugins\n" : table(rows);
  text += "\nfiles:\n";
  for (const std::string& file : seen) text += "  " + file + "\n";
  if (!listed.at("refused").empty())
    text += concat(listed.at("refused").size(), " refused; caddie plugin check FILE says more\n");
  return text;
}

Json describe_component(const Catalogue& catalogue, std::string_view name) {
  const std::size_t slash = name.find('/');
  const std::string_view own = slash == std::string_view::npos ? name : name.substr(slash + 1);
  const PluginKind kind =
      slash == std::string_view::npos ? only_kind(catalogue, name) : kind_from_name(name.substr(0, slash));
  const Component& component = catalogue.require(kind, own);
  Json options = Json::array();
  for (const OptionSpec& spec : std::span(component.options, component.option_count))
    options.push_back(describe_option(spec));
  return Json{{"kind", kind_name(kind)},
              {"name", component.name},
              {"summary", component.summary},
              {"options", options},
              {"provenance", to_json(catalogue.provenance(kind, own))}};
}

std::string description_as_text(const Json& described) {
  std::string text = concat(described.at("kind").get<std::string>(), " ", described.at("name").get<std::string>(), ": ",
                            described.at("summary").get<std::string>(), "\n\n");
  std::vector<std::vector<std::string>> rows{{"OPTION", "DEFAULT", "ACCEPTS", "MEANING"}};
  for (const Json& option : described.at("options"))
    rows.push_back({option.at("key"), option.at("required") ? "(required)" : option.at("default").dump(),
                    option.at("accepts"), option.at("doc")});
  text += rows.size() == 1 ? "no options\n" : table(rows);
  const Json& from = described.at("provenance");
  text += concat("\nplugin     ", from.at("plugin").get<std::string>(), " ", from.at("version").get<std::string>(),
                 ", behaviour version ", from.at("behaviour_version").dump(), "\nfile       ",
                 from.at("file").get<std::string>(), "\nsha-256    ", from.at("sha256").get<std::string>(), "\nabi        ");
  std::string abi;  // one field a word, so that it wraps
  abi = from.at("abi").get<std::string>();
  for (std::size_t at = 0; (at = abi.find("__", at)) != std::string::npos; at += 1) abi.replace(at, 2, " ");
  return text + wrapped(abi, 11) + "\n";
}

}  // namespace caddie
