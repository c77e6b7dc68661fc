#include "core/config/frozen.h"

#include "core/base/files.h"
#include "core/base/hash.h"

namespace caddie {
namespace fs = std::filesystem;

Json freeze(const Manifest& manifest) {
  Json sources = Json::array();
  for (const fs::path& source : manifest.sources) sources.push_back(source.string());
  return {{"frozen", 1},
          {"file", manifest.file.string()},
          {"sources", sources},
          {"text", manifest.text},
          {"overrides", manifest.overrides},
          {"resolved", manifest.resolved},
          {"hash", sha256(canonical(manifest.resolved))},
          {"origins", manifest.origins}};
}

std::optional<Manifest> read_frozen(const fs::path& file) {
  std::error_code code;
  if (file.extension() != ".json" || !fs::is_regular_file(file, code)) return std::nullopt;
  const Json json = Json::parse(read_text(file), nullptr, false);
  if (!json.is_object() || !json.contains("frozen")) return std::nullopt;
  try {
    CADDIE_CHECK(json.at("frozen") == 1, ErrorKind::data, "'frozen' is ", json.at("frozen").dump(),
                 ", this program reads 1");
    Manifest manifest;
    manifest.file = json.at("file").get<std::string>();
    for (const Json& source : json.at("sources")) manifest.sources.emplace_back(source.get<std::string>());
    manifest.text = json.at("text");
    manifest.overrides = json.at("overrides").get<std::vector<std::string>>();
    manifest.resolved = json.at("resolved");
    manifest.origins = json.at("origins").get<std::map<std::string, std::string>>();
    CADDIE_CHECK(sha256(canonical(manifest.resolved)) == json.at("hash").get<std::string>(), ErrorKind::data,
                 "'resolved' is not what was frozen");
    return manifest;
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::data, concat(file.string(), " is not a frozen manifest: ", error.what()));
  } catch (Error& error) {
    throw error.add_context("frozen manifest " + file.string());
  }
}

}  // namespace caddie
