// The table of keys is sound: defaults fit their own ranges, parents exist.
#include "core/config/schema.h"

#include "core/config/options.h"
#include "core/config/scalar.h"
#include "tests/unit/config/fixture.h"

using namespace caddie_test;
using config::Type;

TEST_CASE("Defaults of the table fit their types and ranges") {
  for (const config::KeySpec& key : config::key_table()) {
    INFO(key.path);
    const config::Schema* schema = config::find_schema(key.path);
    REQUIRE(schema);
    CHECK(schema->spec == &key);
    const bool value = key.type == Type::boolean || key.type == Type::integer || key.type == Type::number ||
                       key.type == Type::text;
    if (value && key.fallback) CHECK(option_fault(schema->option(), Json::parse(key.fallback)).empty());
    for (const config::Schema& child : schema->children) CHECK(child.spec != nullptr);
  }
  CHECK(config::find_schema("quantize.tensors[match=a.b].match"));
  CHECK_FALSE(config::find_schema("quantize.tensors[0].bits"));
}

TEST_CASE("Plain scalars mean what YAML 1.2 says") {
  const auto value = [](const char* text) { return config::plain_value(text).value; };
  CHECK(value("0") == 0);
  CHECK(value("-12") == -12);
  CHECK(value("0x1F") == 31);
  CHECK(value("0o17") == 15);
  CHECK(value("1e3").is_number_float());
  CHECK(value("1.") == 1.0);
  CHECK(value("-.5e-1") == -0.05);
  CHECK(value("-9223372036854775808") == std::numeric_limits<std::int64_t>::min());
  CHECK(value("9223372036854775808").is_string());
  CHECK(value("1e400").is_string());
  CHECK(value("~").is_null());
  CHECK(value("False") == false);
  for (const char* text : {"yes", "off", "tRUE", "010", "1_0", ".inf", "-.INF", "nan", "0x", "0o9", "1e", "e5", ".",
                           "-", "+", "1.2.3", "12:30", "0b11", "2024-01-01"})
    CHECK(value(text) == text);
  for (const char* text : {"yes", "off", "tRUE", "010", "-007", "1_0", ".inf", "nan", "1e400"})
    CHECK_FALSE(config::plain_value(text).trap.empty());
  CHECK(config::plain_value("-007").suggestion == "-7");
}
