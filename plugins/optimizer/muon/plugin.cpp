// Muon, an optimizer of matrices: momentum, orthogonalized by a Newton-Schulz iteration (Jordan et al., 2024).
#include "caddie/plugin.h"
#include "muon.h"

namespace {

using caddie::OptionType;

constexpr caddie::OptionSpec kOptions[] = {
    {"learning_rate", OptionType::number, "0.025", "0", nullptr, nullptr, "Rate, times the schedule's factor"},
    {"momentum", OptionType::number, "0.99", "0", "1", nullptr, "Momentum after its warm-up"},
    {"momentum_start", OptionType::number, "0.92", "0", "1", nullptr, "Momentum at step 0"},
    {"momentum_warmup_steps", OptionType::integer, "1500", "0", nullptr, nullptr,
     "Steps over which the momentum rises linearly"},
    {"nesterov", OptionType::boolean, "true", nullptr, nullptr, nullptr, "Orthogonalize g + momentum m in place of m"},
    {"newton_schulz_steps", OptionType::integer, "5", "1", "50", nullptr, "Iterations"},
    {"newton_schulz_coefficients", OptionType::numbers, "[3.4445, -4.775, 2.0315]", nullptr, nullptr, nullptr,
     "a, b, c of x = a x + (b A + c A^2) x, A = x x^T"},
    {"coefficients", OptionType::text, "\"reference\"", nullptr, nullptr, "reference|polar_express",
     "reference: newton_schulz_coefficients in every step; polar_express: optimal ones of its own for each step"},
    {"newton_schulz_precision", OptionType::text, "\"bfloat16\"", nullptr, nullptr, "bfloat16|float32",
     "bfloat16 rounds every operation's result"},
    {"normalize_rows", OptionType::text, "\"none\"", nullptr, nullptr, "none|momentum|update",
     "momentum: rows divided by their length before the iteration (MuonEq-R); update: by their running size after it (NorMuon)"},
    {"row_beta2", OptionType::number, "0.95", "0", "0.9999999", nullptr, "Decay of the rows' running size, for normalize_rows: update"},
    {"weight_decay", OptionType::number, "0.04", "0", nullptr, nullptr, "Decay per unit of rate, after the update"},
    {"weight_decay_last", OptionType::number, "1", "0", nullptr, nullptr, "Factor of the decay at the end of training"},
    {"weight_decay_taper_from", OptionType::number, "0.7", "0", "0.9999", nullptr,
     "Share of the budget from which the decay goes to that factor, linearly"},
};

}  // namespace

CADDIE_PLUGIN("1.0", caddie::optimizer_component<caddie::Muon>("muon", "Momentum orthogonalized by Newton-Schulz, for matrices",
                                                               1, kOptions))
