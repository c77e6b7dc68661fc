// caddie data pull, a sub-command of cli/data.cpp's.
#pragma once

#include "tools/cli/command.h"

namespace caddie::cli {

void add_pull(Command& group);

}  // namespace caddie::cli
