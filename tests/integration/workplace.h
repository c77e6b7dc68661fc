// Folders of a test's own for runs and cache, and the tiny manifest in them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "tests/support/process.h"

namespace caddie::test {

inline const std::string kTiny = CADDIE_SOURCE_DIR "/tests/integration/tiny.yaml";

class Workplace {
 public:
  std::filesystem::path runs() const { return scratch_.path() / "runs"; }
  std::filesystem::path cache() const { return scratch_.path() / "cache"; }
  const std::filesystem::path& path() const { return scratch_.path(); }

  // caddie COMMAND ... with this place's folders and --json.
  std::vector<std::string> command(std::vector<std::string> arguments) const {
    for (const std::string& more : {std::string("--runs"), runs().string(), std::string("--cache"), cache().string(),
                                    std::string("--json")})
      arguments.push_back(more);
    return caddie_command(arguments);
  }
  Outcome caddie(const std::vector<std::string>& arguments, Process::Setup setup = {}) const {
    // Slots of its own: a sweep that somebody runs on this machine is none of the test's business.
    setup.environment.push_back("CADDIE_SLOTS=" + (path() / "slots").string());
    return Process(command(arguments), setup).wait(300);
  }
  Outcome run(const std::vector<std::string>& overrides = {}) const {
    std::vector<std::string> arguments = {"run", kTiny};
    arguments.insert(arguments.end(), overrides.begin(), overrides.end());
    return caddie(arguments);
  }
  std::size_t run_count() const {
    std::error_code code;
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& item : std::filesystem::directory_iterator(runs(), code)) ++count;
    return count;
  }

 private:
  Scratch scratch_;
};

// The last line of the output.
inline Json result_of(const Outcome& outcome) {
  std::string text = outcome.out;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const auto start = text.rfind('\n');
  return Json::parse(start == std::string::npos ? text : text.substr(start + 1));
}

// {"train": true, ...}: which stages came from the cache.
inline Json cached(const Json& result) {
  Json map = Json::object();
  for (const Json& stage : result.at("stages")) map[stage.at("stage").get<std::string>()] = stage.at("cached");
  return map;
}

}  // namespace caddie::test
