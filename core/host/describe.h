// The catalogue as JSON and as text, without creating any component.
#pragma once

#include <string>
#include <string_view>

#include "core/base/json.h"
#include "core/host/catalogue.h"

namespace caddie {

// {"components": [{"kind", "name", "summary", "plugin", "version", "behaviour_version", "file"}], "refused": [{"file",
// "reason", "hint"}], "folders": [...]}
CADDIE_API Json list_components(const Catalogue& catalogue);
CADDIE_API std::string list_as_text(const Json& listed);

// `name` is a component's name, or KIND/NAME: {"kind", "name", "summary", "options": [{"key", "type", "default",
// "required", "minimum", "maximum", "choices", "accepts", "doc"}], "provenance": {...}}. A name that several kinds have
// is an Error(usage).
CADDIE_API Json describe_component(const Catalogue& catalogue, std::string_view name);
CADDIE_API std::string description_as_text(const Json& described);

}  // namespace caddie
