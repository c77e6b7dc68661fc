// Text and tokens: byte_table, encode, loader, shards, byte_shuffle.
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <memory>
#include <span>

#include "caddie/byte_shuffle.h"
#include "core/data/byte_table.h"
#include "core/data/loader.h"
#include "core/data/shards.h"
#include "core/data/tokenizer.h"
#include "core/parity/kinds.h"
#include "core/parity/setup.h"

namespace caddie::parity {
namespace {

template <class T>
at::Tensor tensor_of(const std::vector<T>& values) {
  return at::tensor(at::ArrayRef<T>(values), c10::CppTypeToScalarType<T>::value);
}

}  // namespace

void check_byte_table(CheckRun& run) {
  const auto table = data::ByteTable::from_file(run.bundle().tokenizer(run.setting<std::string>("tokenizer")));
  run.give("bytes", tensor_of(table.bytes()));
  run.give("leading_space", tensor_of(table.leading_space()));
  run.give("boundary", tensor_of(table.boundary()));
}

void check_encode(CheckRun& run) {
  const auto file = run.bundle().tokenizer(run.setting<std::string>("tokenizer"));
  const auto tokenizer = data::Tokenizer::from_file(file);
  const auto table = data::ByteTable::from_file(file);
  std::vector<std::int64_t> ids, counts, bytes;
  for (const auto& text : run.setting<std::vector<std::string>>("texts")) {
    const auto pieces = tokenizer.encode(text);
    ids.insert(ids.end(), pieces.begin(), pieces.end());
    counts.push_back(static_cast<std::int64_t>(pieces.size()));
    const auto document = tokenizer.encode_document(text);  // bos in front
    const std::vector<std::uint16_t> stored(document.begin(), document.end());
    bytes.push_back(table.sum(stored));
  }
  run.give("ids", tensor_of(ids));
  run.give("counts", tensor_of(counts));
  run.give("bytes", tensor_of(bytes));
}

void check_loader(CheckRun& run) {
  const int world = run.setting<int>("world");
  const auto micro_steps = run.setting<std::int64_t>("micro_steps"), steps = run.setting<std::int64_t>("steps");
  data::LoaderSettings settings;
  settings.shards = data::resolve_shards({(run.bundle().folder() / run.setting<std::string>("files")).string()});
  settings.sequence = run.setting<std::int64_t>("sequence");
  settings.tokens_per_step = run.setting<std::int64_t>("tokens_per_step");
  settings.micro_batches = micro_steps * world;
  settings.world = world;
  // A loader a rank, as if each were a process of its own.
  std::vector<std::unique_ptr<data::Loader>> ranks;
  for (settings.rank = 0; settings.rank < world; ++settings.rank)
    ranks.push_back(std::make_unique<data::Loader>(settings));
  std::vector<at::Tensor> inputs, targets;
  for (std::int64_t slice = 0; slice < steps * micro_steps; ++slice)
    for (const auto& loader : ranks) {
      const Batch batch = loader->next();
      inputs.push_back(batch.inputs);
      targets.push_back(batch.targets);
    }
  const auto arranged = [&](const std::vector<at::Tensor>& slices) {
    return at::stack(slices).reshape({steps, micro_steps, world, -1, settings.sequence});
  };
  run.give("inputs", arranged(inputs));
  run.give("targets", arranged(targets));
  // The shards hold what the bundle says that they hold.
  for (std::size_t i = 0; i < settings.shards.size() && run.has_input("shard_" + std::to_string(i)); ++i) {
    const data::TokenStream stream({settings.shards[i]});
    CADDIE_CHECK(stream.tensor(0, stream.size()).equal(run.tokens("shard_" + std::to_string(i))), ErrorKind::data,
                 settings.shards[i].string(), " does not hold the tokens that the bundle lists");
  }
}

void check_shards(CheckRun& run) {
  const auto folder = run.bundle().folder() / run.setting<std::string>("folder");
  for (const auto& [name, expected] : run.spec().expect) {
    if (!expected.contains("value")) continue;
    Json verdict;
    try {
      verdict = {{"accepted", true}, {"tokens", data::check_shard(folder / name)}};
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::data) throw;
      verdict = {{"accepted", false}, {"tokens", nullptr}};
    }
    run.give(name, verdict);
  }
  if (!run.expects("valid_tokens")) return;
  const data::TokenStream stream({folder / "valid.bin"});
  run.give("valid_tokens", stream.tensor(0, stream.size()));
}

void check_byte_shuffle(CheckRun& run) {
  const auto stride = run.setting<std::size_t>("stride");
  for (const auto& [name, key] : run.spec().inputs) {
    if (!name.starts_with("in_")) continue;
    const auto data = run.input(name).contiguous();
    const std::span bytes(static_cast<const std::byte*>(data.const_data_ptr()), static_cast<std::size_t>(data.numel()));
    const auto shuffled = byte_shuffle(bytes, stride);
    const auto result = at::empty({static_cast<std::int64_t>(shuffled.size())}, at::kByte);
    std::copy(shuffled.begin(), shuffled.end(), static_cast<std::byte*>(result.mutable_data_ptr()));
    // Back it comes without the padding.
    std::vector<std::byte> back(bytes.size());
    byte_unshuffle(shuffled, stride, back);
    CADDIE_CHECK(std::equal(back.begin(), back.end(), bytes.begin()), ErrorKind::failed, "byte_unshuffle of '", name,
                 "' does not give the input back");
    run.give("out_" + name.substr(3), result);
  }
}

}  // namespace caddie::parity
