// Making components, and what comes out of them when something is wrong.
#include "tests/plugin_host/fixture.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::fixture;

namespace {

Error creation_error(const Json& section) {
  const Catalogue catalogue({folder("create"), folder("good")});
  return error_of([&] { catalogue.create_compressor(section, CompressorContext{nullptr}); });
}

}  // namespace

TEST_CASE("options reach the component, with defaults where the section is silent") {
  const Catalogue catalogue({folder("good")});
  const auto level = [&](const Json& section) {
    return catalogue.create_compressor(section, CompressorContext{nullptr})->expected_bytes(0, 0);
  };
  CHECK(level({{"use", "alpha"}}) == 3);
  CHECK(level({{"use", "alpha"}, {"level", 8}}) == 8);
  CHECK(level({{"use", "alpha"}, {"level", 8}, {"match", "matrix"}}) == 8);
}

TEST_CASE("errors of a create function carry the component's name and keep their kind") {
  const Error own = creation_error({{"use", "throws_error"}});
  CHECK(own.kind() == ErrorKind::budget);
  CHECK(std::string(own.what()) == "compressor throws_error: too little memory\n  Lower the window.");
  const Error standard = creation_error({{"use", "throws_standard"}});
  CHECK(standard.kind() == ErrorKind::failed);
  CHECK(std::string(standard.what()) == "compressor throws_standard: no such codec");
  const Error number = creation_error({{"use", "throws_number"}});
  CHECK(number.kind() == ErrorKind::failed);
  CHECK(contains(number.what(), "compressor throws_number: its create function threw something that is not an exception"));
  CHECK(contains(creation_error({{"use", "creates_null"}}).what(),
                 "compressor creates_null: its create function returned nothing"));
}

TEST_CASE("options that do not fit are refused before the component is made") {
  const Error range = creation_error({{"use", "alpha"}, {"level", 12}});
  CHECK(range.kind() == ErrorKind::usage);
  CHECK(contains(range.what(), "compressor alpha: the option 'level' of 'alpha' is 12, accepted: integer from 1 to 9"));
  CHECK(contains(creation_error({{"use", "alpha"}, {"level", "high"}}).what(), "is a text, accepted: integer from 1 to 9"));
  CHECK(contains(creation_error({{"use", "needs_option"}}).what(), "'needed' of 'needs_option' must be given"));
  CHECK(contains(creation_error({{"use", "needs_option"}, {"needed", "c"}}).what(), "is \"c\", accepted: one of a|b"));
  CHECK(creation_error({{"level", 1}}).kind() == ErrorKind::usage);
  CHECK(creation_error({{"use", "gamma"}}).kind() == ErrorKind::usage);
}

TEST_CASE("exceptions of a plugin's methods are caught by type on the host's side") {
  const Catalogue catalogue({folder("create"), folder("autograd")});
  const auto later = catalogue.create_compressor({{"use", "throws_later"}}, CompressorContext{nullptr});
  CHECK(error_of([&] { later->compress({}); }).kind() == ErrorKind::data);  // a subclass that only the plugin knows
  CHECK_THROWS_AS(later->decompress({}, {}, {}), std::out_of_range);
  const auto model = catalogue.create_model({{"use", "cube"}}, ModelContext{nullptr, at::kCPU, Precision::float32, 16, 8});
  CHECK_THROWS_AS(model->nats({}, {}, 0), c10::Error);
}

TEST_CASE("a component lives on after its catalogue") {
  std::shared_ptr<Compressor> compressor;
  {
    const Catalogue catalogue({folder("good")});
    compressor = catalogue.create_compressor({{"use", "beta"}}, CompressorContext{nullptr});
  }
  CHECK(compressor->compress({}).size() == 4);
}
