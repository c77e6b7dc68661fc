#include "core/eval/evaluate.h"

#include <cmath>

#include "caddie/error.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"
#include "tests/unit/eval/support.h"

using namespace caddie;
using namespace caddie::eval;
using caddie::tests::random_text;
using caddie::tests::TinyModel;

TEST_CASE("loss and bits per byte of a score, and what neither can be") {
  Score score;
  CHECK_THROWS_AS(score.loss(), Error);
  score.nats = 6 * std::log(2.0);
  score.tokens = 3;
  CHECK(score.loss() == Approx(2 * std::log(2.0)));
  CHECK_THROWS_AS(score.bits_per_byte(), Error);
  score.bytes = 4;
  CHECK(score.bits_per_byte() == Approx(1.5));
  CHECK(score.text() == "1.5000 bits/byte  loss 1.3863  (3 tokens)");
  score.limited_to = 12345;
  CHECK(score.text() == "1.5000 bits/byte  loss 1.3863  (3 tokens of the first 12,345)");
  CHECK(score.to_json().at("limited_to") == 12345);
}

TEST_CASE("the flat score is the sum over whole sequences, whatever the batch") {
  TinyModel model(19, 6, 1);
  const Text text = random_text(53, 19);
  Settings settings;
  settings.sequence = 8;
  double expected = 0;
  std::int64_t bytes = 0;
  for (std::int64_t start = 0; start < 48; start += 8) {
    const at::Tensor inputs = text.tokens.narrow(0, start, 8).unsqueeze(0).to(at::kLong);
    const at::Tensor targets = text.tokens.narrow(0, start + 1, 8).unsqueeze(0).to(at::kLong);
    expected += model.nats(inputs, targets, 0).sum(at::kDouble).item<double>();
    bytes += text.bytes.narrow(0, start, 8).sum(at::kLong).item<std::int64_t>();
  }
  for (const std::int64_t batch_tokens : {1, 16, 24, 1000}) {
    settings.batch_tokens = batch_tokens;
    const Score score = flat(model, text, settings);
    CHECK(score.tokens == 48);
    CHECK(score.bytes == bytes);
    CHECK(score.nats == Approx(expected).epsilon(1e-6));
    CHECK(score.limited_to == 0);
  }
}

TEST_CASE("sliding by whole sequences is the flat score") {
  TinyModel model(19, 6, 2);
  const Text text = random_text(70, 19);
  Settings settings;
  settings.sequence = 8;
  settings.stride = 8;
  const Score a = flat(model, text, settings), b = sliding(model, text, settings);
  CHECK(a.tokens == b.tokens);
  CHECK(a.bytes == b.bytes);
  CHECK(a.nats == Approx(b.nats).epsilon(1e-6));
}

TEST_CASE("sliding scores each window's own part, in batches of any size") {
  TinyModel model(19, 6, 3);
  const Text text = random_text(60, 19);
  Settings settings;
  settings.sequence = 8;
  settings.stride = 3;
  double expected = 0;
  std::int64_t bytes = 0, tokens = 0;
  for (const auto& window : sliding_windows(56, 8, 3)) {
    const at::Tensor inputs = text.tokens.narrow(0, window.start, 8).unsqueeze(0).to(at::kLong);
    const at::Tensor targets = text.tokens.narrow(0, window.start + 1, 8).unsqueeze(0).to(at::kLong);
    const at::Tensor nats = model.nats(inputs, targets, 0);
    expected += nats.narrow(1, window.from - window.start, window.to - window.from).sum(at::kDouble).item<double>();
    bytes += text.bytes.narrow(0, window.from, window.to - window.from).sum(at::kLong).item<std::int64_t>();
    tokens += window.to - window.from;
  }
  for (const std::int64_t batch_tokens : {8, 16, 40, 4000}) {
    settings.batch_tokens = batch_tokens;
    const Score score = sliding(model, text, settings);
    CHECK(score.tokens == tokens);
    CHECK(score.bytes == bytes);
    CHECK(score.nats == Approx(expected).epsilon(1e-6));
  }
  settings.stride = 8;
  CHECK(sliding(model, text, settings).nats != Approx(expected).epsilon(1e-3));  // the context matters
}

