// All plugins: every one that was built is loaded, describes itself well, takes its own defaults and bounds, and exports
// its entry and its tag, nothing else.
#include <array>
#include <set>
#include <span>
#include <sstream>

#include "core/config/options.h"
#include "core/host/descriptor.h"
#include "core/host/tag.h"
#include "tests/conformance/suite.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::conformance;

namespace {

constexpr PluginKind kKinds[] = {PluginKind::model, PluginKind::optimizer, PluginKind::quantizer, PluginKind::compressor,
                                 PluginKind::ttt};

// Output of a command, which must succeed.
std::string output_of(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe);
  std::string text;
  std::array<char, 4096> buffer;
  while (const std::size_t count = fread(buffer.data(), 1, buffer.size(), pipe)) text.append(buffer.data(), count);
  REQUIRE(pclose(pipe) == 0);
  return text;
}

// Names of the strong symbols that a library exports. Weak ones are inline functions of the libraries' headers.
std::set<std::string> strong_symbols(const std::string& file) {
  std::istringstream lines(output_of("nm -D --defined-only '" + file + "'"));
  std::set<std::string> names;
  // Marks of the section ends that some linkers put into every library; nobody binds to them.
  static const std::set<std::string> kLinkers = {"__bss_start", "_edata", "_end"};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string address, type, name;
    words >> address >> type >> name;
    if (std::string("ABCDGRSTui").find(type) != std::string::npos && type != "u" && type != "i" &&
        !kLinkers.contains(name))
      names.insert(name);
  }
  for (const char* linker : {"__bss_start", "_edata", "_end"}) names.erase(linker);  // some linkers' marks
  return names;
}

bool starts_with_folder(const std::string& file, const std::string& folder) {
  return file.compare(0, folder.size() + 1, folder + "/") == 0;
}

// Whether the build has a plugin of this name.
bool is_built(const std::string& plugin) {
  std::istringstream names(CADDIE_PLUGIN_NAMES);
  for (std::string entry; names >> entry;)
    if (entry.substr(entry.find('/') + 1) == plugin) return true;
  return false;
}

Options options_with(const Component& component, const char* key, const Json& value) {
  Json section = Json::object();
  for (const OptionSpec& spec : std::span(component.options, component.option_count))
    if (!spec.fallback) section[spec.key] = spec.minimum ? Json::parse(spec.minimum) : Json(1);
  section[key] = value;
  return make_options(section, component);
}

}  // namespace

TEST_CASE("every plugin that was built is in the catalogue, and none is refused") {
  for (const PluginProblem& problem : catalogue().problems()) {
    // A build folder may still hold the library of a plugin whose folder is gone.
    const std::string stem = std::filesystem::path(problem.file).stem().string();
    const bool left_over = starts_with_folder(problem.file, CADDIE_PLUGIN_DIR) &&
                           !is_built(stem.substr(std::min<std::size_t>(stem.size(), 10)));
    if (left_over)
      WARN("left over from another build: " << problem.file << " " << problem.reason);
    else
      FAIL_CHECK(problem.file << " " << problem.reason);
  }
  std::istringstream names(CADDIE_PLUGIN_NAMES);
  std::size_t count = 0;
  for (std::string entry; names >> entry; ++count) {
    const std::size_t slash = entry.find('/');
    const PluginKind kind = kind_from_name(entry.substr(0, slash));
    INFO(entry);
    CHECK(catalogue().find(kind, entry.substr(slash + 1)));
  }
  CHECK(count > 0);
}

TEST_CASE("every component describes itself well and takes its own bounds and choices") {
  for (const PluginKind kind : kKinds)
    for (const std::string& name : components(kind)) {
      INFO(kind_name(kind) << " " << name);
      const Component& component = catalogue().require(kind, name);
      CHECK(component_fault(component).empty());
      for (const OptionSpec& spec : std::span(component.options, component.option_count)) {
        INFO("option " << spec.key);
        for (const char* bound : {spec.minimum, spec.maximum}) {
          if (!bound) continue;
          const Json value = spec.type == OptionType::numbers ? Json::array({Json::parse(bound)}) : Json::parse(bound);
          CHECK_NOTHROW(options_with(component, spec.key, value));
        }
        if (spec.maximum && spec.type == OptionType::integer) {
          const auto above = Json::parse(spec.maximum).get<std::int64_t>() + 1;
          CHECK_THROWS_AS(options_with(component, spec.key, above), Error);
        }
        if (spec.choices) CHECK_THROWS_AS(options_with(component, spec.key, "no such choice"), Error);
      }
    }
}

TEST_CASE("every plugin exports its entry and its tag, nothing else") {
  std::set<std::string> files;
  for (const PluginKind kind : kKinds)
    for (const std::string& name : components(kind)) files.insert(catalogue().provenance(kind, name).file);
  for (const std::string& file : files) {
    INFO(file);
    const std::string stem = std::filesystem::path(file).stem().string().substr(3);
    CHECK(strong_symbols(file) == std::set<std::string>{"caddie_plugin_" + stem, read_abi_tag(file)});
  }
}
