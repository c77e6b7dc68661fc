// Scores and test-time training: eval_flat, eval_sliding, windows, ttt.
#include <ATen/ops/empty.h>

#include <span>

#include "core/eval/adapt.h"
#include "core/eval/evaluate.h"
#include "core/eval/windows.h"
#include "core/parity/kinds.h"
#include "core/parity/setup.h"

namespace caddie::parity {
namespace {

at::Tensor tensor_of(std::span<const std::vector<std::int64_t>> rows, std::int64_t columns) {
  auto table = at::empty({static_cast<std::int64_t>(rows.size()), columns}, at::kLong);
  auto* out = table.mutable_data_ptr<std::int64_t>();
  for (const auto& row : rows)
    for (const auto value : row) *out++ = value;
  return table;
}

at::Tensor window_table(std::span<const eval::Window> windows) {
  std::vector<std::vector<std::int64_t>> rows;
  for (const auto& window : windows) rows.push_back({window.start, window.from, window.to});
  return tensor_of(rows, 3);
}

eval::Settings score_settings(const CheckRun& run, const Json& section) {
  eval::Settings settings;
  settings.sequence = run.get<std::int64_t>(section, "sequence");
  settings.stride = section.value("stride", settings.stride);
  return settings;
}

void give_score(CheckRun& run, const eval::Score& score) {
  run.give("loss", Json(score.loss()));
  run.give("bits_per_byte", Json(score.bits_per_byte()));
  run.give("tokens", Json(score.tokens));
  run.give("bytes", Json(score.bytes));
}

std::int64_t usable(const eval::Text& text, std::int64_t sequence) {
  return eval::usable_targets(text.tokens.size(0) - 1, sequence);
}

void give_chunk_windows(CheckRun& run, std::span<const eval::Window> windows, std::int64_t targets,
                        std::int64_t chunk) {
  std::vector<std::vector<std::int64_t>> rows;
  const auto chunks = eval::assign_chunks(windows, chunk, eval::chunk_count(targets, chunk));
  for (std::size_t i = 0; i < chunks.size(); ++i)
    for (std::int64_t w = chunks[i].first; w < chunks[i].first + chunks[i].count; ++w) {
      const auto& window = windows[static_cast<std::size_t>(w)];
      rows.push_back({static_cast<std::int64_t>(i), window.start, window.from, window.to});
    }
  run.give("windows", tensor_of(rows, 4));
}

}  // namespace

void check_eval_flat(CheckRun& run) {
  const auto settings = score_settings(run, run.settings());
  const auto model = make_model(run, settings.sequence);
  give_score(run,
             eval::flat(*model, make_text(run, run.setting<std::string>("tokenizer"), run.tokens("tokens")), settings));
}

void check_eval_sliding(CheckRun& run) {
  const auto settings = score_settings(run, run.settings());
  const auto model = make_model(run, settings.sequence);
  const auto text = make_text(run, run.setting<std::string>("tokenizer"), run.tokens("tokens"));
  run.give("windows", window_table(eval::sliding_windows(usable(text, settings.sequence), settings.sequence,
                                                         run.setting<std::int64_t>("stride"))));
  give_score(run, eval::sliding(*model, text, settings));
}

void check_windows(CheckRun& run) {
  const auto cases = run.setting<std::vector<Json>>("cases");
  for (std::size_t i = 0; i < cases.size(); ++i)
    run.give(concat("case_", i), window_table(eval::sliding_windows(run.get<std::int64_t>(cases[i], "targets"),
                                                                    run.get<std::int64_t>(cases[i], "sequence"),
                                                                    run.get<std::int64_t>(cases[i], "stride"))));
}

void check_ttt(CheckRun& run) {
  if (run.settings().value("world", 1) != 1) throw NotCovered{"several ranks in one process"};
  if (run.settings().value("fake_quant", false)) throw NotCovered{"test-time training with fake quantization"};
  const auto settings = score_settings(run, run.settings());
  const auto model = make_model(run, settings.sequence);
  const auto text = make_text(run, run.setting<std::string>("tokenizer"), run.tokens("tokens"));
  const Json section = ttt_section(run, run.settings());
  const auto strategy = run.catalogue().create_ttt(section, TttContext{&run.services()});
  const auto ttt = eval::TttSettings::from_json(section);
  const auto targets = usable(text, settings.sequence);
  give_chunk_windows(run, eval::sliding_windows(targets, settings.sequence, settings.stride), targets, ttt.chunk);

  const auto give_parameters = [&](const std::string& prefix) {
    for (const Parameter& parameter : model->parameters()) run.give(prefix + parameter.name, parameter.tensor.detach());
  };
  const auto result =
      eval::adapt(*model, text, settings, ttt, *strategy, nullptr, nullptr, [&](const eval::ChunkRecord& record) {
        if (record.index == 0) give_parameters("after_chunk_0/");
      });
  for (const auto& record : result.chunks) {
    const std::string prefix = concat("chunk_", record.index, "/");
    run.give(prefix + "nats", Json(record.score.nats));
    run.give(prefix + "tokens", Json(record.score.tokens));
    run.give(prefix + "bytes", Json(record.score.bytes));
    run.give(prefix + "rate", Json(record.rate));
  }
  give_parameters("after_all/");
  run.give("bits_per_byte", Json(result.score.bits_per_byte()));
}

}  // namespace caddie::parity
