// Comparisons on synthetic runs: who belongs together, what is refused, and the figures of the table.
#include "registry/compare/compare.h"

#include <cmath>

#include "caddie/error.h"
#include "tests/support/catch.h"
#include "tests/support/run_fixture.h"
#include "tests/support/scratch.h"

using namespace caddie;
using namespace caddie::registry;
using caddie::test::make_run;
using caddie::test::ScratchFolder;
using caddie::test::SyntheticRun;

namespace {

// Three seeds: the scores of a study whose seeds go up and down together.
void make_seeds(const ScratchFolder& scratch, const SyntheticRun& like, const std::vector<double>& scores) {
  for (std::size_t i = 0; i < scores.size(); ++i) {
    SyntheticRun run = like;
    run.seed = static_cast<std::int64_t>(i) + 1;
    run.bpb = scores[i];
    run.train_seconds = 10 + static_cast<double>(i);
    make_run(scratch.path(), run);
  }
}

Comparison compared(const ScratchFolder& scratch, const std::vector<std::string>& names,
                    const CompareOptions& options = {}) {
  return compare(resolve_groups(scratch.path(), names), options);
}

std::string refusal(const ScratchFolder& scratch, const std::vector<std::string>& names,
                    const CompareOptions& options = {}) {
  try {
    compared(scratch, names, options);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::usage);
    return error.what();
  }
  return "no error";
}

SyntheticRun named(const std::string& name, double mlp_ratio = 3.5) {
  SyntheticRun run;
  run.name = name;
  run.change = {{"model", {{"mlp_ratio", mlp_ratio}}}};
  return run;
}

}  // namespace

TEST_CASE("names mean all their seeds, differences are paired, both units are given") {
  const ScratchFolder scratch;
  make_seeds(scratch, named("base"), {1.20, 1.25, 1.22});
  make_seeds(scratch, named("wide", 4), {1.19, 1.24, 1.211});
  const Comparison comparison = compared(scratch, {"wide", "base"}, {.baseline = "base", .metric = "val_bpb"});
  REQUIRE(comparison.rows.size() == 2);
  CHECK(comparison.unit == "bpb");
  CHECK(comparison.other_unit == "nats");
  const CompareRow& base = comparison.rows[0];
  CHECK(base.is_baseline);
  CHECK(base.name == "base");
  CHECK(base.runs.size() == 3);
  CHECK(base.mean == Approx((1.20 + 1.25 + 1.22) / 3));
  CHECK(base.train_seconds->mean == Approx(11));
  CHECK(base.train_seconds->worst == 12);
  CHECK(base.artifact_bytes->worst == 15'100'000);
  const CompareRow& wide = comparison.rows[1];
  const std::vector<double> a = {1.20, 1.25, 1.22}, b = {1.19, 1.24, 1.211};
  const TTest expected = paired_t(a, b);
  CHECK(wide.test.paired);
  CHECK(wide.test.difference == Approx(expected.difference));
  CHECK(*wide.test.low == Approx(*expected.low));
  CHECK(*wide.p_holm == *wide.test.p);
  CHECK(*wide.other_difference == Approx(expected.difference * std::log(2.0) * 3));  // 3 bytes a token
  // 0.0097 bits a byte are 0.0201 nats a token: more than 0.005, and clearly so.
  CHECK(wide.rule_met == true);
  CHECK(*wide.rule_p < 0.01);
  CHECK(wide.seeds_needed.has_value());

  const Comparison in_nats = compared(scratch, {"wide", "base"}, {.baseline = "base", .metric = "val", .unit = "nats"});
  CHECK(in_nats.metric == "val_bpb");
  CHECK(in_nats.rows[1].test.difference == Approx(*wide.other_difference));
  CHECK(*in_nats.rows[1].rule_p == *wide.rule_p);  // the rule's unit is its own
}

