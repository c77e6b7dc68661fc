// A loss profile adds up to the score that it belongs to, and says where its nats are.
#include "core/eval/profile.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

#include <cmath>

#include "core/eval/evaluate.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"
#include "tests/unit/eval/support.h"

using namespace caddie;
using namespace caddie::eval;
using caddie::tests::random_text;
using caddie::tests::run_ranks;
using caddie::tests::TinyModel;

namespace {
double sum(const Json& values) {
  double total = 0;
  for (const Json& value : values) total += value.get<double>();
  return total;
}
}  // namespace

TEST_CASE("positions and lengths are counted where they are") {
  LossProfile profile(4, at::kCPU);
  const at::Tensor nats = at::arange(1, 9, at::kFloat).view({2, 4});  // 1 2 3 4 / 5 6 7 8
  profile.add(nats, at::tensor({0, 1, 1, 50, 2, 2, 1, 0}, at::kShort).view({2, 4}));
  profile.add(nats.narrow(0, 0, 1), at::tensor({3, 3, 3, 3}, at::kShort).view({1, 4}));
  const Json json = profile.to_json();
  CHECK(json.at("position") == Json{{"from", {0, 1, 2, 3}}, {"nats", {7.0, 10.0, 13.0, 16.0}}, {"tokens", {3, 3, 3, 3}}});
  CHECK(json.at("bytes") == Json{{"length", {0, 1, 2, 3, 32}},
                                 {"nats", {9.0, 12.0, 11.0, 10.0, 4.0}},
                                 {"tokens", {2, 3, 2, 4, 1}}});
}

TEST_CASE("groups of positions widen and cover the sequence once") {
  LossProfile profile(2048, at::kCPU);
  profile.add(at::arange(2048, at::kFloat).unsqueeze(0), at::arange(2048, at::kLong).unsqueeze(0));
  const Json position = profile.to_json().at("position");
  CHECK(position.at("from").size() < 45);
  CHECK(sum(position.at("nats")) == 2047.0 * 2048 / 2);
  CHECK(sum(position.at("tokens")) == 2048);
}

TEST_CASE("the profile of a flat score has its nats and tokens, alone and over ranks") {
  TinyModel model(19, 6, 1);
  const Text text = random_text(53, 19);
  Settings settings;
  settings.sequence = 8;
  settings.batch_tokens = 16;
  LossProfile profile(8, at::kCPU);
  const Score score = flat(model, text, settings, nullptr, &profile);
  CHECK(score.nats == flat(model, text, settings).nats);
  const Json json = profile.to_json();
  for (const char* part : {"position", "bytes"}) {
    CHECK(sum(json.at(part).at("nats")) == Approx(score.nats).epsilon(1e-12));
    CHECK(sum(json.at(part).at("tokens")) == static_cast<double>(score.tokens));
  }
  run_ranks(3, [&](Communicator& communicator) {
    TinyModel own(19, 6, 1);
    LossProfile shared(8, at::kCPU);
    flat(own, text, settings, &communicator, &shared);
    const Json all = shared.to_json();
    if (all.at("bytes").at("tokens") != json.at("bytes").at("tokens")) throw std::runtime_error("ranks count other targets");
    if (std::abs(sum(all.at("position").at("nats")) - score.nats) > 1e-9) throw std::runtime_error("ranks sum other nats");
  });
}
