#include "core/eval/adapt.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/base/interrupt.h"
#include "core/eval/learner.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"
#include "tests/unit/eval/support.h"

using namespace caddie;
using namespace caddie::eval;
using caddie::tests::random_text;
using caddie::tests::TinyModel;

namespace {

struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / "caddie_eval_test";
  Folder() {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

// Takes one plain gradient step a chunk and remembers what it saw.
class Recorder final : public TttStrategy {
 public:
  explicit Recorder(double rate = 0.1, bool adapting = true) : rate_(rate), adapting_(adapting) {}
  bool adapts() const override { return adapting_; }
  void adapt(const ScoredChunk& chunk, Learner& learner) override {
    chunks.push_back(chunk);
    if (on_adapt) on_adapt();
    std::vector<at::Tensor> gradients;
    learner.gradients(chunk.inputs, chunk.targets, gradients);
    const at::NoGradGuard no_gradients;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      learner.parameters()[i].tensor.sub_(gradients[i].mul(rate_));
    }
  }
  double rate(std::int64_t, std::int64_t) const override { return rate_; }

  std::vector<ScoredChunk> chunks;
  std::function<void()> on_adapt;

 private:
  double rate_;
  bool adapting_;
};

Settings small_settings() {
  Settings settings;
  settings.sequence = 8;
  settings.stride = 4;
  return settings;
}

TttSettings chunks_of(std::int64_t chunk) {
  TttSettings settings;
  settings.chunk = chunk;
  return settings;
}

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

void write_lines(const std::filesystem::path& path, const std::vector<std::string>& lines) {
  std::ofstream out(path);
  for (const auto& line : lines) out << line << '\n';
}

// Numbers and chains lines anew, as a forger would.
std::vector<std::string> rechained(std::vector<std::string> lines) {
  std::string previous;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    Json line = Json::parse(lines[i]);
    line["number"] = i;
    line["previous"] = previous;
    lines[i] = canonical(line);
    previous = sha256(lines[i]);
  }
  return lines;
}

std::string legality_error(const std::filesystem::path& path) {
  try {
    verify_ledger(path);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::legality);
    return error.message();
  }
  return {};
}

}  // namespace

TEST_CASE("a strategy that does not adapt gives the sliding score") {
  TinyModel model(19, 6, 1);
  const Text text = random_text(100, 19);
  Recorder none(0, false);
  const Score plain = sliding(model, text, small_settings());
  const TttResult result = adapt(model, text, small_settings(), chunks_of(24), none);
  CHECK(result.score.nats == plain.nats);
  CHECK(result.score.tokens == plain.tokens);
  CHECK(result.score.bytes == plain.bytes);
  CHECK(result.chunks.size() == 1);
  CHECK(none.chunks.empty());
}

TEST_CASE("adapting at rate 0 changes no score, chunk by chunk") {
  TinyModel model(19, 6, 1);
  const Text text = random_text(100, 19);
  Recorder still(0);
  const Score plain = sliding(model, text, small_settings());
  const TttResult result = adapt(model, text, small_settings(), chunks_of(24), still);
  CHECK(result.score.nats == Approx(plain.nats).epsilon(1e-7));
  CHECK(result.score.tokens == plain.tokens);
  CHECK(result.score.bytes == plain.bytes);
  REQUIRE(result.chunks.size() == 4);
  CHECK(still.chunks.size() == 3);  // not after the last
}

TEST_CASE("a chunk is its own whole sequences, in order, each target after its input") {
  TinyModel model(19, 6, 1);
  const Text text = random_text(100, 19);
  Recorder strategy;
  adapt(model, text, small_settings(), chunks_of(28), strategy);  // 28 targets: three sequences of 8, four left over
  REQUIRE(strategy.chunks.size() == 3);
  for (std::int64_t index = 0; index < 3; ++index) {
    const auto& chunk = strategy.chunks[static_cast<std::size_t>(index)];
    CHECK(chunk.index == index);
    CHECK(chunk.count == 4);
    CHECK(chunk.inputs.equal(text.tokens.narrow(0, index * 28, 24).view({3, 8}).to(at::kLong)));
    CHECK(chunk.targets.equal(text.tokens.narrow(0, index * 28 + 1, 24).view({3, 8}).to(at::kLong)));
  }
}

