// caddie doctor: what this machine offers and what is missing. caddie version.
#include <algorithm>
#include <filesystem>
#include <memory>

#include "caddie/error.h"
#include "core/base/environment.h"
#include "core/config/manifest.h"
#include "core/data/source.h"
#include "tools/cli/session.h"

namespace caddie::cli {
namespace {

std::string text_of(const Json& facts) {
  std::string text;
  for (const auto& [key, value] : facts.items()) {
    std::string name = key;
    name.resize(std::max<std::size_t>(name.size(), 22), ' ');
    text += name + " " + (value.is_string() ? value.get<std::string>() : value.dump()) + "\n";
  }
  return text;
}

// Whether the data of manifests is on this machine; without any, of those in experiments/.
Json data_facts(const Globals& globals, std::vector<std::string> manifests) {
  std::error_code code;
  if (manifests.empty())
    for (const auto& entry : std::filesystem::directory_iterator("experiments", code))
      if (entry.path().extension() == ".yaml") manifests.push_back(entry.path().string());
  std::sort(manifests.begin(), manifests.end());
  Json facts = Json::object();
  const auto catalogue = make_catalogue(globals);
  for (const std::string& manifest : manifests) {
    try {
      const Json section = load_manifest(manifest, {}, *catalogue).resolved.at("data");
      const std::string missing = data::missing_data(data::DataSettings::from_json(section));
      facts[manifest] = missing.empty() ? "its data is here" : "missing: " + missing;
    } catch (const Error& error) {
      facts[manifest] = "cannot be read: " + error.message();
    }
  }
  return facts;
}

}  // namespace

void add_doctor_commands(Command& root) {
  const auto manifests = std::make_shared<std::vector<std::string>>();
  auto doctor = root.add("doctor", "What this machine offers, and what is missing",
                         "Examples:\n  caddie doctor\n  caddie doctor experiments/reference.yaml");
  doctor.arguments("MANIFEST", *manifests, "manifests whose data is looked for; without any, those in experiments/");
  doctor.run([manifests](const Globals& globals) {
    const Json environment = environment_facts(), data = data_facts(globals, *manifests);
    Json facts = environment;
    facts["data"] = data;
    print_result(globals, canonical(facts), text_of(environment) + (data.empty() ? "" : "\ndata\n" + text_of(data)));
    return 0;
  });
}

}  // namespace caddie::cli
