// What every score over text with unknown pieces has to say. Looks at a data identity only, not at data.
#pragma once

#include <string>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::data {

// Of a data identity: "5.1 % of the validation tokens are unknown pieces ...", or nothing. Belongs to every score.
CADDIE_API std::string unknown_note(const Json& identity);

}  // namespace caddie::data
