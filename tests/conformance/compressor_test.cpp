// Compressors: what goes in comes out; the same bytes on any number of threads; hostile payloads are errors, never
// crashes, and nothing is written outside of the outputs.
#include <cmath>
#include <cstring>
#include <optional>
#include <span>

#include "tests/conformance/suite.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::conformance;

namespace {

using Bytes = std::vector<std::byte>;

struct Input {
  std::vector<BlobShape> shapes;
  std::vector<Bytes> data;

  void add(const std::string& name, ElementType type, std::int64_t rows, std::int64_t columns, int spread) {
    Random random(11, name);
    shapes.push_back({name, type, rows, columns});
    Bytes bytes(shapes.back().bytes());
    // A few small codes for a small spread, noise for 256, a constant for 1.
    for (auto& b : bytes) b = static_cast<std::byte>(static_cast<int>(random.below(static_cast<std::uint64_t>(spread))) - spread / 2);
    data.push_back(std::move(bytes));
  }
  std::vector<Blob> blobs() const {
    std::vector<Blob> list;
    for (std::size_t i = 0; i < shapes.size(); ++i) list.push_back({shapes[i], data[i]});
    return list;
  }
};

std::map<std::string, Input> inputs() {
  std::map<std::string, Input> all;
  all["no blobs"];
  all["an empty blob"].add("empty", ElementType::int8, 0, 7, 2);
  all["one byte"].add("byte", ElementType::uint8, 1, 1, 256);
  all["constant"].add("constant", ElementType::int8, 33, 65, 1);
  all["noise"].add("noise", ElementType::uint8, 61, 67, 256);
  Input& mixed = all["every type, odd sizes"];
  mixed.add("a.codes", ElementType::int8, 17, 31, 15);
  mixed.add("a.steps", ElementType::float16, 17, 1, 256);
  mixed.add("nothing", ElementType::float32, 3, 0, 2);
  mixed.add("b", ElementType::bfloat16, 5, 3, 256);
  mixed.add("c", ElementType::float32, 1, 13, 256);
  mixed.add("d", ElementType::int16, 7, 9, 4);
  mixed.add("e", ElementType::uint8, 1, 5, 256);
  return all;
}

constexpr std::byte kGuard{0xa5};
constexpr std::size_t kMargin = 64;

// Outputs inside of a guarded buffer each, so that a write outside is seen.
struct Outputs {
  std::vector<Bytes> buffers;
  std::vector<std::span<std::byte>> spans;
  explicit Outputs(const std::vector<BlobShape>& shapes) {
    for (const auto& shape : shapes) {
      Bytes& buffer = buffers.emplace_back(shape.bytes() + 2 * kMargin, kGuard);
      spans.emplace_back(buffer.data() + kMargin, shape.bytes());
    }
  }
  bool guards_hold() const {
    for (const Bytes& buffer : buffers)
      for (std::size_t i = 0; i < kMargin; ++i)
        if (buffer[i] != kGuard || buffer[buffer.size() - 1 - i] != kGuard) return false;
    return true;
  }
};

std::shared_ptr<Compressor> make(const std::string& name, Json section, QuietServices& services) {
  section["use"] = name;
  return catalogue().create_compressor(section, CompressorContext{&services});
}

void check_round_trip(Compressor& compressor, const Input& input) {
  const auto blobs = input.blobs();
  const Bytes payload = compressor.compress(blobs);
  CHECK((compressor.compress(blobs) == payload));  // in parentheses: bytes cannot be printed
  Outputs outputs(input.shapes);
  compressor.decompress(payload, input.shapes, outputs.spans);
  for (std::size_t i = 0; i < blobs.size(); ++i)
    CHECK(std::equal(outputs.spans[i].begin(), outputs.spans[i].end(), input.data[i].begin(), input.data[i].end()));
  CHECK(outputs.guards_hold());
}

// What a payload that was tampered with does: nothing else than an error or some output. Returns whether it threw.
bool throws_at_most(Compressor& compressor, const Bytes& payload, const std::vector<BlobShape>& shapes) {
  Outputs outputs(shapes);
  bool threw = false;
  try {
    compressor.decompress(payload, shapes, outputs.spans);
  } catch (const Error& error) {
    threw = true;
    CHECK(error.kind() == ErrorKind::data);
  }
  CHECK(outputs.guards_hold());
  return threw;
}

// Settings at the ends of every option's range, and every choice.
std::vector<Json> settings_of(const std::string& name) {
  std::vector<Json> list{Json::object()};
  const Component& component = catalogue().require(PluginKind::compressor, name);
  for (const OptionSpec& spec : std::span(component.options, component.option_count)) {
    for (const char* bound : {spec.minimum, spec.maximum})
      if (bound && spec.type != OptionType::numbers) list.push_back({{spec.key, Json::parse(bound)}});
    for (std::string_view rest = spec.choices ? spec.choices : ""; !rest.empty();) {
      const auto bar = std::min(rest.find('|'), rest.size());
      list.push_back({{spec.key, rest.substr(0, bar)}});
      rest.remove_prefix(std::min(bar + 1, rest.size()));
    }
    if (spec.type == OptionType::boolean) {
      list.push_back({{spec.key, true}});
      list.push_back({{spec.key, false}});
    }
  }
  return list;
}

}  // namespace

