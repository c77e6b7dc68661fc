#include "core/base/batch_source.h"

namespace caddie {
BatchSource::~BatchSource() = default;
}  // namespace caddie
