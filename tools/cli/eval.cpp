// caddie eval: scores an artifact alone. caddie sample: text from its model.
#include <ATen/ops/tensor.h>

#include <memory>

#include "caddie/error.h"
#include "core/eval/generate.h"
#include "core/pipeline/artifact_model.h"
#include "core/pipeline/run.h"
#include "core/pipeline/stages.h"
#include "tools/cli/session.h"

namespace caddie::cli {
namespace {

struct SampleArguments {
  std::string source, prompt, tokenizer, device = "auto";
  std::int64_t tokens = 128, count = 1, top_k = 0, seed = 1;
  double temperature = 0.8;
};

int eval_command(const Globals& globals, const std::string& source, const std::string& manifest,
                 const std::vector<std::string>& overrides) {
  const pipeline::Session session = make_session(globals, manifest, overrides);
  pipeline::RunOptions options;
  options.cache = globals.cache;
  const Json metrics = pipeline::evaluate_artifact(session, options, pipeline::find_artifact(globals.runs, source));
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, value] : metrics.items())
    rows.push_back({name, value.is_number_float() ? fixed(value.get<double>(), 6) : with_commas(value.get<std::int64_t>())});
  std::string text = table(rows);
  // A score of a part of the text never stands without that part's size.
  const Json limit = pipeline::evaluate_section(session).at("tokens");
  if (limit.is_number()) text += concat("  (evaluate.tokens=", limit.get<std::int64_t>(), ")\n");
  print_result(globals, canonical(metrics), text);
  return 0;
}

void check(const SampleArguments& arguments) {
  const auto in_range = [](std::int64_t value, std::int64_t low, std::int64_t high, const char* name) {
    if (value < low || value > high)
      throw Error(ErrorKind::usage, concat(name, " is ", value), concat("accepted: ", low, " to ", high));
  };
  in_range(arguments.tokens, 1, 1'000'000, "--tokens");
  in_range(arguments.count, 1, 1024, "--count");
  in_range(arguments.top_k, 0, 1 << 20, "--top-k");
  if (!(arguments.temperature >= 0))
    throw Error(ErrorKind::usage, concat("--temperature is ", arguments.temperature), "accepted: 0 (the likeliest token) and above");
}

int sample_command(const Globals& globals, const SampleArguments& arguments) {
  check(arguments);
  const auto file = pipeline::find_artifact(globals.runs, arguments.source);
  const auto catalogue = make_catalogue(globals);
  const auto made = pipeline::model_of_artifact(*catalogue, file, arguments.device);
  const data::Tokenizer tokenizer = pipeline::tokenizer_of_artifact(file, made.about, arguments.tokenizer);

  const std::vector<std::int32_t> ids = tokenizer.encode_document(arguments.prompt);
  const at::Device device = made.model->parameters().front().tensor.device();
  const at::Tensor prompt = at::tensor(ids).to(at::kLong).unsqueeze(0).repeat({arguments.count, 1}).to(device);
  // Positions beyond the trained length were never seen; the rest of the budget is left.
  const auto sequence = made.about.at("sequence").get<std::int64_t>();
  const std::int64_t room = sequence - prompt.size(1);
  if (room < 1)
    throw Error(ErrorKind::usage, concat("the prompt has ", prompt.size(1), " tokens, the model was trained on sequences of ", sequence),
                "Shorten the prompt.");
  Random random(static_cast<std::uint64_t>(arguments.seed), "sample");
  const at::Tensor out = eval::generate(*made.model, prompt, std::min(arguments.tokens, room),
                                        {arguments.temperature, arguments.top_k}, random).to(at::kCPU);
  Json texts = Json::array();
  std::string shown;
  for (std::int64_t i = 0; i < out.size(0); ++i) {
    std::vector<std::int32_t> all = ids;
    const at::Tensor row = out[i].contiguous();
    const auto* chosen = row.const_data_ptr<std::int64_t>();
    // A text ends where the model begins another document.
    for (std::int64_t t = 0; t < row.size(0) && chosen[t] != tokenizer.bos(); ++t)
      all.push_back(static_cast<std::int32_t>(chosen[t]));
    texts.push_back(tokenizer.decode(all));
    shown += (i > 0 ? "\n---\n" : "") + texts.back().get<std::string>();
  }
  print_result(globals, canonical(Json{{"texts", texts}, {"new_tokens", out.size(1)}}), shown);
  return 0;
}

}  // namespace

void add_eval_commands(Command& root) {
  struct EvalArguments {
    std::string source, manifest;
    std::vector<std::string> overrides;
  };
  auto wanted = std::make_shared<EvalArguments>();
  auto eval = root.add("eval", "Scores an artifact alone, as a manifest says",
                       "Example:\n  caddie eval runs/ID/artifact/model.caddie experiments/quickstart.yaml\n");
  eval.argument("artifact", wanted->source, "An artifact file, a run's folder or id");
  eval.argument("manifest", wanted->manifest, "The manifest: data, model, evaluate, ttt");
  eval.arguments("overrides", wanted->overrides, "Changes, key.path=value");
  eval.run([wanted](const Globals& globals) {
    return eval_command(globals, wanted->source, wanted->manifest, wanted->overrides);
  });

  auto arguments = std::make_shared<SampleArguments>();
  auto sample = root.add("sample", "Text from a model",
                         "Example:\n  caddie sample 20261124T --prompt \"In the beginning\" --count 3\n");
  sample.argument("artifact", arguments->source, "An artifact file, a run's folder or id");
  sample.option("--prompt", arguments->prompt, "The beginning of the text");
  sample.option("--tokens", arguments->tokens, "Tokens to write, at most to the trained sequence length");
  sample.option("--count", arguments->count, "Texts");
  sample.option("--temperature", arguments->temperature, "0: always the likeliest token");
  sample.option("--top-k", arguments->top_k, "Only among the K likeliest tokens; 0: all");
  sample.option("--seed", arguments->seed, "Of the choices");
  sample.option("--tokenizer", arguments->tokenizer, "The tokenizer, if it is not beside the artifact");
  sample.option("--device", arguments->device, "auto, cpu or cuda");
  sample.run([arguments](const Globals& globals) { return sample_command(globals, *arguments); });
}

}  // namespace caddie::cli
