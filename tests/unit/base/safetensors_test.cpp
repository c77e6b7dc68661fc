#include "core/base/safetensors.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <unistd.h>

#include <cstring>

#include "caddie/error.h"
#include "tests/support/catch.h"

using namespace caddie;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / ("caddie_safetensors_" + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

// A file with this header and that many bytes of data.
fs::path raw(const Folder& folder, const std::string& header, std::size_t data_bytes, std::uint64_t claimed = 0) {
  std::uint64_t length = claimed != 0 ? claimed : header.size();
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  text += header + std::string(data_bytes, 'x');
  const fs::path path = folder.path / "raw.safetensors";
  write_atomic(path, text);
  return path;
}

std::string refusal(const fs::path& path) {
  try {
    SafetensorsReader reader(path);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::data);
    return error.message();
  }
  return "accepted";
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("safetensors: every type, empty and scalar tensors, strides and metadata survive") {
  const Folder folder;
  const auto path = folder.path / "a.safetensors";
  const at::Tensor numbers = at::arange(24, at::kFloat).reshape({2, 3, 4});
  NamedTensors tensors;
  for (auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar, at::kByte})
    tensors.emplace_back(concat("t/", c10::toString(type)), numbers.to(type));
  tensors.emplace_back("transposed", numbers.transpose(0, 2));
  tensors.emplace_back("empty", at::empty({3, 0, 2}, at::kChar));
  tensors.emplace_back("scalar", at::scalar_tensor(1.5, at::kFloat));
  write_safetensors(path, tensors, {{"step", "7"}, {"note", "\"quoted\""}});

  const SafetensorsReader reader(path);
  CHECK(reader.names().size() == tensors.size());
  CHECK(reader.metadata().at("note") == "\"quoted\"");
  for (const auto& [name, value] : tensors) {
    INFO(name);
    const at::Tensor read = reader.tensor(name);
    CHECK(read.scalar_type() == value.scalar_type());
    CHECK(read.sizes() == value.sizes());
    CHECK(read.equal(value));
  }
  CHECK_FALSE(reader.has("missing"));
  CHECK_THROWS_AS(reader.tensor("missing"), Error);
}

TEST_CASE("safetensors: the bytes do not depend on the order") {
  const Folder folder;
  const at::Tensor a = at::arange(3, at::kFloat), b = at::arange(5, at::kShort);
  write_safetensors(folder.path / "1", {{"a", a}, {"b", b}});
  write_safetensors(folder.path / "2", {{"b", b}, {"a", a}});
  CHECK(read_text(folder.path / "1") == read_text(folder.path / "2"));
  CHECK_THROWS_AS(write_safetensors(folder.path / "3", {{"a", a}, {"a", b}}), Error);
  CHECK_THROWS_AS(write_safetensors(folder.path / "3", {{"a", a.to(at::kComplexFloat)}}), Error);
  CHECK_FALSE(fs::exists(folder.path / "3"));
}

TEST_CASE("safetensors: damaged and hostile files are refused with their reason") {
  const Folder folder;
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  CHECK(refusal(raw(folder, "{" + a + "}", 8)) == "accepted");
  CHECK(refusal(raw(folder, "{}", 0)) == "accepted");
  write_atomic(folder.path / "short", std::string_view("abc"));
  CHECK(says(refusal(folder.path / "short"), "3 bytes"));
  CHECK(says(refusal(raw(folder, "{}", 0, 1ull << 62)), "header claims"));
  CHECK(says(refusal(raw(folder, "{}", 0, 1000)), "the file has"));
  CHECK(says(refusal(raw(folder, "{" + a, 8)), "not valid JSON"));
  CHECK(says(refusal(raw(folder, "[1]", 0)), "not a JSON object"));
  CHECK(says(refusal(raw(folder, "{" + a + "," + a + "}", 8)), "twice"));
  CHECK(says(refusal(raw(folder, std::string(100000, '['), 0)), "not accepted"));
  CHECK(says(refusal(raw(folder, "{" + a + "}", 7)), "cut short"));
  CHECK(says(refusal(raw(folder, "{" + a + "}", 9)), "belong to none"));
  const auto one = [&](const std::string& type, const std::string& shape, const std::string& offsets) {
    return refusal(raw(folder, R"({"a":{"dtype":)" + type + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}", 8));
  };
  CHECK(says(one("\"F8\"", "[2]", "[0,8]"), "dtype"));
  CHECK(says(one("3", "[2]", "[0,8]"), "dtype"));
  CHECK(says(one("\"F32\"", "[-2]", "[0,8]"), "shape"));
  CHECK(says(one("\"F32\"", "[2.0]", "[0,8]"), "shape"));
  CHECK(says(one("\"F32\"", "2", "[0,8]"), "shape"));
  CHECK(says(one("\"F32\"", "[4611686018427387904,4]", "[0,0]"), "impossible shape"));
  CHECK(says(one("\"F32\"", "[0,4611686018427387904,4]", "[0,0]"), "impossible shape"));
  CHECK(says(one("\"F32\"", "[3]", "[0,8]"), "needs 12 bytes"));
  CHECK(says(one("\"F32\"", "[2]", "[8,0]"), "needs 8 bytes"));
  CHECK(says(one("\"F32\"", "[2]", "[0]"), "data_offsets"));
  CHECK(says(one("\"F32\"", "[1]", "[4,8]"), "gap"));
  CHECK(says(refusal(raw(folder, "{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})", 8)), "inside"));
  CHECK(says(refusal(raw(folder, R"({"a":{"dtype":"F32","shape":[2]}})", 8)), "exactly"));
  CHECK(says(refusal(raw(folder, R"({"__metadata__":{"a":1}})", 0)), "not text"));
}