TEST_CASE("without partners Welch's test is used; with one seed there is no interval, and null in the JSON") {
  const ScratchFolder scratch;
  make_seeds(scratch, named("base"), {1.20, 1.25, 1.22});
  SyntheticRun other = named("other", 2);
  for (const std::int64_t seed : {7, 8}) {
    other.seed = seed;
    other.bpb = 1.1 + 0.01 * static_cast<double>(seed);
    make_run(scratch.path(), other);
  }
  SyntheticRun single = named("single", 5);
  single.seed = 9;
  make_run(scratch.path(), single);
  const Comparison comparison = compared(scratch, {"base", "other", "single"});
  CHECK(comparison.metric == "ttt_bpb");
  CHECK_FALSE(comparison.rows[1].test.paired);
  CHECK(comparison.rows[1].test.p.has_value());
  CHECK_FALSE(comparison.rows[2].test.p.has_value());
  CHECK(comparison.rows[2].notes.at(0).find("one seed") != std::string::npos);
  CHECK(*comparison.rows[1].p_holm == *comparison.rows[1].test.p);  // the one without a test does not count
  const Json row = to_json(comparison).at("rows").at(2);
  for (const char* key : {"low", "high", "p", "p_holm", "sd", "rule", "seeds_needed"}) CHECK(row.at(key).is_null());
  for (const char* key : {"name", "n", "mean", "difference", "low", "high", "p", "p_holm", "paired"})
    for (const Json& one : to_json(comparison).at("rows")) CHECK(one.contains(key));
  CHECK(to_json(comparison).dump().find("nan") == std::string::npos);
}

TEST_CASE("scores over another text or other bytes are refused, and so are nats of another tokenizer") {
  const ScratchFolder scratch;
  make_seeds(scratch, named("base"), {1.20, 1.25});
  SyntheticRun text = named("text"), bytes = named("bytes"), tokens = named("tokens", 4);
  text.text = "b";
  bytes.bytes = 3001;
  tokens.tokens = 900;
  make_seeds(scratch, text, {1.1, 1.2});
  make_seeds(scratch, bytes, {1.1, 1.2});
  make_seeds(scratch, tokens, {1.1, 1.2});
  CHECK_THAT(refusal(scratch, {"base", "text"}), Catch::Contains("different validation texts"));
  CHECK_THAT(refusal(scratch, {"base", "bytes"}), Catch::Contains("3000 and 3001 bytes"));
  CHECK_THAT(refusal(scratch, {"base", "tokens"}, {.unit = "nats"}), Catch::Contains("--unit bpb"));
  const Comparison comparison = compared(scratch, {"base", "tokens"});
  CHECK_FALSE(comparison.rows[1].rule_p.has_value());
  CHECK_FALSE(comparison.rows[1].other_difference.has_value());
  CHECK_FALSE(comparison.notes.empty());
  // What is no score does not depend on the text.
  CHECK(compared(scratch, {"base", "bytes"}, {.metric = "train_loss"}).unit == "nats");
}

TEST_CASE("runs of one manifest are one variant; the newest of a seed counts; unfinished ones are left out and said") {
  const ScratchFolder scratch;
  make_seeds(scratch, named("base"), {1.20, 1.25});
  make_seeds(scratch, named("other", 4), {1.1, 1.15});
  SyntheticRun again = named("base");
  again.started = "2026-05-01T10:00:00Z";
  again.bpb = 1.3;
  make_run(scratch.path(), again);
  SyntheticRun failed = named("base");
  failed.seed = 5;
  failed.status = "failed";
  make_run(scratch.path(), failed);
  const auto groups = resolve_groups(scratch.path(), {"base", "other"});
  REQUIRE(groups.size() == 2);
  REQUIRE(groups[0].runs.size() == 2);
  CHECK(groups[0].runs[0].scores.at("val_bpb").bits_per_byte == 1.3);
  CHECK(groups[0].notes.size() == 2);
  // Ids name single runs, and two of one manifest make a pair of seeds.
  const auto ids = resolve_groups(
      scratch.path(), {"20260401T100000Z_base_s1", "20260401T100000Z_base_s2", "20260401T100000Z_other_s1"});
  CHECK(ids.size() == 2);
  CHECK(ids[0].runs.size() == 2);
  CHECK_THAT(refusal(scratch, {"base"}), Catch::Contains("one variant only"));
  CHECK_THAT(refusal(scratch, {"base", "othre"}), Catch::Contains("Did you mean 'other'?"));
  CHECK_THAT(refusal(scratch, {"base", "other"}, {.baseline = "bese"}), Catch::Contains("did you mean 'base'?"));
  CHECK_THAT(refusal(scratch, {"base", "other"}, {.metric = "val_bqb"}), Catch::Contains("did you mean 'val_bpb'?"));
  CHECK_THAT(refusal(scratch, {"base", "other"}, {.unit = "bits"}), Catch::Contains("accepted: bpb, nats"));
}

