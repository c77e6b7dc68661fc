#include "core/config/schemas.h"

namespace caddie {

ComponentSchemas::~ComponentSchemas() = default;

}  // namespace caddie
