// The stages. Each reads files, writes files into the cache, and returns small results; what it depends on is its key.
// The same functions serve `run`, `plan` (keys only) and `eval`.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/artifact/quantized_model.h"
#include "core/data/source.h"
#include "core/eval/score.h"
#include "core/pipeline/cache.h"
#include "core/pipeline/run_folder.h"
#include "core/pipeline/session.h"

namespace caddie::pipeline {

// data, train, quantize, compress, evaluate, ttt: in this order.
CADDIE_API const std::vector<std::string>& stage_names();

// The manifest's evaluate section; with `evaluate: null` one that asks for no score, for what ttt takes from it.
CADDIE_API Json evaluate_section(const Session& session);

// Keys. `data` is the identity out of the data stage.
StageKey data_stage_key(const Session& session);
StageKey train_stage_key(const Session& session, const Json& data_identity);
StageKey quantize_stage_key(const Session& session, const Json& data_identity, const std::string& weights_hash);
StageKey compress_stage_key(const Session& session, const std::string& codes_hash, const Json& data_identity);
// The evaluate stage has an entry of its own for each score, so that a change behind the training keeps those before it.
struct ScoreMode {
  const char* metric;   // "last_step_bpb", "val_bpb", "roundtrip_bpb", "sliding_bpb"
  const char* weights;  // file of the train stage ("last", "weights"), or "decoded": those of the artifact
  bool sliding;
  StageKey key;
};
std::vector<ScoreMode> score_modes(const Session& session, const Json& data_identity, const Json& train_outputs,
                                   const std::string& decoded_hash);
std::string combined_key(const std::vector<ScoreMode>& modes);  // of the stage as a whole
StageKey ttt_stage_key(const Session& session, const Json& data_identity, const std::string& weights_hash);

// Before the data's key: gets a dataset that the manifest names and this machine lacks, announced; with `offline` that is
// an Error(data). One process of a group calls it.
CADDIE_API void fetch_data(const Session& session, bool offline);

// Bodies: they fill a cache folder and return the entry's outputs.
Json compute_data(const Session& session, const std::filesystem::path& folder);
// `run` takes metrics and checkpoints while training goes on.
Json compute_train(const Session& session, const data::DataSet& data, const std::filesystem::path& folder,
                   const RunFolder& run, const std::string& key);
// A rank's part of the same training, on the ranks that write nothing.
void train_along(const Session& session, const data::DataSet& data, const std::filesystem::path& checkpoints,
                 const std::string& key);
Json compute_quantize(const Session& session, const data::DataSet& data, const std::filesystem::path& weights,
                      const std::filesystem::path& folder);
Json compute_compress(const Session& session, const data::DataSet& data, const std::filesystem::path& codes,
                      const std::filesystem::path& folder);

// Scores, on all ranks at once. The model holds the weights and is prepared for evaluation; every rank returns the whole.
CADDIE_API eval::Text validation_text(const data::DataSet& data, at::Device device);
CADDIE_API Json score_flat(const Session& session, Model& model, const eval::Text& text);
CADDIE_API Json score_sliding(const Session& session, Model& model, const eval::Text& text);
// Writes the ledger to `folder`/ledger.jsonl and verifies it; a rank without a folder only takes part.
CADDIE_API Json score_ttt(const Session& session, Model& model, const eval::Text& text, const std::filesystem::path& folder);

// Decoded weights of an artifact file, by the compressor that its header names.
CADDIE_API artifact::NamedWeights weights_of_artifact(const Session& session, const std::filesystem::path& file);

}  // namespace caddie::pipeline
