// Through the catalogue, against a plain column-by-column version in float64.
#include <ATen/ops/arange.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_cholesky.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "batch.h"
#include "caddie/ops.h"
#include "caddie/quantizer.h"
#include "core/host/catalogue.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

struct Given final : Calibration {
  explicit Given(at::Tensor hessian) : value(std::move(hessian)) {}
  at::Tensor hessian() const override { return value; }
  at::Tensor value;
};

std::shared_ptr<Quantizer> make(const Json& options = Json::object()) {
  static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  Json section = options;
  section["use"] = "gptq";
  return catalogue.create_quantizer(section, QuantizerContext{nullptr});
}

QuantizedTensor quantize(const at::Tensor& weight, const at::Tensor& hessian, const Json& options = Json::object()) {
  const Weight weights[] = {{"w", weight}};
  const Given calibration(hessian);
  return make(options)->quantize(weights, &calibration)[0];
}

at::Tensor decoded(const QuantizedTensor& q) { return q.codes.to(at::kFloat).mul(q.steps.unsqueeze(1)); }

// Inputs whose channels differ in size and hang together.
at::Tensor make_hessian(std::int64_t columns, std::int64_t rows) {
  const auto mix = at::eye(columns).add(at::randn({columns, columns}).mul(0.1));
  const auto x = at::randn({rows, columns}).mm(mix).mul(at::randn({columns}).exp());
  return x.t().mm(x);
}

struct Oracle {
  at::Tensor codes;  // int64
  double nearest_tie = 1;
};

// Literally: inverse by Cholesky, then column after column over the whole rest of the row, all in float64.
Oracle oracle(const at::Tensor& weight, at::Tensor hessian, int bits, double share, bool descending) {
  const auto rows = weight.size(0), columns = weight.size(1);
  const double top = (1 << (bits - 1)) - 1;
  hessian = hessian.to(at::kDouble).clone();
  for (std::int64_t c = 0; c < columns; ++c)
    if (hessian[c][c].item<double>() == 0) hessian[c][c] = 1;
  const auto order = descending ? std::get<1>(hessian.diagonal().sort(true, 0, true)) : at::arange(columns);
  const auto damping = std::max(share * hessian.diagonal().mean().item<double>(), 1e-6);
  auto h = hessian.index_select(0, order).index_select(1, order);
  h = h.add(at::eye(columns, at::kDouble).mul(damping));
  const auto upper = at::linalg_cholesky(h.inverse()).t().contiguous();  // inverse = L L^T = U^T U
  auto w = weight.to(at::kDouble).index_select(1, order).contiguous();
  const auto steps = weight.abs().amax(1).clamp_min(1e-12).div(at::tensor({static_cast<float>(top)})).to(at::kDouble);
  Oracle result{at::zeros({rows, columns}, at::kLong), 1};
  const double *u = upper.const_data_ptr<double>(), *s = steps.const_data_ptr<double>();
  double* v = w.mutable_data_ptr<double>();
  auto* codes = result.codes.mutable_data_ptr<std::int64_t>();
  const auto* column = order.const_data_ptr<std::int64_t>();
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t j = 0; j < columns; ++j) {
      const double exact = v[r * columns + j] / s[r], code = std::clamp(std::nearbyint(exact), -top, top);
      if (std::abs(exact) < top + 0.5)
        result.nearest_tie = std::min(result.nearest_tie, 0.5 - std::abs(exact - std::nearbyint(exact)));
      const double error = (v[r * columns + j] - code * s[r]) / u[j * columns + j];
      for (std::int64_t k = j + 1; k < columns; ++k) v[r * columns + k] -= error * u[j * columns + k];
      codes[r * columns + column[j]] = static_cast<std::int64_t>(code);
    }
  return result;
}

double objective(const at::Tensor& error, const at::Tensor& hessian) {
  return error.mm(hessian).mul(error).sum().item<double>();
}

}  // namespace

TEST_CASE("codes are those of the plain algorithm, in any block size and either order") {
  at::manual_seed(3);
  for (const std::int64_t columns : {40, 131, 300}) {
    const auto weight = at::randn({17, columns});
    const auto hessian = make_hessian(columns, 2 * columns);
    for (const bool descending : {true, false})
      for (const int block : {1, 32, 128}) {
        INFO(columns << " columns, block " << block << ", descending " << descending);
        const auto expected = oracle(weight, hessian, 5, 0.01, descending);
        const auto q = quantize(weight, hessian, {{"block", block}, {"order", descending ? "descending" : "natural"}});
        CHECK(q.encoding == Encoding::row_codes);
        CHECK(q.note == "damping 0.01");
        CHECK(q.bits == 5);
        CHECK(q.codes.sizes() == weight.sizes());
        // A value next to a tie may fall to the other side, and moves its row from there on.
        const auto differing = q.codes.to(at::kLong).ne(expected.codes).sum().item<std::int64_t>();
        CHECK(differing <= (expected.nearest_tie > 1e-4 ? 0 : columns));
      }
  }
}

