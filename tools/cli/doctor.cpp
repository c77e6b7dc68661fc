// caddie doctor: what this machine offers and what is missing. caddie version.
#include <cstdio>
#include <memory>

#include "core/base/environment.h"
#include "core/base/json.h"
#include "tools/cli/command.h"

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

}  // namespace

void add_doctor_commands(Command& root) {
  auto doctor = root.add("doctor", "What this machine offers, and what is missing");
  doctor.run([](const Globals& globals) {
    const Json facts = environment_facts();
    print_result(globals, canonical(facts), text_of(facts));
    return 0;
  });
}

}  // namespace caddie::cli
