// Single operations: rope, rope_bfloat16, fake_quant, newton_schulz, embedding_init.
#include "caddie/ops.h"
#include "core/parity/kinds.h"
#include "core/parity/setup.h"

namespace caddie::parity {

void check_rope(CheckRun& run) {
  const auto [cos, sin] = ops::rope_tables(run.setting<std::int64_t>("length"), run.setting<std::int64_t>("head"),
                                           run.setting<double>("base"));
  run.give("cos", cos);
  run.give("sin", sin);
  // The bundle has heads before positions, the op after them.
  run.give("rotated",
           ops::rope(run.input("values").transpose(1, 2).contiguous(), cos, sin).transpose(1, 2).contiguous());
}

void check_rope_bfloat16(CheckRun& run) {
  const auto [cos, sin] = ops::rope_tables(run.setting<std::int64_t>("length"), run.setting<std::int64_t>("head"),
                                           run.setting<double>("base"), ops::RopeTables::bf16_eager);
  run.give("cos", cos);
  run.give("sin", sin);
}

void check_fake_quant(CheckRun& run) {
  for (const int bits : run.setting<std::vector<int>>("bits"))
    run.give("bits_" + std::to_string(bits), ops::fake_quantize_rows(run.input("weight"), bits));
}

void check_newton_schulz(CheckRun& run) {
  const auto steps = run.setting<int>("steps");
  const auto coefficients = run.setting<std::vector<double>>("coefficients");
  CADDIE_CHECK(coefficients.size() == 3, ErrorKind::data, "newton_schulz needs three coefficients");
  for (const auto& [name, key] : run.spec().inputs)
    for (const bool bfloat16 : {false, true})
      run.give((bfloat16 ? "bfloat16/" : "float32/") + name,
               ops::newton_schulz(run.input(name), steps, coefficients[0], coefficients[1], coefficients[2], bfloat16,
                                  run.settings().value("epsilon", ops::kNewtonSchulzEpsilon)));
}

void check_embedding_init(CheckRun& run) {
  const double power = run.settings().value("power", 0.5);
  for (const auto& [name, key] : run.spec().inputs)
    if (name.starts_with("raw_")) run.give("result_" + name.substr(4), ops::power_law_spectrum(run.input(name), power));
}

}  // namespace caddie::parity
