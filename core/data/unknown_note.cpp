#include "core/data/unknown_note.h"

#include <cstdint>
#include <cstdio>

#include "caddie/error.h"

namespace caddie::data {

std::string unknown_note(const Json& identity) {
  const Json part = identity.is_object() ? identity.value("validation", Json::object()) : Json::object();
  const auto tokens = part.value("unknown_tokens", std::int64_t{0});
  if (tokens == 0) return {};
  char share[32];
  std::snprintf(share, sizeof share, "%.2f %%", 100 * part.value("unknown_share", 0.0));
  std::string text = concat(share, " of the validation tokens are unknown pieces: they are scored and count 0 bytes");
  const Json whole = part.value("text_bytes", Json());
  if (whole.is_number())
    text += concat("; ", whole.get<std::int64_t>() - part.at("bytes").get<std::int64_t>(), " of ",
                   whole.get<std::int64_t>(), " bytes of the text are left out so");
  return text;
}

}  // namespace caddie::data
