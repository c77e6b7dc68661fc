#include "core/data/loader.h"

#include <numeric>
#include <thread>

#include "tests/support/catch.h"
#include "tests/unit/data/support.h"

using namespace caddie;
using namespace caddie::data;
using Catch::Matchers::Contains;

namespace {

// Two shards whose tokens are 0, 1, 2, ...
LoaderSettings ring(const Folder& folder, std::int64_t first, std::int64_t second) {
  std::vector<std::uint16_t> tokens(static_cast<std::size_t>(first + second));
  std::iota(tokens.begin(), tokens.end(), std::uint16_t{0});
  write_shard(folder / "0.bin", std::span(tokens).first(static_cast<std::size_t>(first)));
  write_shard(folder / "1.bin", std::span(tokens).subspan(static_cast<std::size_t>(first)));
  LoaderSettings settings;
  settings.shards = {folder / "0.bin", folder / "1.bin"};
  settings.sequence = 4;
  settings.tokens_per_step = 32;
  settings.micro_batches = 4;
  return settings;
}

std::vector<std::int64_t> values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.const_data_ptr<std::int64_t>(), flat.const_data_ptr<std::int64_t>() + flat.numel()};
}

}  // namespace

TEST_CASE("a rank takes its slices of the ring, over shard ends and the ring's end") {
  const Folder folder;
  LoaderSettings settings = ring(folder, 50, 23);
  // The oracle: slice s is tokens 9 s .. 9 s + 8 of the ring.
  for (const int world : {1, 2, 4})
    for (int rank = 0; rank < world; ++rank) {
      settings.world = world;
      settings.rank = rank;
      Loader loader(settings);
      for (std::int64_t i = 0; i < 20; ++i) {
        const Batch batch = loader.next();
        REQUIRE(batch.inputs.sizes() == at::IntArrayRef({2, 4}));
        const std::vector<std::int64_t> inputs = values(batch.inputs), targets = values(batch.targets);
        for (std::int64_t j = 0; j < 8; ++j) {
          const std::int64_t first = (i * world + rank) * 9 + j;
          CHECK(inputs[static_cast<std::size_t>(j)] == first % 73);
          CHECK(targets[static_cast<std::size_t>(j)] == (first + 1) % 73);
        }
      }
    }
}

TEST_CASE("a saved position is exact, whatever was prepared ahead and however many ranks load it") {
  const Folder folder;
  LoaderSettings settings = ring(folder, 50, 23);
  Loader loader(settings);
  for (int i = 0; i < 6; ++i) loader.next();
  Numbers state;
  loader.save(state);
  const std::vector<std::int64_t> seventh = values(loader.next().inputs), eighth = values(loader.next().inputs);
  loader.load(state);
  CHECK(values(loader.next().inputs) == seventh);

  settings.world = 2;
  settings.rank = 1;
  Loader second(settings);
  second.next();
  second.load(state);
  CHECK(values(second.next().inputs) == eighth);

  settings.tokens_per_step = 64;
  Loader other(settings);
  CHECK_THAT(error_of([&] { other.load(state); }).message(), Contains("other data"));
}

TEST_CASE("an id outside the vocabulary is an error that names its place, at every call") {
  const Folder folder;
  LoaderSettings settings = ring(folder, 50, 23);
  settings.vocabulary = 60;
  Loader loader(settings);
  for (int i = 0; i < 6; ++i) loader.next();  // ids up to 53
  const Error error = error_of([&] { loader.next(); });
  CHECK(error.kind() == ErrorKind::data);
  CHECK_THAT(error.message(), Contains("id 60") && Contains("1.bin, token 10"));
  CHECK_THROWS_AS(loader.next(), Error);
}

TEST_CASE("settings that cannot be dealt out are refused") {
  const Folder folder;
  const LoaderSettings good = ring(folder, 50, 23);
  LoaderSettings settings = good;
  settings.world = 3;
  CHECK_THAT(error_of([&] { Loader loader(settings); }).message(),
             Contains("micro_batches=4") && Contains("3 ranks"));
  settings = good;
  settings.tokens_per_step = 40;
  CHECK_THAT(error_of([&] { Loader loader(settings); }).message(), Contains("tokens_per_step=40"));
  settings = good;
  write_shard(folder / "empty.bin", {});
  settings.shards = {folder / "empty.bin"};
  CHECK(error_of([&] { Loader loader(settings); }).kind() == ErrorKind::data);
}

TEST_CASE("a loader that is dropped at once ends its thread") {
  const Folder folder;
  const LoaderSettings settings = ring(folder, 50, 23);
  for (int i = 0; i < 50; ++i) {
    Loader loader(settings);
    if (i % 2 == 0) loader.next();
  }
  SUCCEED();
}
