#include "sgd.h"

CADDIE_PLUGIN("1.0", caddie::ttt_component<caddie_sgd::Sgd>(
                         "sgd", "SGD with momentum over each scored chunk, rate falling over the chunks", 1,
                         caddie_sgd::kOptions))
