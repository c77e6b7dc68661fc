#include "lora.h"

CADDIE_PLUGIN("1.0", caddie::ttt_component<lora::Lora>(
                         "lora", "Low-rank adapters that learn from each scored chunk, kept or reset between documents", 1,
                         lora::kOptions))
