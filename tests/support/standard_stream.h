// What holds for every compressor whose payload is a stream of a common format: the format's own tool decodes it; bombs,
// damage and surplus are refused. One test of a plugin calls these with its name and its tool.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "caddie/byte_shuffle.h"
#include "caddie/error.h"
#include "core/base/files.h"
#include "core/host/catalogue.h"
#include "tests/support/catch.h"

namespace caddie::test {

class StandardStream {
 public:
  // `probe`: a shell command that succeeds where the tool is; `decode`: decodes its input to its output.
  StandardStream(std::string name, std::string probe, std::string decode)
      : name_(std::move(name)), probe_(std::move(probe)), decode_(std::move(decode)) {}

  void is_decoded_by_its_tool(const std::vector<Json>& settings) const {
    const auto data = codes(30001);
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() / concat("caddie_", name_, "_", ::getpid());
    std::filesystem::create_directories(folder);
    const bool has_tool = std::system((probe_ + " > /dev/null 2>&1").c_str()) == 0;
    if (!has_tool) WARN("skipped: the tool that decodes " << name_ << " is not installed");
    for (const Json& options : settings) {
      const auto payload = compressed(*make(options), data);
      CHECK(payload.size() < 30001 * 3 / 4);
      CHECK(fault(payload, data.size(), options).empty());
      if (!has_tool) continue;
      write_atomic(folder / "a", std::span<const std::byte>(payload));
      REQUIRE(std::system((decode_ + " < " + (folder / "a").string() + " > " + (folder / "b").string()).c_str()) == 0);
      const auto stride = static_cast<std::size_t>(options.value("shuffle", 0));
      CHECK((read_bytes(folder / "b") == byte_shuffle(data, stride)));
    }
    std::filesystem::remove_all(folder);
  }

  void refuses_a_bomb() const {
    // 64 MiB of zeros in a few KB, declared as 1000 bytes, and as more than there is.
    const auto payload = compressed(*make(), std::vector<std::byte>(std::size_t{1} << 26));
    CHECK(payload.size() < 100000);
    CHECK_THAT(fault(payload, 1000), Catch::Contains("declares"));
    CHECK_THAT(fault(payload, (std::size_t{1} << 26) + 1), Catch::Contains("bytes"));
  }

  void refuses_truncation_surplus_and_damage() const {
    const auto data = codes(4000);
    const auto payload = compressed(*make(), data);
    for (std::size_t size = 0; size < payload.size(); size += 13)
      CHECK_FALSE(fault(std::span(payload).first(size), 4000).empty());
    auto longer = payload;
    longer.push_back(std::byte{0});
    CHECK_THAT(fault(longer, 4000), Catch::Contains("follow"));
    for (std::size_t i = 0; i < payload.size(); i += 7) {
      auto damaged = payload;
      damaged[i] ^= std::byte{16};
      fault(damaged, 4000);  // checks the kind
    }
  }

 private:
  std::shared_ptr<Compressor> make(const Json& options = Json::object()) const {
    static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
    Json section = options;
    section["use"] = name_;
    return catalogue.create_compressor(section, CompressorContext{nullptr});
  }

  static std::vector<std::byte> codes(std::size_t size) {
    Random random(1, "codes");
    std::vector<std::byte> data;
    for (std::size_t i = 0; i < size; ++i)
      data.push_back(
          static_cast<std::byte>(std::clamp(static_cast<int>(std::nearbyint(random.normal() * 4.9)), -15, 15)));
    return data;
  }

  static std::vector<std::byte> compressed(Compressor& compressor, const std::vector<std::byte>& data) {
    const Blob one{{"w.codes", ElementType::int8, 1, static_cast<std::int64_t>(data.size())}, data};
    return compressor.compress(std::span(&one, 1));
  }

  // The error's text; empty if it decodes.
  std::string fault(std::span<const std::byte> payload, std::size_t size, const Json& options = Json::object()) const {
    const BlobShape shape{"w.codes", ElementType::int8, 1, static_cast<std::int64_t>(size)};
    std::vector<std::byte> result(size);
    const std::span<std::byte> outputs[] = {result};
    try {
      make(options)->decompress(payload, std::span(&shape, 1), outputs);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::data);
      return error.what();
    }
    return {};
  }

  std::string name_, probe_, decode_;
};

}  // namespace caddie::test
