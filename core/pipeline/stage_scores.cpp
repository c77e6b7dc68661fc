// The evaluate and ttt stages: scores of weights that a model holds.
#include <algorithm>

#include "caddie/error.h"
#include "core/data/shards.h"
#include "core/data/source.h"
#include "core/data/tokenizer.h"
#include "core/eval/adapt.h"
#include "core/eval/evaluate.h"
#include "core/eval/ledger.h"
#include "core/eval/paths.h"
#include "core/pipeline/stages.h"

namespace caddie::pipeline {
namespace {

eval::Settings settings_of(const Session& session) {
  return eval::Settings::from_json(evaluate_section(session), session.sequence());
}

// Whether all forward paths of the model give the same numbers on a few tokens of the text: reference section 8.1.
Json path_report(const Session& session, Model& model, const eval::Text& text) {
  const std::int64_t length = std::min<std::int64_t>({session.sequence(), 128, text.tokens.size(0) - 1});
  if (length < 2) return {{"path", model.path()}};
  const at::Tensor tokens = text.tokens.narrow(0, 0, length + 1).to(session.device(), at::kLong).unsqueeze(0);
  return eval::compare_paths(model, tokens).to_json();
}

}  // namespace

eval::Text validation_text(const data::DataSet& data, at::Device device) {
  const data::TokenStream stream(data.validation);
  CADDIE_CHECK(stream.size() >= 2, ErrorKind::data, "the validation shards hold ", stream.size(), " tokens, nothing to score");
  const at::Tensor tokens = stream.tensor(0, stream.size()).to(device);
  const std::int64_t targets = stream.size() - 1;
  return {tokens, data.bytes->target_bytes(tokens.narrow(0, 0, targets), tokens.narrow(0, 1, targets)), data::kBos};
}

Json score_flat(const Session& session, Model& model, const eval::Text& text) {
  const Json path = path_report(session, model, text);
  eval::LossProfile profile(session.sequence(), session.device());
  const eval::Score score = eval::flat(model, text, settings_of(session), &session.communicator(), &profile);
  return {{"score", score.to_json()}, {"path", path}, {"profile", profile.to_json()}};
}

Json score_sliding(const Session& session, Model& model, const eval::Text& text) {
  return {{"score", eval::sliding(model, text, settings_of(session), &session.communicator()).to_json()}};
}

Json score_ttt(const Session& session, Model& model, const eval::Text& text, const std::filesystem::path& folder) {
  const Json& section = session.section("ttt");
  const auto strategy = session.catalogue().create_ttt(section, TttContext{&session.services()});
  const auto ttt = eval::TttSettings::from_json(section);
  const auto settings = settings_of(session);
  if (folder.empty()) return eval::adapt(model, text, settings, ttt, *strategy, &session.communicator()).score.to_json();
  eval::Ledger ledger(folder / "ledger.jsonl", {{"strategy", section}, {"stride", settings.stride},
                                                {"sequence", settings.sequence}, {"path", model.path()}, {"ranks", session.world()}});
  const eval::TttResult result = eval::adapt(model, text, settings, ttt, *strategy, &session.communicator(), &ledger);
  const eval::LedgerSummary proof = eval::verify_ledger(folder / "ledger.jsonl");
  return {{"score", result.score.to_json()},
          {"chunks", proof.scored_chunks},
          {"adapted_chunks", proof.adapted_chunks},
          {"score_seconds", proof.score_seconds},
          {"adapt_seconds", proof.adapt_seconds},
          {"ledger_hash", proof.hash}};
}

}  // namespace caddie::pipeline
