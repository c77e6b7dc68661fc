// What a plugin says about itself, checked before anything believes it.
#pragma once

#include <string>
#include <string_view>

#include "caddie/plugin.h"

namespace caddie {

// The first thing that is wrong with a descriptor; empty if it is sound. `plugin` is the file's stem without "caddie_".
// Only the field `size` is read before it is known to be right.
CADDIE_API std::string descriptor_fault(const PluginDescriptor* descriptor, std::string_view plugin);
// The first thing that is wrong with one component: names, functions, option schema (types, defaults, ranges, choices,
// duplicate or reserved keys).
CADDIE_API std::string component_fault(const Component& component);

}  // namespace caddie
