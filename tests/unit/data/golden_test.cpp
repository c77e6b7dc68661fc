// The room against the golden bundles, when CADDIE_GOLDEN names the folder that holds them.
#include <cstdlib>
#include <cstring>
#include <map>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/data/byte_table.h"
#include "core/data/loader.h"
#include "core/data/shards.h"
#include "core/data/tokenizer.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::data;
namespace fs = std::filesystem;

namespace {

struct Bundle {
  fs::path folder;
  Json description, header;
  std::string tensors;
  std::size_t start = 0;

  explicit Bundle(const fs::path& path) : folder(path), description(read_json(path / "bundle.json")) {
    tensors = read_text(path / "tensors.safetensors");
    std::uint64_t size = 0;
    std::memcpy(&size, tensors.data(), 8);
    header = Json::parse(tensors.substr(8, size));
    start = 8 + size;
  }
  template <class T>
  std::vector<std::int64_t> read_as(const Json& entry) const {
    const std::size_t from = entry["data_offsets"][0], to = entry["data_offsets"][1];
    std::vector<T> raw((to - from) / sizeof(T));
    std::memcpy(raw.data(), tensors.data() + start + from, to - from);
    return {raw.begin(), raw.end()};
  }
  std::vector<std::int64_t> integers(const std::string& key) const {
    const Json& entry = header.at(key);
    const std::string type = entry["dtype"];
    if (type == "I32") return read_as<std::int32_t>(entry);
    if (type == "I16") return read_as<std::int16_t>(entry);
    if (type == "I8") return read_as<std::int8_t>(entry);
    REQUIRE(type == "U8");
    return read_as<std::uint8_t>(entry);
  }
  std::vector<std::int64_t> expected(const Json& check, const std::string& output) const {
    return integers(check["expect"][output]["tensor"]);
  }
  fs::path tokenizer(const std::string& label) const {
    if (description["tokenizers"][label]["in_bundle"]) return folder / (label + ".model");
    return folder / "../../data/tokenizers" / (label + ".model");
  }
};

template <class T>
std::vector<std::int64_t> wide(const T& values) {
  return {values.begin(), values.end()};
}

std::vector<Bundle> bundles() {
  std::vector<Bundle> out;
  const char* root = std::getenv("CADDIE_GOLDEN");
  if (root == nullptr) {
    WARN("skipped: CADDIE_GOLDEN does not name a folder of golden bundles");
    SUCCEED();
    return out;
  }
  for (const auto& entry : fs::directory_iterator(root))
    if (fs::exists(entry.path() / "bundle.json")) out.emplace_back(entry.path());
  CHECK(!out.empty());
  return out;
}

template <class Action>
void each(const std::string& kind, const Action& action) {
  for (const Bundle& bundle : bundles())
    for (const Json& check : bundle.description["checks"])
      if (check["kind"] == kind) {
        INFO(bundle.folder.string() << " " << check["id"]);
        action(bundle, check);
      }
  SUCCEED();
}

}  // namespace

TEST_CASE("golden byte tables") {
  each("byte_table", [](const Bundle& bundle, const Json& check) {
    const ByteTable table = ByteTable::from_file(bundle.tokenizer(check["settings"]["tokenizer"]));
    CHECK(wide(table.bytes()) == bundle.expected(check, "bytes"));
    CHECK(wide(table.leading_space()) == bundle.expected(check, "leading_space"));
    CHECK(wide(table.boundary()) == bundle.expected(check, "boundary"));
  });
}

TEST_CASE("golden encodings, and the normalizer's own count of their bytes") {
  each("encode", [](const Bundle& bundle, const Json& check) {
    const Tokenizer tokenizer = Tokenizer::from_file(bundle.tokenizer(check["settings"]["tokenizer"]));
    const ByteTable table(tokenizer.model());
    const Normalizer normalizer(tokenizer.model());
    std::vector<std::int64_t> ids, counts, bytes;
    for (const std::string text : check["settings"]["texts"]) {
      const std::vector<std::int32_t> document = tokenizer.encode_document(text);
      ids.insert(ids.end(), document.begin() + 1, document.end());
      CHECK(tokenizer.encode_by_library(text) == std::vector<std::int32_t>(document.begin() + 1, document.end()));
      counts.push_back(static_cast<std::int64_t>(document.size()) - 1);
      bytes.push_back(table.sum(std::vector<std::uint16_t>(document.begin(), document.end())));
      if (tokenizer.model().byte_fallback && !tokenizer.model().add_dummy_prefix) {
        INFO(text);
        CHECK(bytes.back() == static_cast<std::int64_t>(normalizer.normalize(text).size()));
        CHECK(tokenizer.decode(document) == normalizer.normalize(text));
      }
    }
    CHECK(ids == bundle.expected(check, "ids"));
    CHECK(counts == bundle.expected(check, "counts"));
    CHECK(bytes == bundle.expected(check, "bytes"));
  });
}

TEST_CASE("golden shards, whole and broken") {
  each("shards", [](const Bundle& bundle, const Json& check) {
    const fs::path folder = bundle.folder / check["settings"]["folder"].get<std::string>();
    for (const auto& [name, expected] : check["expect"].items()) {
      if (name == "valid_tokens") {
        CHECK(wide(Shard(folder / "valid.bin").tokens()) == bundle.expected(check, name));
        continue;
      }
      INFO(name);
      std::int64_t tokens = -1;
      try {
        tokens = static_cast<std::int64_t>(Shard(folder / name).tokens().size());
        CHECK(check_shard(folder / name) == tokens);
      } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::data);
        CHECK_THROWS_AS(check_shard(folder / name), Error);
      }
      CHECK((tokens >= 0) == expected["value"]["accepted"].get<bool>());
      if (tokens >= 0) CHECK(tokens == expected["value"]["tokens"].get<std::int64_t>());
    }
  });
}

TEST_CASE("golden loader") {
  each("loader", [](const Bundle& bundle, const Json& check) {
    const Json& s = check["settings"];
    LoaderSettings settings;
    settings.shards = resolve_shards({(bundle.folder / s["files"].get<std::string>()).string()});
    settings.sequence = s["sequence"];
    settings.tokens_per_step = s["tokens_per_step"];
    settings.world = s["world"];
    settings.micro_batches = s["micro_steps"].get<std::int64_t>() * settings.world;
    std::vector<std::unique_ptr<Loader>> ranks;
    for (settings.rank = 0; settings.rank < settings.world; ++settings.rank)
      ranks.push_back(std::make_unique<Loader>(settings));
    std::vector<std::int64_t> inputs, targets;
    for (std::int64_t micro = 0; micro < s["steps"].get<std::int64_t>() * s["micro_steps"].get<std::int64_t>(); ++micro)
      for (const auto& rank : ranks) {
        const Batch batch = rank->next();
        const at::Tensor x = batch.inputs.contiguous(), y = batch.targets.contiguous();
        inputs.insert(inputs.end(), x.const_data_ptr<std::int64_t>(), x.const_data_ptr<std::int64_t>() + x.numel());
        targets.insert(targets.end(), y.const_data_ptr<std::int64_t>(), y.const_data_ptr<std::int64_t>() + y.numel());
      }
    CHECK(inputs == bundle.expected(check, "inputs"));
    CHECK(targets == bundle.expected(check, "targets"));
  });
}
