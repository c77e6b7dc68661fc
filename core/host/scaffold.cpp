#include "core/host/scaffold.h"

#include <map>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/host/catalogue.h"
#include "core/host/templates.h"

namespace caddie {
namespace {

namespace fs = std::filesystem;
using Values = std::map<std::string, std::string, std::less<>>;

std::string class_name(std::string_view name) {
  std::string out;
  bool upper = true;
  for (const char c : name) {
    if (c == '_') {
      upper = true;
      continue;
    }
    out += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    upper = false;
  }
  return out;
}

// @KEY@ replaced where the key is known; a value may hold placeholders of its own.
std::string filled(std::string_view text, const Values& values) {
  std::string out;
  while (!text.empty()) {
    const std::size_t open = text.find('@');
    out += text.substr(0, open);
    if (open == std::string_view::npos) break;
    text.remove_prefix(open + 1);
    const std::size_t close = text.find('@');
    const auto value = close == std::string_view::npos ? values.end() : values.find(text.substr(0, close));
    if (value == values.end()) {
      out += '@';
      continue;
    }
    out += filled(value->second, values);
    text.remove_prefix(close + 1);
  }
  return out;
}

std::string optimizer_entries(std::string_view use) {
  std::string text;
  for (const char* role : {"matrix", "embedding", "vector"})
    text += concat(text.empty() ? "" : "\n", "  - {match: ", role, ", use: ", use, "}");
  return text;
}

Values values_for(PluginKind kind, std::string_view name) {
  const auto chosen = [&](PluginKind of, const char* otherwise) { return kind == of ? std::string(name) : otherwise; };
  Values values{{"NAME", std::string(name)},
                {"CLASS", class_name(name)},
                {"KIND", std::string(kind_name(kind))},
                {"NO_TORCH", kind == PluginKind::compressor ? " NO_TORCH" : ""},
                {"MODEL", kind == PluginKind::model
                              ? concat("{use: ", name, "}")
                              : "{use: unet_gpt, layers: 2, width: 64, heads: 2, kv_heads: 1, mlp_ratio: 2, xsa_last: 1}"},
                {"OPTIMIZERS", optimizer_entries(chosen(PluginKind::optimizer, "adamw"))},
                {"QUANTIZER", chosen(PluginKind::quantizer, "int6")},
                {"COMPRESSOR", chosen(PluginKind::compressor, "store")},
                {"TTT", chosen(PluginKind::ttt, "none")}};
  for (const TemplateFile& file : template_files())
    if (file.folder == kind_name(kind) && file.name == "about") {
      const std::size_t line = file.text.find('\n');
      values["SUMMARY"] = file.text.substr(0, line);
      values["ABOUT"] = file.text.substr(line + 1, file.text.find_last_not_of('\n') - line);
    }
  return values;
}

void check_name(std::string_view name) {
  const bool good = !name.empty() && name[0] >= 'a' && name[0] <= 'z' &&
                    name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string_view::npos;
  CADDIE_CHECK(good, ErrorKind::usage, "the name '", name,
               "' does not fit, accepted: lower-case letters, digits and _, beginning with a letter");
}

bool in_source_tree() {
  std::error_code ignored;
  return fs::exists("plugins/CMakeLists.txt", ignored) && fs::exists("core/sdk/include/caddie/plugin.h", ignored);
}

}  // namespace

fs::path default_plugin_parent(PluginKind kind) { return in_source_tree() ? fs::path("plugins") / kind_name(kind) : fs::path("."); }

Scaffold write_scaffold(PluginKind kind, std::string_view name, const fs::path& into) {
  check_name(name);
  fs::path folder = fs::absolute(into).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  if (folder.filename() != name) folder /= name;
  std::error_code ignored;
  if (fs::exists(folder, ignored) && !fs::is_empty(folder, ignored))
    throw Error(ErrorKind::usage, concat("the folder ", folder.string(), " is not empty"), "Choose another one with --into.");
  make_directories(folder);
  const Values values = values_for(kind, name);
  Scaffold scaffold{folder, {}, {}};
  for (const TemplateFile& file : template_files()) {
    if ((file.folder != "common" && file.folder != kind_name(kind)) || file.name == "about") continue;
    std::string target(file.name);
    if (target.starts_with("NAME")) target.replace(0, 4, name);
    write_atomic(folder / target, filled(file.text, values));
    scaffold.files.push_back(std::move(target));
  }
  const bool in_tree = folder.parent_path().filename() == kind_name(kind) &&
                       folder.parent_path().parent_path().filename() == "plugins";
  scaffold.next_steps = concat("wrote ", folder.string(), "\n\nnext:\n");
  if (in_tree)
    scaffold.next_steps += concat("  cmake --build build                   builds it with all others\n  caddie plugin info ",
                                  name, "\n  caddie run ", (folder / "example.yaml").string(), "\n");
  else
    scaffold.next_steps += concat("  cd ", folder.string(),
                                  "\n  cmake -S . -B build -DCMAKE_PREFIX_PATH=<where caddie is installed>\n"
                                  "  cmake --build build\n  caddie plugin check build/libcaddie_", name,
                                  ".so\n  caddie run example.yaml --plugin-dir build\n");
  return scaffold;
}

}  // namespace caddie
