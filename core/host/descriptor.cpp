#include "core/host/descriptor.h"

#include <set>
#include <span>

#include "caddie/error.h"
#include "core/config/options.h"
#include "core/host/catalogue.h"

namespace caddie {
namespace {

constexpr std::size_t kManyComponents = 256, kManyOptions = 256;

bool lower_snake(std::string_view name) {
  if (name.empty() || name[0] < 'a' || name[0] > 'z') return false;
  return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string_view::npos;
}

bool one_line(const char* text) {
  return text && *text && std::string_view(text).find('\n') == std::string_view::npos;
}

// Keys that a manifest's section holds beside the component's options.
bool reserved(PluginKind kind, std::string_view key) {
  if (key == "use" || key == "match") return true;
  return kind == PluginKind::ttt && (key == "chunk" || key == "freeze");
}

std::string bound_fault(const OptionSpec& spec, const char* bound, const char* which) {
  if (!bound) return {};
  const bool numeric = spec.type == OptionType::integer || spec.type == OptionType::number ||
                       spec.type == OptionType::numbers;
  if (!numeric) return concat("has a ", which, ", but its type has no order");
  const Json value = Json::parse(bound, nullptr, false);
  if (spec.type == OptionType::integer ? value.is_number_integer() : value.is_number()) return {};
  return concat("has the ", which, " '", bound, "', which is not a number of its type");
}

std::string choices_fault(const OptionSpec& spec) {
  if (!spec.choices) return {};
  if (spec.type != OptionType::text) return "has choices, but is not a text";
  std::set<std::string_view> seen;
  std::string_view rest = spec.choices;
  while (true) {
    const std::string_view choice = rest.substr(0, rest.find('|'));
    if (choice.empty()) return concat("has an empty choice in '", spec.choices, "'");
    if (!seen.insert(choice).second) return concat("has the choice '", choice, "' twice");
    if (choice.size() == rest.size()) return {};
    rest.remove_prefix(choice.size() + 1);
  }
}

std::string option_spec_fault(const OptionSpec& spec) {
  if (static_cast<unsigned>(spec.type) > static_cast<unsigned>(OptionType::numbers))
    return concat("has the unknown type ", static_cast<unsigned>(spec.type));
  if (!one_line(spec.doc)) return "has no one-line documentation";
  for (auto [bound, which] : {std::pair(spec.minimum, "minimum"), std::pair(spec.maximum, "maximum")})
    if (std::string fault = bound_fault(spec, bound, which); !fault.empty()) return fault;
  if (spec.minimum && spec.maximum && Json::parse(spec.minimum) > Json::parse(spec.maximum))
    return concat("has the minimum ", spec.minimum, " above its maximum ", spec.maximum);
  if (std::string fault = choices_fault(spec); !fault.empty()) return fault;
  if (!spec.fallback) return {};
  const Json fallback = Json::parse(spec.fallback, nullptr, false);
  if (fallback.is_discarded()) return concat("has the default '", spec.fallback, "', which is not JSON");
  const std::string fault = option_fault(spec, fallback);
  return fault.empty() ? fault : "has a default that " + fault;
}

std::string options_fault(const Component& component) {
  if (component.option_count > kManyOptions) return concat("claims ", component.option_count, " options");
  if (component.option_count && !component.options) return "has options, but no list of them";
  std::set<std::string_view> keys;
  for (const OptionSpec& spec : std::span(component.options, component.option_count)) {
    if (!spec.key || !lower_snake(spec.key))
      return concat("has an option named '", spec.key ? spec.key : "(null)", "', accepted: lower_snake");
    if (reserved(component.kind, spec.key)) return concat("has an option '", spec.key, "', a key of the framework");
    if (!keys.insert(spec.key).second) return concat("has the option '", spec.key, "' twice");
    if (const std::string fault = option_spec_fault(spec); !fault.empty())
      return concat("has an option '", spec.key, "' that ", fault);
  }
  return {};
}

}  // namespace

std::string component_fault(const Component& component) {
  if (static_cast<unsigned>(component.kind) > static_cast<unsigned>(PluginKind::ttt))
    return concat("has the unknown kind ", static_cast<unsigned>(component.kind),
                  ", this program knows 0 to ", static_cast<unsigned>(PluginKind::ttt));
  if (!component.name || !lower_snake(component.name))
    return concat("has the name '", component.name ? component.name : "(null)", "', accepted: lower_snake");
  if (!one_line(component.summary)) return "has no one-line summary";
  if (component.behaviour_version == 0) return "has the behaviour version 0, they start at 1";
  if (!component.create) return "has no create function";
  if (!component.destroy) return "has no destroy function";
  return options_fault(component);
}

std::string descriptor_fault(const PluginDescriptor* descriptor, std::string_view plugin) {
  if (!descriptor) return "its entry returned no descriptor";
  if (descriptor->size != sizeof(PluginDescriptor))
    return concat("its descriptor has ", descriptor->size, " bytes, this program reads ", sizeof(PluginDescriptor));
  if (!descriptor->name) return "its descriptor has no name";
  if (descriptor->name != plugin)
    return concat("its descriptor says '", descriptor->name, "', its file says '", plugin, "'");
  if (!one_line(descriptor->version)) return "its descriptor has no version";
  if (descriptor->component_count == 0 || !descriptor->components) return "it has no components";
  if (descriptor->component_count > kManyComponents)
    return concat("it claims ", descriptor->component_count, " components");
  std::set<std::pair<PluginKind, std::string_view>> seen;
  std::size_t index = 0;
  for (const Component& component : std::span(descriptor->components, descriptor->component_count)) {
    if (const std::string fault = component_fault(component); !fault.empty()) {
      const bool named = component.name && lower_snake(component.name);
      return concat("its component ", named ? concat("'", component.name, "'") : std::to_string(index), " ", fault);
    }
    if (!seen.emplace(component.kind, component.name).second)
      return concat("it has the ", kind_name(component.kind), " '", component.name, "' twice");
    ++index;
  }
  return {};
}

}  // namespace caddie