TEST_CASE("one name and several manifests are told apart by what differs") {
  const ScratchFolder scratch;
  make_seeds(scratch, named("tiny"), {1.2, 1.3});
  SyntheticRun stored = named("tiny");
  stored.change["compress"] = {{"use", "store"}};
  stored.started = "2026-04-02T10:00:00Z";
  make_seeds(scratch, stored, {1.2, 1.3});
  const auto groups = resolve_groups(scratch.path(), {"tiny"});
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].name == "tiny");
  CHECK(groups[1].name == "tiny (compress.use=store)");
  const Comparison same = compare(groups, {});
  CHECK(*same.rows[1].test.p == 1.0);
  CHECK(*same.rows[1].test.low == 0.0);
  CHECK(same.rows[1].rule_met == false);
  CHECK_FALSE(same.rows[1].seeds_needed.has_value());
}

TEST_CASE("a sweep means all its variants, by folder or by name, the newest of that name") {
  const ScratchFolder scratch;
  for (const std::string folder : {"20260401T100000Z_study_aaaaaaaa", "20260501T100000Z_study_bbbbbbbb"})
    for (const std::string variant : {"base", "one", "two"}) {
      SyntheticRun run = named(variant, variant == "base" ? 3 : variant == "one" ? 4 : 5);
      run.started = folder.substr(0, 4) + "-" + folder.substr(4, 2) + "-01T10:00:00Z";
      run.sweep = {{"sweep", folder}, {"job", variant + "_s1"}, {"variant", variant}};
      make_seeds(scratch, run, {1.2, 1.21, 1.19});
    }
  const auto newest = resolve_groups(scratch.path(), {"study"});
  REQUIRE(newest.size() == 3);
  CHECK(newest[1].name == "one");
  CHECK(newest[0].runs.size() == 3);
  CHECK(newest[0].runs[0].id.starts_with("20260501"));
  const auto older = resolve_groups(scratch.path(), {"runs/sweeps/20260401T100000Z_study_aaaaaaaa"});
  CHECK(older[0].runs[0].id.starts_with("20260401"));
  CHECK(compare(newest, {.baseline = "two"}).rows[0].name == "two");
}

TEST_CASE("formats hold every variant") {
  const ScratchFolder scratch;
  make_seeds(scratch, named("base"), {1.20, 1.25, 1.22});
  make_seeds(scratch, named("a|b, \"c\"", 4), {1.19, 1.24, 1.211});
  const Comparison comparison = compared(scratch, {"base", "a|b, \"c\""});
  CHECK_THAT(to_csv(comparison), Catch::Contains("\"a|b, \"\"c\"\"\",3,ttt_bpb,bpb,"));
  CHECK_THAT(to_markdown(comparison), Catch::Contains("| a\\|b, \"c\" | 3 |") && Catch::Contains("0.005 nats"));
  CHECK_THAT(to_text(comparison), Catch::Contains("rule: better by at least 0.005 nats per token at p < 0.01"));
}
