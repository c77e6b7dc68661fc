// Turns a class into a Component: T is constructed from (const Options&, const Context&). Included by the kinds' headers.
#pragma once

#include "caddie/plugin.h"

namespace caddie {

template <class Interface, class T, class Context>
constexpr Component make_component(PluginKind kind, const char* name, const char* summary,
                                   std::uint32_t behaviour_version, const OptionSpec* options,
                                   std::size_t option_count) {
  return Component{kind, name, summary, behaviour_version, options, option_count,
                   [](const Options& values, const void* context) -> void* {
                     // Through the interface: the host casts the pointer back to exactly this type.
                     return static_cast<Interface*>(new T(values, *static_cast<const Context*>(context)));
                   },
                   [](void* instance) noexcept { delete static_cast<Interface*>(instance); }};
}

}  // namespace caddie