TEST_CASE("error feedback beats rounding to nearest on the objective it minimises") {
  at::manual_seed(4);
  const auto weight = at::randn({32, 96}), hessian = make_hessian(96, 400);
  for (const int bits : {2, 4, 5, 8}) {
    const auto q = quantize(weight, hessian, {{"bits", bits}});
    const auto [codes, steps] = ops::quantize_rows(weight, bits);
    CHECK(at::equal(q.steps, steps));  // the steps are those of the original rows
    const auto nearest = codes.to(at::kFloat).mul(steps.unsqueeze(1));
    INFO(bits << " bits");
    CHECK(objective(decoded(q).sub(weight), hessian) < 0.8 * objective(nearest.sub(weight), hessian));
    CHECK(q.codes.abs().max().item<int>() <= (1 << (bits - 1)) - 1);
  }
}

TEST_CASE("weights that share an input give what each gives alone") {
  at::manual_seed(5);
  const auto a = at::randn({9, 50}), b = at::randn({70, 50}), hessian = make_hessian(50, 200);
  const Weight weights[] = {{"a", a}, {"b", b}};
  const Given calibration(hessian);
  const auto together = make()->quantize(weights, &calibration);
  REQUIRE(together.size() == 2);
  CHECK(at::equal(together[0].codes, quantize(a, hessian).codes));
  CHECK(at::equal(together[1].codes, quantize(b, hessian).codes));
  CHECK(at::equal(together[1].steps, quantize(b, hessian).steps));
}

TEST_CASE("a dead input column is rounded to nearest and disturbs nothing") {
  at::manual_seed(6);
  const auto weight = at::randn({8, 30});
  auto hessian = make_hessian(30, 100);
  hessian.select(0, 11).zero_();
  hessian.select(1, 11).zero_();
  const auto q = quantize(weight, hessian);
  const auto nearest = weight.select(1, 11).div(q.steps).round().clamp(-15, 15).to(at::kChar);
  CHECK(at::equal(q.codes.select(1, 11), nearest));
  CHECK(at::equal(q.codes.to(at::kLong), oracle(weight, hessian, 5, 0.01, true).codes));
}

TEST_CASE("a damping that does not suffice is followed by the next, and by none when all fail") {
  at::manual_seed(7);
  const auto weight = at::randn({6, 12});
  auto hessian = at::eye(12);
  hessian[0][1] = hessian[1][0] = 1.05f;  // eigenvalue -0.05: needs more than 0.05 of the mean diagonal
  const auto second = quantize(weight, hessian);
  CHECK(second.note == "damping 0.1");
  CHECK(second.encoding == Encoding::row_codes);
  hessian[0][1] = hessian[1][0] = 3.0f;
  const auto none = quantize(weight, hessian);
  CHECK(none.encoding == Encoding::plain);
  CHECK(at::equal(none.codes, weight));
  CHECK_THAT(none.note, Catch::Contains("no damping worked"));
  CHECK(quantize(weight, hessian, {{"damping", {0.5, 2.5}}}).note == "damping 2.5");
}

TEST_CASE("zero rows stay zero, numbers that are not finite are refused by name") {
  at::manual_seed(8);
  auto weight = at::randn({5, 16});
  const auto hessian = make_hessian(16, 60);
  weight.select(0, 2).zero_();
  const auto q = quantize(weight, hessian);
  CHECK(q.codes.select(0, 2).abs().max().item<int>() == 0);
  CHECK(q.steps.isfinite().all().item<bool>());
  weight[0][0] = std::nanf("");
  CHECK_THROWS_WITH(quantize(weight, hessian), Catch::Contains("'w' is not finite"));
  CHECK_THROWS_WITH(quantize(at::randn({5, 16}), hessian.div(0)), Catch::Contains("not finite"));
  CHECK_THROWS_WITH(quantize(at::randn({5, 17}), hessian), Catch::Contains("Hessian of 'w'"));
}

