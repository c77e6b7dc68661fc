// caddie artifact info | verify | decode: what an artifact holds, whether it is whole, and its weights as safetensors.
#include <memory>

#include "caddie/error.h"
#include "core/artifact/container.h"
#include "core/artifact/describe.h"
#include "core/base/hash.h"
#include "core/base/safetensors.h"
#include "core/host/catalogue.h"
#include "tools/cli/command.h"

namespace caddie::cli {
namespace {

artifact::Artifact read(const Globals& globals, const std::string& file) {
  const Catalogue catalogue(Catalogue::search_folders(globals.plugin_dirs));
  return artifact::read_artifact(
      file, [&](const Json& section) { return catalogue.create_compressor(section, CompressorContext{nullptr}); });
}

int info(const Globals& globals, const std::string& file, bool every_tensor) {
  const auto description = artifact::describe_artifact(read(globals, file));
  print_result(globals, canonical(description), artifact::description_as_text(description, every_tensor));
  return 0;
}

int verify(const Globals& globals, const std::string& file) {
  const auto whole = read(globals, file);  // checks every checksum
  const auto decoded = artifact::weights_hash(artifact::decoded_weights(whole));
  const Json result{{"ok", true},
                    {"file", file},
                    {"bytes", whole.header.file_bytes()},
                    {"tensors", whole.tensors.size()},
                    {"sha256", sha256_file(file)},
                    {"content_sha256", whole.header.content_sha256},
                    {"decoded_sha256", decoded}};
  print_result(globals, canonical(result),
               concat("whole: ", whole.header.file_bytes(), " bytes, ", whole.tensors.size(),
                      " tensors, every checksum holds\nfile    sha-256 ", result["sha256"].get<std::string>(),
                      "\ncontent sha-256 ", whole.header.content_sha256, "\ndecoded sha-256 ", decoded, "\n"));
  return 0;
}

int decode(const Globals& globals, const std::string& file, const std::string& output) {
  const auto weights = artifact::decoded_weights(read(globals, file));
  write_safetensors(output, weights, {{"decoded_sha256", artifact::weights_hash(weights)}});
  const Json result{{"file", output}, {"tensors", weights.size()}, {"decoded_sha256", artifact::weights_hash(weights)}};
  print_result(globals, canonical(result), concat(weights.size(), " tensors, float32, in ", output, "\n"));
  return 0;
}

}  // namespace

void add_artifact_commands(Command& root) {
  auto artifact = root.add("artifact", "Artifact files: what they hold, checksums, decoded weights");
  struct Arguments {
    std::string file, output;
    bool every_tensor = false;
  };
  const auto arguments = std::make_shared<Arguments>();

  artifact
      .add("info", "Container, model and sizes by tensor",
           "Examples:\n  caddie artifact info runs/RUN/artifact/model.caddie\n  caddie artifact info FILE --tensors")
      .argument("FILE", arguments->file, "An artifact, usually runs/RUN/artifact/model.caddie")
      .flag("--tensors", arguments->every_tensor, "One line a tensor, not one for all layers of a name")
      .run([arguments](const Globals& globals) { return info(globals, arguments->file, arguments->every_tensor); });

  artifact.add("verify", "Check every checksum and print the hashes; exit 6 if the file is damaged")
      .argument("FILE", arguments->file, "An artifact")
      .run([arguments](const Globals& globals) { return verify(globals, arguments->file); });

  artifact
      .add("decode", "Write the decoded weights as safetensors, float32",
           "Examples:\n  caddie artifact decode FILE --output weights.safetensors")
      .argument("FILE", arguments->file, "An artifact")
      .option("-o,--output", arguments->output, "Where the weights go")
      .run([arguments](const Globals& globals) {
        if (arguments->output.empty())
          throw Error(ErrorKind::usage, "no output file was given", "Add -o weights.safetensors");
        return decode(globals, arguments->file, arguments->output);
      });
}

}  // namespace caddie::cli
