// What the rest of the program knows about components without knowing plugins: their descriptors by kind and name.
// The host's catalogue is the real one; tests make small ones by hand.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "caddie/plugin.h"

namespace caddie {

class CADDIE_API ComponentSchemas {
 public:
  virtual ~ComponentSchemas();
  virtual const Component* find(PluginKind kind, std::string_view name) const = 0;  // null: unknown
  virtual std::vector<std::string> names(PluginKind kind) const = 0;                // sorted
  // Where was looked and what was refused there, for the error about an unknown name; may be empty.
  virtual std::string searched() const;
};

}  // namespace caddie
