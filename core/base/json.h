// JSON by nlohmann. Keys are sorted, so that equal content gives equal text: what is hashed is always canonical().
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace caddie {

using Json = nlohmann::json;

// Compact text with sorted keys and the shortest decimal form of numbers that reads back exactly.
inline std::string canonical(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace caddie
