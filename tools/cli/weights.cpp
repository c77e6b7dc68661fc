// caddie weights export | import: weights as safetensors with the model's parameter names, out of a run and into one.
#include <filesystem>
#include <memory>

#include "caddie/error.h"
#include "core/base/log.h"
#include "core/pipeline/run.h"
#include "core/pipeline/weights_files.h"
#include "tools/cli/session.h"
#include "tools/cli/summary.h"

namespace caddie::cli {
namespace fs = std::filesystem;
namespace {

int export_command(const Globals& globals, const std::string& source, const std::string& output, bool last) {
  if (output.empty())
    throw Error(ErrorKind::usage, "no file to write", "caddie weights export RUN -o FILE.safetensors");
  const auto trained = pipeline::find_trained_weights(globals.runs, globals.cache, source);
  const auto weights = pipeline::export_weights(trained, last, output);
  std::int64_t elements = 0;
  for (const auto& [name, value] : weights) elements += value.numel();
  const Json result{{"file", fs::absolute(output).string()}, {"tensors", weights.size()}, {"elements", elements},
                    {"weights_hash", artifact::weights_hash(weights)}, {"train_key", trained.key}};
  print_result(globals, canonical(result),
               concat(weights.size(), " tensors, ", with_commas(elements), " float32 numbers, in ", output,
                      "\nread elsewhere with: safetensors.torch.load_file(\"", output, "\")\n"));
  return 0;
}

int import_command(const Globals& globals, const std::string& file, const std::string& manifest,
                   std::vector<std::string> overrides) {
  overrides.push_back("train.weights=" + file);
  const pipeline::Session session = make_session(globals, manifest, overrides);
  pipeline::RunOptions options;
  options.runs = globals.runs;
  options.cache = globals.cache;
  options.until = "train";
  const pipeline::RunOutcome outcome = pipeline::run(session, options);
  if (outcome.error) throw *outcome.error;
  print_result(globals, canonical(outcome.result),
               concat("the weights fit the model; their run is ", outcome.result.at("run").get<std::string>(),
                      "\nquantize, score and adapt them with:\n  caddie run ", manifest, " --weights ", file, "\n"));
  return 0;
}

}  // namespace

void add_weights_commands(Command& root) {
  struct Arguments {
    std::string source, output, file, manifest;
    std::vector<std::string> overrides;
    bool last = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto weights = root.add("weights", "Weights as safetensors, out of a run and into one: export, import");
  auto out = weights.add("export", "The trained weights of a run",
                         "Example:\n  caddie weights export 20261124T -o weights.safetensors\n");
  out.argument("run", arguments->source, "A run's id, the beginning of one, its folder, or the key of a train stage");
  out.option("-o,--output", arguments->output, "The file to write");
  out.flag("--last", arguments->last, "The last step's weights in place of their average");
  out.run([arguments](const Globals& globals) {
    return export_command(globals, arguments->source, arguments->output, arguments->last);
  });
  auto in = weights.add("import", "Weights that were trained elsewhere in place of a manifest's training",
                        "Names, shapes and number formats are checked against the manifest's model.\n"
                        "Example:\n  caddie weights import weights.safetensors experiments/quickstart.yaml\n"
                        "  caddie run experiments/quickstart.yaml --weights weights.safetensors\n");
  in.argument("file", arguments->file, "The safetensors file");
  in.argument("manifest", arguments->manifest, "The manifest whose model they are for");
  in.arguments("overrides", arguments->overrides, "Changes, key.path=value");
  in.run([arguments](const Globals& globals) {
    return import_command(globals, arguments->file, arguments->manifest, arguments->overrides);
  });
}

}  // namespace caddie::cli
