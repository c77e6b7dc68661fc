// caddie doctor: what this machine offers and what is missing. Looks only; nothing is installed, pulled or made.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <sstream>

#include "caddie/error.h"
#include "core/base/environment.h"
#include "core/comm/nccl.h"
#include "core/config/manifest.h"
#include "core/data/source.h"
#include "core/host/catalogue.h"
#include "tools/cli/session.h"

namespace caddie::cli {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kColumn = 24;

std::string rows_of(const Json& facts) {
  std::string text;
  for (const auto& [key, value] : facts.items())
    text += concat("  ", key, std::string(kColumn - std::min(kColumn - 1, key.size()), ' '),
                   value.is_string() ? value.get<std::string>() : value.dump(), "\n");
  return text;
}

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');)
    if (::access((fs::path(folder) / program).c_str(), X_OK) == 0) return true;
  return false;
}

struct Findings {
  Json data = Json::object();     // manifest -> what was found
  Json missing = Json::array();   // {"what", "hint"}
  int exit_code = 0;
  void add(const std::string& what, const std::string& hint = {}) {
    missing.push_back({{"what", what}, {"hint", hint}});
  }
};

// What some commands want and others do without.
void look_at_machine(const Json& environment, const Catalogue& catalogue, Findings& findings) {
  if (environment.at("gpus") == 0)
    findings.add(environment.at("cuda") == true ? "a GPU: none is visible" : "a GPU: this LibTorch has no CUDA",
                 "Everything runs on the CPU then; the reference at its real size is too much for one.");
  if (environment.at("cuda") == true && environment.at("nccl") == false)
    findings.add("NCCL: this build has none, ranks with a GPU each would share everything through the host's memory",
                 "Configure with CADDIE_NCCL=ON: it says which headers are missing.");
  for (const auto& [program, use] : {std::pair{"cmake", "building plugins (caddie plugin new)"},
                                     std::pair{"ninja", "building plugins (caddie plugin new)"},
                                     std::pair{"g++", "building plugins (caddie plugin new)"},
                                     std::pair{"git", "writing down which commit a run is of"}})
    if (!in_path(program)) findings.add(concat("the program ", program, ", for ", use), concat("apt-get install ", std::string(program) == "ninja" ? "ninja-build" : program));
  for (const PluginProblem& problem : catalogue.problems())
    findings.add(concat("the plugin ", problem.file, ": ", problem.reason), problem.hint);
}

// Whether the data of manifests is on this machine; without any, of those in experiments/. What was asked for by name
// and is not there decides the exit code.
void look_at_data(const std::vector<std::string>& asked, const Catalogue& catalogue, Findings& findings) {
  std::vector<std::string> manifests = asked;
  std::error_code code;
  if (manifests.empty())
    for (const auto& entry : fs::directory_iterator("experiments", code))
      if (entry.path().extension() == ".yaml") manifests.push_back(entry.path().string());
  std::sort(manifests.begin(), manifests.end());
  for (const std::string& manifest : manifests) {
    try {
      const Json section = load_manifest(manifest, {}, catalogue).resolved.at("data");
      const std::string missing = data::missing_data(data::DataSettings::from_json(section));
      findings.data[manifest] = missing.empty() ? "its data is here" : "missing: " + missing;
      if (missing.empty()) continue;
      findings.add(concat("data of ", manifest, ": ", missing));
      if (!asked.empty() && findings.exit_code == 0) findings.exit_code = 6;
    } catch (const Error& error) {
      findings.data[manifest] = "cannot be read: " + error.message();
      findings.add(concat("a manifest that can be read: ", manifest), concat("caddie config check ", manifest));
      if (!asked.empty()) findings.exit_code = 2;
    }
  }
}

std::string text_of(const Json& environment, const Findings& findings) {
  std::string text = "This machine\n" + rows_of(environment);
  if (!findings.data.empty()) {
    text += "\nData\n";
    for (const auto& [manifest, found] : findings.data.items())
      text += concat("  ", manifest, ": ", found == "its data is here" ? "here" : "not here, see below", "\n");
  }
  text += findings.missing.empty() ? "\nNothing is missing.\n" : "\nMissing\n";
  for (const Json& one : findings.missing) {
    text += "  " + one.at("what").get<std::string>() + "\n";
    if (const auto hint = one.at("hint").get<std::string>(); !hint.empty()) text += "    " + hint + "\n";
  }
  return text;
}

}  // namespace

void add_doctor_commands(Command& root) {
  const auto manifests = std::make_shared<std::vector<std::string>>();
  auto doctor = root.add("doctor", "What this machine offers, and what is missing",
                         "Without a manifest the exit code is 0 whatever is missing. With manifests it is 6 if data of one of\n"
                         "them is not here, and 2 if one cannot be read.\n\n"
                         "Examples:\n  caddie doctor\n  caddie doctor experiments/reference.yaml");
  doctor.arguments("MANIFEST", *manifests, "manifests whose data is looked for; without any, those in experiments/");
  doctor.run([manifests](const Globals& globals) {
    const auto catalogue = make_catalogue(globals);
    catalogue->probe();
    Json environment = environment_facts();
    if (environment.at("cuda") == true) environment["nccl"] = nccl_available();
    Findings findings;
    look_at_machine(environment, *catalogue, findings);
    look_at_data(*manifests, *catalogue, findings);
    Json facts = environment;
    facts["data"] = findings.data;
    facts["missing"] = findings.missing;
    print_result(globals, canonical(facts), text_of(environment, findings));
    return findings.exit_code;
  });
}

}  // namespace caddie::cli
