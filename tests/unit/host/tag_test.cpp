#include "core/host/tag.h"

#include "tests/support/catch.h"

using namespace caddie;

namespace {

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("a tag falls into its fields, values with underscores whole") {
  const auto fields = abi_fields("caddie_abi__api_1__sdk_0a1b__torch_2_13_0_cpu__compiler_gnu_12");
  const std::vector<std::pair<std::string, std::string>> expected{
      {"api", "1"}, {"sdk", "0a1b"}, {"torch", "2_13_0_cpu"}, {"compiler", "gnu_12"}};
  CHECK(fields == expected);
  CHECK(abi_fields("something_else").empty());
  CHECK(abi_fields("caddie_abi").empty());
  CHECK(abi_fields("caddie_abi__odd").size() == 1);
}

TEST_CASE("this build's own tags are accepted, everything else is told apart by field") {
  const std::string host(host_abi());
  CHECK(abi_difference(host).empty());
  CHECK(abi_difference(host_abi_no_torch()).empty());
  CHECK(host_abi_no_torch().find("__torch_none__") != std::string_view::npos);
  CHECK(abi_difference(replaced(host, "__api_1__", "__api_9__")) == "api: plugin 9, host 1");
  CHECK(abi_difference(replaced(host, "__cxx_202002", "__cxx_201703")) == "cxx: plugin 201703, host 202002");
  CHECK(abi_difference(replaced(host, "__cxx_202002", "")) == "cxx: plugin (none), host 202002");
  CHECK(abi_difference(host + "__extra_1") == "extra: plugin 1, host (none)");
  CHECK(abi_difference("nonsense").find("api: plugin (none), host 1") == 0);
  // torch_none frees from the LibTorch field alone.
  CHECK(abi_difference(replaced(std::string(host_abi_no_torch()), "__api_1__", "__api_2__")) == "api: plugin 2, host 1");
}
