// SGD with momentum, for any parameters.
#include "caddie/plugin.h"

#include "sgd.h"

namespace {

using caddie::OptionType;

constexpr caddie::OptionSpec kOptions[] = {
    {"learning_rate", OptionType::number, "0.1", "0", nullptr, nullptr, "Rate, times the schedule's factor"},
    {"momentum", OptionType::number, "0.9", "0", "0.9999999", nullptr,
     "Share of the velocity that stays; 0: plain descent"},
    {"nesterov", OptionType::boolean, "true", nullptr, nullptr, nullptr, "Step along g + momentum v in place of v"},
    {"weight_decay", OptionType::number, "0", "0", nullptr, nullptr, "Decay per unit of rate, before the update"},
    {"weight_decay_last", OptionType::number, "1", "0", nullptr, nullptr, "Factor of the decay at the end of training"},
    {"weight_decay_taper_from", OptionType::number, "0.7", "0", "0.9999", nullptr,
     "Share of the budget from which the decay goes to that factor, linearly"},
};

}  // namespace

CADDIE_PLUGIN("1.0", caddie::optimizer_component<caddie::MomentumDescent>("sgd", "Gradient descent with momentum", 1,
                                                                          kOptions))
