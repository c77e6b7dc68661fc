#include "core/config/schemas.h"

namespace caddie {

ComponentSchemas::~ComponentSchemas() = default;
std::string ComponentSchemas::searched() const { return {}; }

}  // namespace caddie
