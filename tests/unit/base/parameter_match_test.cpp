#include "core/base/parameter_match.h"

#include "caddie/error.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

const std::vector<Parameter>& parameters() {
  static const std::vector<Parameter> all = {{"embedding.weight", {}, Role::embedding, "embedding", -1},
                                             {"blocks.0.mlp.up.weight", {}, Role::matrix, "mlp", 0},
                                             {"blocks.1.mlp.up.weight", {}, Role::matrix, "mlp", 1},
                                             {"blocks.1.attention.query.weight", {}, Role::matrix, "attention", 1},
                                             {"blocks.1.mlp_scale", {}, Role::vector, "control", 1}};
  return all;
}

std::string complaint(const std::vector<std::string>& entries) {
  try {
    assign_parameters(parameters(), entries, "optimizers");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::usage);
    return error.message();
  }
  return "";
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("name patterns: a star stands for any text") {
  CHECK(matches_pattern("blocks.*.weight", "blocks.0.mlp.up.weight"));
  CHECK(matches_pattern("*", ""));
  CHECK(matches_pattern("a*b*c", "aXbYbZc"));
  CHECK(matches_pattern("abc", "abc"));
  CHECK_FALSE(matches_pattern("abc", "abcd"));
  CHECK_FALSE(matches_pattern("", "a"));
  CHECK_FALSE(matches_pattern("blocks.*.weight", "blocks.0.mlp_scale"));
  CHECK_FALSE(matches_pattern("a*b", "a"));
}

TEST_CASE("match takes a role, a group or a pattern") {
  CHECK(select_parameters(parameters(), "matrix", "x") == std::vector<std::size_t>{1, 2, 3});
  CHECK(select_parameters(parameters(), "mlp", "x") == std::vector<std::size_t>{1, 2});
  CHECK(select_parameters(parameters(), "blocks.1.*", "x") == std::vector<std::size_t>{2, 3, 4});
  CHECK_THROWS_AS(select_parameters(parameters(), "matrxi", "x"), Error);
}

TEST_CASE("every parameter belongs to exactly one entry") {
  const std::vector<std::string> good = {"matrix", "embedding", "vector"};
  CHECK(assign_parameters(parameters(), good, "optimizers") == std::vector<std::size_t>{1, 0, 0, 0, 2});
  const std::string lacking = complaint({"matrix", "embedding"});
  CHECK(says(lacking, "blocks.1.mlp_scale"));
  CHECK(says(lacking, "'matrix', 'embedding'"));
  const std::string twice = complaint({"matrix", "mlp", "embedding", "vector"});
  CHECK(says(twice, "blocks.0.mlp.up.weight (matrix, mlp): 'matrix', 'mlp'"));
  CHECK_FALSE(says(twice, "query"));
  CHECK(says(complaint({"*", "nothing"}), "'nothing' matches no parameter"));
  CHECK(says(complaint({}), "entries: none"));
}

TEST_CASE("a role that the model lacks is no mistake") {
  const std::vector<Parameter> one = {parameters()[1]};
  CHECK(assign_parameters(one, std::vector<std::string>{"matrix", "vector"}, "optimizers").front() == 0);
}