TEST_CASE("compressor: everything comes back as it was, whatever the options") {
  QuietServices services;
  for (const std::string& name : components(PluginKind::compressor))
    for (const Json& settings : settings_of(name)) {
      const auto compressor = make(name, settings, services);
      for (const auto& [title, input] : inputs()) {
        INFO(name << " " << settings.dump() << ": " << title);
        check_round_trip(*compressor, input);
      }
    }
}

TEST_CASE("compressor: the same bytes on one and on several threads") {
  QuietServices one(1), four(4);
  Input input;
  input.add("codes", ElementType::int8, 700, 512, 9);
  for (const std::string& name : components(PluginKind::compressor)) {
    INFO(name);
    CHECK((make(name, {}, one)->compress(input.blobs()) == make(name, {}, four)->compress(input.blobs())));
  }
}

TEST_CASE("compressor: a payload cut short, lengthened or with other blobs than it holds is an error") {
  QuietServices services;
  const Input input = inputs().at("every type, odd sizes");
  for (const std::string& name : components(PluginKind::compressor)) {
    const auto compressor = make(name, {}, services);
    const Bytes payload = compressor->compress(input.blobs());
    INFO(name);
    for (std::size_t length = 0; length < payload.size(); length += 1 + payload.size() / 50) {
      INFO("cut to " << length << " of " << payload.size());
      CHECK(throws_at_most(*compressor, Bytes(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(length)), input.shapes));
    }
    Bytes longer = payload;
    longer.push_back(std::byte{0});
    CHECK(throws_at_most(*compressor, longer, input.shapes));
    auto fewer = input.shapes, more = input.shapes;
    fewer.pop_back();
    more.back().columns += 64;  // by more than a shuffle's padding
    CHECK(throws_at_most(*compressor, payload, fewer));
    CHECK(throws_at_most(*compressor, payload, more));
  }
}

TEST_CASE("compressor: flipped bits and foreign bytes do no harm") {
  QuietServices services;
  const Input input = inputs().at("every type, odd sizes");
  for (const std::string& name : components(PluginKind::compressor)) {
    INFO(name);
    const auto compressor = make(name, {}, services);
    const Bytes payload = compressor->compress(input.blobs());
    for (std::size_t bit = 0; bit < payload.size() * 8; bit += 1 + payload.size() / 40) {
      Bytes damaged = payload;
      damaged[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
      throws_at_most(*compressor, damaged, input.shapes);
    }
    Random random(3, "foreign");
    for (std::size_t length = 0; length < 300; ++length) {
      Bytes foreign(length);
      for (auto& b : foreign) b = static_cast<std::byte>(random.below(256));
      throws_at_most(*compressor, foreign, input.shapes);
    }
  }
}

TEST_CASE("compressor: the expected size is a size") {
  QuietServices services;
  for (const std::string& name : components(PluginKind::compressor)) {
    INFO(name);
    const auto compressor = make(name, {}, services);
    for (const double raw : {0.0, 1e3, 1e7}) {
      const double expected = compressor->expected_bytes(raw, raw / 2);
      CHECK(std::isfinite(expected));
      CHECK(expected >= 0);
      CHECK(expected <= raw * 1.1 + 1024);
    }
    CHECK(compressor->expected_bytes(1e6, 1e5) <= compressor->expected_bytes(1e6, 9e5));
  }
}
