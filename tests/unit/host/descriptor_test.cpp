// Every way in which a component's description can be wrong, by hand-made descriptions.
#include "core/host/descriptor.h"

#include "tests/support/catch.h"

using namespace caddie;

namespace {

void* create(const Options&, const void*) { return nullptr; }
void destroy(void*) noexcept {}

Component sound(PluginKind kind = PluginKind::optimizer) {
  return {kind, "adam", "An optimizer", 1, nullptr, 0, create, destroy};
}

std::string schema_fault(const OptionSpec& spec, PluginKind kind = PluginKind::optimizer) {
  Component component = sound(kind);
  component.options = &spec;
  component.option_count = 1;
  return component_fault(component);
}

constexpr OptionSpec kSound = {"rate", OptionType::number, "0.5", "0", "1", nullptr, "A rate"};

OptionSpec with(OptionType type, const char* fallback, const char* minimum = nullptr, const char* maximum = nullptr,
                const char* choices = nullptr) {
  return {"rate", type, fallback, minimum, maximum, choices, "A rate"};
}

}  // namespace

TEST_CASE("a sound component has no fault") {
  CHECK(component_fault(sound()).empty());
  CHECK(schema_fault(kSound).empty());
  CHECK(schema_fault(with(OptionType::text, "\"a\"", nullptr, nullptr, "a|b")).empty());
  CHECK(schema_fault(with(OptionType::text, "null", nullptr, nullptr, "a|b")).empty());
  CHECK(schema_fault(with(OptionType::numbers, "[0.5, 1]", "0", "1")).empty());
  CHECK(schema_fault(with(OptionType::integer, nullptr, "-3", "3")).empty());
  CHECK(schema_fault(with(OptionType::boolean, "true")).empty());
}

TEST_CASE("names, summaries, versions and functions must be there") {
  Component component = sound();
  component.name = nullptr;
  CHECK(component_fault(component) == "has the name '(null)', accepted: lower_snake");
  component.name = "Adam";
  CHECK(component_fault(component) == "has the name 'Adam', accepted: lower_snake");
  component = sound();
  component.summary = "two\nlines";
  CHECK(component_fault(component) == "has no one-line summary");
  component = sound();
  component.behaviour_version = 0;
  CHECK(component_fault(component) == "has the behaviour version 0, they start at 1");
  component = sound();
  component.create = nullptr;
  CHECK(component_fault(component) == "has no create function");
  component = sound();
  component.destroy = nullptr;
  CHECK(component_fault(component) == "has no destroy function");
  component = sound();
  component.option_count = 1;
  CHECK(component_fault(component) == "has options, but no list of them");
}

TEST_CASE("option schemas must make sense before any value is looked at") {
  CHECK(schema_fault({nullptr, OptionType::number, "1", nullptr, nullptr, nullptr, "x"}) ==
        "has an option named '(null)', accepted: lower_snake");
  CHECK(schema_fault({"use", OptionType::number, "1", nullptr, nullptr, nullptr, "x"}) ==
        "has an option 'use', a key of the framework");
  CHECK(schema_fault({"chunk", OptionType::integer, "1", nullptr, nullptr, nullptr, "x"}, PluginKind::ttt) ==
        "has an option 'chunk', a key of the framework");
  CHECK(schema_fault({"chunk", OptionType::integer, "1", nullptr, nullptr, nullptr, "x"}).empty());
  CHECK(schema_fault({"rate", OptionType::number, "1", nullptr, nullptr, nullptr, nullptr}) ==
        "has an option 'rate' that has no one-line documentation");
  CHECK(schema_fault(with(static_cast<OptionType>(9), "1")) == "has an option 'rate' that has the unknown type 9");
  CHECK(schema_fault(with(OptionType::number, "zero")) ==
        "has an option 'rate' that has the default 'zero', which is not JSON");
  CHECK(schema_fault(with(OptionType::integer, "1.5")) ==
        "has an option 'rate' that has a default that is a number, accepted: integer");
  CHECK(schema_fault(with(OptionType::number, "2", "0", "1")) ==
        "has an option 'rate' that has a default that is 2, accepted: number from 0 to 1");
  CHECK(schema_fault(with(OptionType::numbers, "[0, 2]", "0", "1")) ==
        "has an option 'rate' that has a default that is [0,2], accepted: list of numbers from 0 to 1");
  CHECK(schema_fault(with(OptionType::number, "2", "3", "1")) ==
        "has an option 'rate' that has the minimum 3 above its maximum 1");
  CHECK(schema_fault(with(OptionType::number, "2", "x")) ==
        "has an option 'rate' that has the minimum 'x', which is not a number of its type");
  CHECK(schema_fault(with(OptionType::integer, "2", "0.5")) ==
        "has an option 'rate' that has the minimum '0.5', which is not a number of its type");
  CHECK(schema_fault(with(OptionType::boolean, "true", "0")) ==
        "has an option 'rate' that has a minimum, but its type has no order");
  CHECK(schema_fault(with(OptionType::number, "1", nullptr, nullptr, "1|2")) ==
        "has an option 'rate' that has choices, but is not a text");
  CHECK(schema_fault(with(OptionType::text, "\"a\"", nullptr, nullptr, "a||b")) ==
        "has an option 'rate' that has an empty choice in 'a||b'");
  CHECK(schema_fault(with(OptionType::text, "\"a\"", nullptr, nullptr, "a|b|a")) ==
        "has an option 'rate' that has the choice 'a' twice");
  CHECK(schema_fault(with(OptionType::text, "\"c\"", nullptr, nullptr, "a|b")) ==
        "has an option 'rate' that has a default that is \"c\", accepted: one of a|b");
}

TEST_CASE("an option that is there twice is a fault") {
  const OptionSpec specs[] = {kSound, kSound};
  Component component = sound();
  component.options = specs;
  component.option_count = 2;
  CHECK(component_fault(component) == "has the option 'rate' twice");
}

TEST_CASE("descriptors without components or with too many are refused") {
  const Component component = sound();
  PluginDescriptor descriptor{sizeof(PluginDescriptor), "adam", "1.0", &component, 1};
  CHECK(descriptor_fault(&descriptor, "adam").empty());
  descriptor.component_count = 0;
  CHECK(descriptor_fault(&descriptor, "adam") == "it has no components");
  descriptor.component_count = 1u << 30;
  CHECK(descriptor_fault(&descriptor, "adam") == "it claims 1073741824 components");
  descriptor = {sizeof(PluginDescriptor), "adam", "", &component, 1};
  CHECK(descriptor_fault(&descriptor, "adam") == "its descriptor has no version");
  descriptor = {sizeof(PluginDescriptor), nullptr, "1.0", &component, 1};
  CHECK(descriptor_fault(&descriptor, "adam") == "its descriptor has no name");
}
