// What each kind of check computes. All of it goes through the functions that a run uses; the checks only bring inputs
// into shape. A check that had formulas of its own would go on passing when the program is broken.
#pragma once

namespace caddie::parity {

class CheckRun;

// check_data.cpp
void check_byte_table(CheckRun& run);
void check_encode(CheckRun& run);
void check_loader(CheckRun& run);
void check_shards(CheckRun& run);
void check_byte_shuffle(CheckRun& run);
// check_ops.cpp
void check_rope(CheckRun& run);
void check_rope_bfloat16(CheckRun& run);
void check_fake_quant(CheckRun& run);
void check_newton_schulz(CheckRun& run);
void check_embedding_init(CheckRun& run);
// check_model.cpp
void check_forward(CheckRun& run);
void check_gradients(CheckRun& run);
void check_greedy(CheckRun& run);
// check_optimizers.cpp
void check_muon(CheckRun& run);
void check_adamw(CheckRun& run);
void check_momentum(CheckRun& run);
// check_training.cpp
void check_train(CheckRun& run);
void check_average(CheckRun& run);
void check_schedule(CheckRun& run);
void check_schedule_by_steps(CheckRun& run);
// check_scores.cpp
void check_eval_flat(CheckRun& run);
void check_eval_sliding(CheckRun& run);
void check_windows(CheckRun& run);
void check_ttt(CheckRun& run);
// check_quantize.cpp
void check_hessian(CheckRun& run);
void check_gptq(CheckRun& run);
void check_model_hessians(CheckRun& run);
void check_export(CheckRun& run);
void check_gptq_model(CheckRun& run);
// check_pipeline.cpp
void check_pipeline(CheckRun& run);

}  // namespace caddie::parity
