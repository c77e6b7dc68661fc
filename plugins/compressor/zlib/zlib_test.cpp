// The payload is a stream that the format's own tool decodes; bombs, damage and surplus are refused.
#include "tests/support/standard_stream.h"

using namespace caddie;

namespace {

const test::StandardStream stream("zlib", "python3 -c 'import zlib'",
                                  "python3 -c 'import sys, zlib; "
                                  "sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))'");

}  // namespace

TEST_CASE("the payload is a standard stream of the shuffled blobs") {
  stream.is_decoded_by_its_tool({Json::object(), Json{{"shuffle", 4}}, Json{{"level", 1}}});
}

TEST_CASE("a bomb is refused when the declared size is full") { stream.refuses_a_bomb(); }

TEST_CASE("truncation, surplus and damage are errors about data") { stream.refuses_truncation_surplus_and_damage(); }