TEST_CASE("adapting helps the chunks that follow and cannot change the first") {
  const Text text = [] {
    Text repeated = random_text(240, 19);
    const at::Tensor first = repeated.tokens.narrow(0, 0, 24);
    for (std::int64_t i = 24; i + 24 <= 240; i += 24) repeated.tokens.narrow(0, i, 24).copy_(first);
    return repeated;
  }();
  TinyModel model(19, 6, 1), adapted(19, 6, 1);
  Recorder still(0), learning(0.5);
  const TttResult a = adapt(model, text, small_settings(), chunks_of(24), still);
  const TttResult b = adapt(adapted, text, small_settings(), chunks_of(24), learning);
  CHECK(a.chunks[0].score.nats == b.chunks[0].score.nats);
  CHECK(b.score.nats < 0.99 * a.score.nats);
  CHECK(b.chunks.back().rate == 0);
  CHECK(b.chunks.front().rate == 0.5);
}

TEST_CASE("chunks without windows are neither scored nor adapted on") {
  TinyModel model(19, 6, 1);
  Recorder strategy;
  const TttResult result = adapt(model, random_text(24, 19), small_settings(), chunks_of(4), strategy);
  REQUIRE(result.chunks.size() == 6);
  CHECK(result.chunks[1].score.tokens == 0);  // window 0 scores [0, 8) and belongs to chunk 0
  CHECK(result.chunks[1].rate == 0);
  CHECK(result.score.tokens == 24);
  CHECK(strategy.chunks.empty());  // no chunk of 4 holds a sequence of 8
  for (const auto& chunk : result.chunks) CHECK(chunk.rate == 0);
}

TEST_CASE("no chunk size makes the host adapt on targets that no window scores") {
  // Windows end at 36 of 40 targets; whatever the chunk, the ledger stays legal.
  Settings settings = small_settings();
  settings.stride = 7;
  Folder folder;
  const auto path = folder.path / "ledger.jsonl";
  std::int64_t adapted = 0;
  for (std::int64_t chunk = 8; chunk < 40; ++chunk) {
    TinyModel model(19, 6, 1);
    Recorder strategy;
    Ledger ledger(path, {});
    adapt(model, random_text(40, 19), settings, chunks_of(chunk), strategy, nullptr, &ledger);
    const LedgerSummary summary = verify_ledger(path);
    CHECK(summary.score.tokens == 36);
    CHECK(summary.adapted_chunks == static_cast<std::int64_t>(strategy.chunks.size()));
    adapted += summary.adapted_chunks;
  }
  CHECK(adapted > 32);
}

TEST_CASE("the score is in the ledger before the strategy sees the chunk") {
  Folder folder;
  const auto path = folder.path / "ledger.jsonl";
  TinyModel model(19, 6, 1);
  Recorder strategy;
  std::vector<std::size_t> lines_before;
  strategy.on_adapt = [&] {
    const auto lines = read_json_lines(path);
    lines_before.push_back(lines.size());
    CHECK(lines.back().at("event") == "scored");
    CHECK(lines.back().at("chunk") == strategy.chunks.back().index);
  };
  Ledger ledger(path, {{"strategy", "recorder"}});
  const Text text = random_text(100, 19);
  const TttResult result = adapt(model, text, small_settings(), chunks_of(24), strategy, nullptr, &ledger);
  CHECK(lines_before == std::vector<std::size_t>{2, 4, 6});
  const LedgerSummary summary = verify_ledger(path);
  CHECK(summary.about.at("strategy") == "recorder");
  CHECK(summary.score.nats == result.score.nats);
  CHECK(summary.score.tokens == 96);
  CHECK(summary.scored_chunks == 4);
  CHECK(summary.adapted_chunks == 3);
}

