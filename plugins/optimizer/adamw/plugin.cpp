// AdamW, Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
#include "adamw.h"
#include "caddie/plugin.h"

namespace {

using caddie::OptionType;

constexpr caddie::OptionSpec kOptions[] = {
    {"learning_rate", OptionType::number, "0.025", "0", nullptr, nullptr, "Rate, times the schedule's factor"},
    {"beta1", OptionType::number, "0.9", "0", "0.9999999", nullptr, "Decay of the first moment"},
    {"beta2", OptionType::number, "0.95", "0", "0.9999999", nullptr, "Decay of the second moment"},
    {"epsilon", OptionType::number, "1e-8", "0", nullptr, nullptr, "Added after the square root"},
    {"weight_decay", OptionType::number, "0.04", "0", nullptr, nullptr, "Decay per unit of rate, before the update"},
    {"weight_decay_last", OptionType::number, "1", "0", nullptr, nullptr, "Factor of the decay at the end of training"},
    {"weight_decay_taper_from", OptionType::number, "0.7", "0", "0.9999", nullptr,
     "Share of the budget from which the decay goes to that factor, linearly"},
    {"state_precision", OptionType::text, "\"float32\"", nullptr, nullptr, "float32|bfloat16",
     "bfloat16: parameters, gradients and moments rest in bfloat16, the arithmetic stays float32"},
};

}  // namespace

CADDIE_PLUGIN("1.0", caddie::optimizer_component<caddie::AdamW>("adamw", "Adam with decoupled weight decay", 1, kOptions))
