#include "adamw.h"

CADDIE_PLUGIN("1.0", caddie::ttt_component<ttt_adamw::AdamW>(
                         "adamw", "AdamW over each scored chunk, with a factor of the rate for each parameter", 1,
                         ttt_adamw::kOptions))
