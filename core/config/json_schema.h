// The JSON Schema (draft 2020-12) of manifests and sweeps, made from the core's table and the plugins' option schemas,
// for editors. It is looser than load_manifest(): cross checks and selectors cannot be said in it.
#pragma once

#include "caddie/export.h"
#include "core/base/json.h"
#include "core/config/schemas.h"

namespace caddie {

CADDIE_API Json manifest_json_schema(const ComponentSchemas& schemas);

}  // namespace caddie
