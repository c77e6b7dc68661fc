// Values of a component's options: one judgement of a value against its OptionSpec, and JSON to caddie::Options.
// Where a wrong value stands in a file is config's business, not this file's.
#pragma once

#include <string>

#include "caddie/options.h"
#include "caddie/plugin.h"
#include "core/base/json.h"

namespace caddie {

// What is wrong with `value` for `spec`: "is 1.5, accepted: 0 to 1", "is a text, accepted: integer"; empty if nothing.
CADDIE_API std::string option_fault(const OptionSpec& spec, const Json& value);
// The default as JSON; null for an option that must be given. The schema is taken to be well-formed (core/host checks).
CADDIE_API Json option_default(const OptionSpec& spec);
// "integer", "one of a|b", "number from 0 to 1", "list of numbers": what is accepted, for tables and messages.
CADDIE_API std::string option_accepts(const OptionSpec& spec);

// The options of `component` out of a manifest section, defaults filled in. Keys that the schema lacks are passed over.
// Throws Error(usage) for a value that does not fit and for a required one that is missing.
CADDIE_API Options make_options(const Json& section, const Component& component);

}  // namespace caddie
