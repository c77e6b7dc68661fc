// caddie parity: the program's numbers against a golden bundle's, check by check.
#include <ATen/Parallel.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "caddie/services.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "core/host/catalogue.h"
#include "core/parity/parity.h"
#include "tools/cli/command.h"

namespace caddie::cli {
namespace {

struct Values {
  std::string folder, tokenizers;
  std::vector<std::string> only;
};

// Warnings of plugins belong to the checks that provoke them; they are shown with --verbose.
class CheckServices final : public Services {
 public:
  void log(LogLevel, std::string_view text) override { log::debug(text); }
  bool cancelled() const override { return interrupted(); }
  int threads() const override { return at::get_num_threads(); }
};

// "--only a,b --only c" -> a, b, c
std::vector<std::string> split(const std::vector<std::string>& lists) {
  std::vector<std::string> names;
  for (const std::string& list : lists)
    for (std::size_t begin = 0; begin <= list.size();) {
      const std::size_t end = std::min(list.find(',', begin), list.size());
      if (end > begin) names.push_back(list.substr(begin, end - begin));
      begin = end + 1;
    }
  return names;
}

void print_line(const parity::CheckResult& result) {
  const char* style = result.status == parity::Status::passed   ? "32"
                      : result.status == parity::Status::failed ? "31;1"
                                                                : "33";
  const std::string line = parity::text_of(result);
  const std::size_t word = 11;
  std::printf("%s%s\n", log::styled(line.substr(0, word), style).c_str(), line.substr(word).c_str());
  std::fflush(stdout);
}

int run(const Values& values, const Globals& globals) {
  const std::filesystem::path folder(values.folder);
  const std::filesystem::path tokenizers = values.tokenizers.empty() ? folder / ".." / ".." / "data" / "tokenizers"
                                                                     : std::filesystem::path(values.tokenizers);
  const parity::Bundle bundle(folder, tokenizers);
  const Catalogue catalogue(Catalogue::search_folders(globals.plugin_dirs));
  CheckServices services;
  const auto report =
      parity::run_checks(bundle, catalogue, services, split(values.only), [&](const parity::CheckResult& result) {
        if (!globals.json) print_line(result);
      });
  const std::string summary = concat("\n", report.bundle, ": ", report.count(parity::Status::passed), " passed, ",
                                     report.count(parity::Status::failed), " failed, ",
                                     report.count(parity::Status::not_covered), " not covered\n");
  print_result(globals, canonical(report.to_json()), summary);
  return report.passed() ? 0 : 1;
}

}  // namespace

void add_parity_command(Command& root) {
  const auto values = std::make_shared<Values>();
  auto parity =
      root.add("parity", "Check this build against a golden bundle, value by value",
               "Each line says the largest error over its tolerance: at most 1 passes. Exit code 1 if a check\n"
               "fails or is not covered, 6 if the bundle is incomplete.\n"
               "Example: caddie parity tests/golden/mini --only forward,train");
  parity.argument("DIR", values->folder, "folder of the bundle");
  parity.option("--tokenizers", values->tokenizers, "folder of shared tokenizers (default: DIR/../../data/tokenizers)");
  parity.option("--only", values->only, "kinds or ids of checks, separated by commas");
  parity.run([values](const Globals& globals) { return run(*values, globals); });
}

}  // namespace caddie::cli