TEST_CASE("a ledger that was tampered with is refused, even with a new chain") {
  Folder folder;
  const auto path = folder.path / "ledger.jsonl", forged = folder.path / "forged.jsonl";
  TinyModel model(19, 6, 1);
  Recorder strategy;
  Ledger ledger(path, {});
  adapt(model, random_text(100, 19), small_settings(), chunks_of(24), strategy, nullptr, &ledger);
  // begin, scored 0, adapted 0, scored 1, adapted 1, scored 2, adapted 2, scored 3, end
  const auto lines = lines_of(path);
  REQUIRE(lines.size() == 9);
  write_lines(forged, rechained(lines));
  CHECK(legality_error(forged).empty());

  const auto forge = [&](auto&& change, bool chain) {
    auto copy = lines;
    change(copy);
    write_lines(forged, chain ? rechained(copy) : copy);
    return legality_error(forged);
  };
  using Lines = std::vector<std::string>;
  // Adapted first, scored afterwards.
  const auto swap = [](Lines& l) { std::swap(l[3], l[4]); };
  CHECK_THAT(forge(swap, false), Catch::Contains("line 4"));
  CHECK_THAT(forge(swap, true), Catch::Contains("chunk 1 is adapted on, but the last one scored is 0"));
  // A score that disappears, one that is told twice, an end that is missing.
  CHECK_FALSE(forge([](Lines& l) { l.erase(l.begin() + 3); }, true).empty());
  CHECK_FALSE(forge([](Lines& l) { l.insert(l.begin() + 3, l[3]); }, true).empty());
  CHECK_THAT(forge([](Lines& l) { l.pop_back(); }, true), Catch::Contains("unfinished"));
  // Numbers that are changed.
  const auto edit = [](std::size_t line, const char* key, const Json& value) {
    return [=](Lines& l) {
      Json json = Json::parse(l[line]);
      json[key] = value;
      l[line] = canonical(json);
    };
  };
  CHECK_THAT(forge(edit(3, "nats", 1.0), false), Catch::Contains("chain"));
  CHECK_THAT(forge(edit(3, "nats", 1.0), true), Catch::Contains("nats do not add up"));
  CHECK_THAT(forge(edit(3, "bytes", 1), true), Catch::Contains("bytes do not add up"));
  CHECK_THAT(forge(edit(4, "to", 56), true), Catch::Contains("adapted on before they were scored"));
  CHECK_THAT(forge(edit(3, "to", 52), true), Catch::Contains("tokens are counted"));
  CHECK_FALSE(forge(edit(3, "event", "scoerd"), true).empty());
}

TEST_CASE("an interrupted evaluation leaves an unfinished ledger, and the next one starts anew") {
  Folder folder;
  const auto path = folder.path / "ledger.jsonl";
  TinyModel model(19, 6, 1);
  Recorder strategy;
  strategy.on_adapt = [] { request_interrupt(); };
  {
    Ledger ledger(path, {});
    CHECK_THROWS_AS(
        adapt(model, random_text(100, 19), small_settings(), chunks_of(24), strategy, nullptr, &ledger), Error);
  }
  clear_interrupt();
  CHECK_THAT(legality_error(path), Catch::Contains("unfinished"));
  strategy.on_adapt = {};
  Ledger ledger(path, {});
  adapt(model, random_text(100, 19), small_settings(), chunks_of(24), strategy, nullptr, &ledger);
  CHECK(legality_error(path).empty());
}

TEST_CASE("ranks score a chunk together, adapt on all of its sequences and stay alike") {
  const Text text = random_text(100, 19);
  TinyModel alone(19, 6, 1);
  Recorder strategy(0.3);
  const TttResult expected = adapt(alone, text, small_settings(), chunks_of(48), strategy);  // six sequences a chunk
  for (const int ranks : {2, 3, 4, 7}) {
    std::vector<std::unique_ptr<TinyModel>> models(static_cast<std::size_t>(ranks));
    std::vector<Recorder> strategies(static_cast<std::size_t>(ranks), Recorder(0.3));
    std::vector<TttResult> results(static_cast<std::size_t>(ranks));
    caddie::tests::run_ranks(ranks, [&](Communicator& communicator) {
      const auto rank = static_cast<std::size_t>(communicator.rank());
      models[rank] = std::make_unique<TinyModel>(19, 6, 1);
      results[rank] = adapt(*models[rank], text, small_settings(), chunks_of(48), strategies[rank], &communicator);
    });
    const std::int64_t own = (6 + ranks - 1) / ranks;
    for (std::size_t rank = 0; rank < results.size(); ++rank) {
      CHECK(results[rank].score.tokens == expected.score.tokens);
      CHECK(results[rank].score.bytes == expected.score.bytes);
      CHECK(results[rank].score.nats == results[0].score.nats);
      CHECK(models[rank]->parameters()[1].tensor.equal(models[0]->parameters()[1].tensor));
      CHECK(strategies[rank].chunks.at(0).inputs.size(0) == own);
    }
    // One step a chunk over all of it: where the sequences divide, the mean gradient is the same as alone.
    if (6 % ranks == 0) {
      CHECK(results[0].score.nats == Approx(expected.score.nats).epsilon(1e-6));
      CHECK(models[0]->parameters()[1].tensor.allclose(alone.parameters()[1].tensor, 1e-5, 1e-6));
    }
    // Every sequence is somebody's, in order.
    std::int64_t next = 0;
    for (const auto& each : strategies) {
      const at::Tensor first = each.chunks.at(0).inputs;
      for (std::int64_t row = 0; row < own; ++row) {
        if (next < 6 && first[row].equal(text.tokens.narrow(0, next * 8, 8).to(at::kLong))) ++next;
      }
    }
    CHECK(next == 6);
  }
}