TEST_CASE("evaluate.tokens cuts the text and is part of the score") {
  TinyModel model(19, 6, 4);
  const Text text = random_text(60, 19);
  Settings settings;
  settings.sequence = 8;
  settings.stride = 4;
  settings.limit = 30;
  CHECK(flat(model, text, settings).tokens == 24);
  CHECK(flat(model, text, settings).limited_to == 30);
  CHECK(sliding(model, text, settings).limited_to == 30);
  settings.limit = 60;  // the text is no longer than that: nothing is cut
  CHECK(flat(model, text, settings).tokens == 56);
  CHECK(flat(model, text, settings).limited_to == 0);
  settings.limit = 7;
  CHECK_THROWS_AS(flat(model, text, settings), Error);
}

TEST_CASE("byte counts of another text are refused") {
  TinyModel model(19, 6, 5);
  Text text = random_text(60, 19);
  text.bytes = text.bytes.narrow(0, 0, 59);
  Settings settings;
  settings.sequence = 8;
  try {
    flat(model, text, settings);
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::data);
    CHECK(std::string(error.what()).find("59 counts for 60 targets") != std::string::npos);
  }
}

TEST_CASE("a model that gives NaN has no score") {
  TinyModel model(19, 6, 6);
  {
    const at::NoGradGuard no_gradients;
    model.parameters()[1].tensor.mul_(std::nan(""));
  }
  model.prepare(false);
  Settings settings;
  settings.sequence = 8;
  CHECK_THROWS_AS(flat(model, random_text(60, 19), settings), Error);
}

TEST_CASE("ranks share the work and agree on the whole score") {
  TinyModel model(19, 6, 7);
  const Text text = random_text(90, 19);
  Settings settings;
  settings.sequence = 8;
  settings.stride = 3;
  const Score whole_flat = flat(model, text, settings), whole_sliding = sliding(model, text, settings);
  for (const int ranks : {2, 3, 30}) {  // more ranks than sequences, too
    std::vector<Score> flats(static_cast<std::size_t>(ranks)), slidings(flats);
    caddie::tests::run_ranks(ranks, [&](Communicator& communicator) {
      const auto rank = static_cast<std::size_t>(communicator.rank());
      TinyModel own(19, 6, 7);
      flats[rank] = flat(own, text, settings, &communicator);
      slidings[rank] = sliding(own, text, settings, &communicator);
    });
    for (std::size_t rank = 0; rank < flats.size(); ++rank) {
      CHECK(flats[rank].tokens == whole_flat.tokens);
      CHECK(flats[rank].bytes == whole_flat.bytes);
      CHECK(flats[rank].nats == Approx(whole_flat.nats).epsilon(1e-6));
      CHECK(slidings[rank].tokens == whole_sliding.tokens);
      CHECK(slidings[rank].bytes == whole_sliding.bytes);
      CHECK(slidings[rank].nats == Approx(whole_sliding.nats).epsilon(1e-6));
    }
  }
}

TEST_CASE("settings come from the manifest's section") {
  const auto settings = Settings::from_json(
      Json::parse(R"({"flat": null, "sliding": {"stride": 32}, "tokens": 4096, "batch_tokens": 512})"), 256);
  CHECK_FALSE(settings.flat);
  CHECK(settings.sliding);
  CHECK(settings.stride == 32);
  CHECK(settings.limit == 4096);
  CHECK(settings.batch_tokens == 512);
  CHECK(settings.sequence == 256);
  CHECK(Settings::from_json(Json::parse(R"({"flat": {}, "sliding": null, "tokens": "all"})"), 256).limit == 0);
}