TEST_CASE("other rules for the steps change the steps alone, and errors are fed back as before") {
  at::manual_seed(9);
  const auto weight = at::randn({24, 80}), hessian = make_hessian(80, 400);
  for (const Json& options : {Json{{"steps", "sdclip"}, {"sigmas", 8}}, Json{{"steps", "clip_search"}},
                              Json{{"steps", "tensor"}, {"sigmas", 9}}}) {
    INFO(options.dump());
    const auto q = quantize(weight, hessian, options);
    Json rounding = options;
    rounding["use"] = "round";
    rounding["bits"] = 5;
    static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
    const Weight weights[] = {{"w", weight}};
    const auto plain = catalogue.create_quantizer(rounding, QuantizerContext{nullptr})->quantize(weights, nullptr)[0];
    CHECK(at::equal(q.steps, plain.steps));
    CHECK(objective(decoded(q).sub(weight), hessian) < 0.8 * objective(decoded(plain).sub(weight), hessian));
  }
}

TEST_CASE("the low-rank part counts errors by the size of the inputs") {
  at::manual_seed(10);
  const auto weight = at::randn({40, 60}), hessian = make_hessian(60, 300);
  const double without = objective(decoded_value(quantize(weight, hessian, {{"bits", 3}})).sub(weight), hessian);
  const auto with = quantize(weight, hessian, {{"bits", 3}, {"low_rank", 6}, {"low_rank_dtype", "float16"}});
  CHECK(at::equal(with.codes, quantize(weight, hessian, {{"bits", 3}}).codes));
  const auto error = decoded_value(with).sub(weight), plain = decoded(with).sub(weight);
  // Of what it minimises, the diagonal's share, it takes away at least what the mean of its directions would.
  const auto diagonal = at::diag(hessian.diagonal());
  CHECK(objective(error, diagonal) < 0.8 * objective(plain, diagonal));
  CHECK(objective(error, hessian) < without * 1.05);
}

TEST_CASE("with bfloat16 the weight is rounded first, and the decoded value says so") {
  at::manual_seed(11);
  const auto weight = at::randn({8, 24}), hessian = make_hessian(24, 90);
  const auto q = quantize(weight, hessian, {{"bfloat16", true}, {"bits", 8}});
  CHECK(q.round_bfloat16);
  CHECK(at::equal(q.codes, quantize(weight.to(at::kBFloat16).to(at::kFloat), hessian, {{"bits", 8}}).codes));
}

TEST_CASE("many matrices at once give what each gives alone") {
  at::manual_seed(12);
  gptq::Settings settings;
  struct Size { std::int64_t rows, columns; };
  std::vector<gptq::Job> jobs;
  for (const auto size : {Size{9, 40}, Size{17, 40}, Size{4, 131}, Size{6, 12}, Size{5, 12}}) {
    const auto weight = at::randn({size.rows, size.columns});
    jobs.push_back({make_hessian(size.columns, 3 * size.columns), weight, weight.abs().amax(1).div(15)});
  }
  jobs[0].hessian.select(0, 11).zero_();  // a dead column
  jobs[0].hessian.select(1, 11).zero_();
  jobs[3].hessian = at::eye(12);
  jobs[3].hessian[0][1] = jobs[3].hessian[1][0] = 1.05f;  // needs more damping
  jobs[4].hessian = at::eye(12);
  jobs[4].hessian[0][1] = jobs[4].hessian[1][0] = 3.0f;  // none works
  for (const bool descending : {true, false}) {
    settings.descending = descending;
    const auto outcomes = gptq::quantize_jobs(jobs, settings);
    REQUIRE(outcomes.size() == jobs.size());
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      INFO("matrix " << i << ", descending " << descending);
      const auto factor = gptq::factorize(jobs[i].hessian, settings);
      REQUIRE(outcomes[i].has_value() == factor.has_value());
      if (!factor) continue;
      CHECK(outcomes[i]->damping == factor->damping);
      const auto alone = gptq::quantize_rows(jobs[i].rows, jobs[i].steps, *factor, settings).codes;
      CHECK(outcomes[i]->codes.sizes() == alone.sizes());
      // A value next to a tie may fall to the other side, and moves its row from there on.
      CHECK(outcomes[i]->codes.ne(alone).sum().item<std::int64_t>() <= jobs[i].rows.size(1) / 2);
      const auto error = [&](const at::Tensor& codes) {
        return objective(codes.to(at::kFloat).mul(jobs[i].steps.unsqueeze(1)).sub(jobs[i].rows), jobs[i].hessian);
      };
      CHECK(error(outcomes[i]->codes) < 1.02 * error(alone));
    }
  }
  CHECK_FALSE(gptq::quantize_jobs(jobs, settings)[4].has_value());
}