TEST_CASE("the learner's gradients are those of the mean loss, in one pass or in several") {
  TinyModel model(19, 6, 1);
  model.set_fake_quant(std::vector<FakeQuantRule>{{"layer.weight", 4}});
  model.prepare(true);
  const Text text = random_text(100, 19);
  const at::Tensor inputs = text.tokens.narrow(0, 0, 40).view({5, 8}).to(at::kLong);
  const at::Tensor targets = text.tokens.narrow(0, 1, 40).view({5, 8}).to(at::kLong);
  std::vector<at::Tensor> once, several;
  ModelLearner learner(model, {}, nullptr, 0);
  const double loss = learner.gradients(inputs, targets, once);
  ModelLearner split(model, {}, nullptr, 17);  // two rows a pass
  CHECK(split.gradients(inputs, targets, several) == Approx(loss).epsilon(1e-6));
  for (std::size_t i = 0; i < once.size(); ++i) CHECK(once[i].allclose(several[i], 1e-5, 1e-7));
  // Fake quantization is off: the mean of the plain scores.
  model.prepare(false);
  CHECK(model.nats(inputs, targets, 0).mean().item<double>() == Approx(loss).epsilon(1e-6));
  // Against a finite difference.
  const at::NoGradGuard no_gradients;
  at::Tensor weight = model.parameters()[1].tensor;
  const auto loss_at = [&](double value) {
    weight.select(0, 2).select(0, 3).fill_(value);
    model.prepare(false);
    return model.nats(inputs, targets, 0).mean(at::kDouble).item<double>();
  };
  const double at_value = weight[2][3].item<double>(), h = 1e-2;
  const double slope = (loss_at(at_value + h) - loss_at(at_value - h)) / (2 * h);
  CHECK(slope == Approx(once[1][2][3].item<double>()).epsilon(0.02));
}

TEST_CASE("frozen parameters are not handed over and do not change") {
  TinyModel model(19, 6, 1);
  const at::Tensor embedding = model.parameters()[0].tensor.detach().clone();
  const at::Tensor matrix = model.parameters()[1].tensor.detach().clone();
  TttSettings ttt = chunks_of(24);
  ttt.freeze = {"embedding", "*.gain"};
  ModelLearner learner(model, ttt.freeze, nullptr, 0);
  REQUIRE(learner.parameters().size() == 1);
  CHECK(learner.parameters()[0].name == "layer.weight");
  Recorder strategy(0.5);
  adapt(model, random_text(100, 19), small_settings(), ttt, strategy);
  CHECK(model.parameters()[0].tensor.equal(embedding));
  CHECK_FALSE(model.parameters()[1].tensor.equal(matrix));
  CHECK(model.parameters()[0].tensor.requires_grad());
  CHECK_THROWS_AS(ModelLearner(model, {"nothing.*"}, nullptr, 0), Error);
  CHECK_THROWS_AS(ModelLearner(model, {"*"}, nullptr, 0), Error);
}

TEST_CASE("a loss that is not finite stops test-time training") {
  TinyModel model(19, 6, 1);
  Recorder wild(1e38);
  CHECK_THROWS_AS(adapt(model, random_text(100, 19), small_settings(), chunks_of(24), wild), Error);
}
