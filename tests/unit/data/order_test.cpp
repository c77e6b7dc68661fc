// The orders of training data: every token at most once an epoch, the same step on any number of ranks, and positions
// that are exact.
#include "core/data/order.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "core/data/loader.h"
#include "tests/support/catch.h"
#include "tests/unit/data/support.h"

using namespace caddie;
using namespace caddie::data;
using Catch::Matchers::Contains;

namespace {

constexpr std::int64_t kSequence = 8;

// Shards of the given lengths whose tokens are 100, 101, 102, ... over all of them.
std::vector<std::filesystem::path> counting(const Folder& folder, const std::vector<std::int64_t>& lengths) {
  std::vector<std::filesystem::path> shards;
  std::uint16_t token = 100;
  for (const std::int64_t length : lengths) {
    std::vector<std::uint16_t> tokens(static_cast<std::size_t>(length));
    std::iota(tokens.begin(), tokens.end(), token);
    token = static_cast<std::uint16_t>(token + length);
    shards.push_back(folder / (std::to_string(shards.size()) + ".bin"));
    write_shard(shards.back(), tokens);
  }
  return shards;
}

// Documents of the given lengths: bos and then tokens that name the document and the place in it.
std::vector<std::filesystem::path> documents(const Folder& folder, const std::vector<int>& lengths) {
  std::vector<std::uint16_t> tokens;
  for (std::size_t d = 0; d < lengths.size(); ++d)
    for (int i = 0; i < lengths[d]; ++i)
      tokens.push_back(static_cast<std::uint16_t>(i == 0 ? 1 : 100 + 50 * d + static_cast<std::size_t>(i)));
  const auto half = static_cast<std::ptrdiff_t>(tokens.size() / 2);  // inside a document, as shards are cut
  write_shard(folder / "0.bin", {tokens.begin(), tokens.begin() + half});
  write_shard(folder / "1.bin", {tokens.begin() + half, tokens.end()});
  return {folder / "0.bin", folder / "1.bin"};
}

OrderSettings settings_of(OrderKind kind, std::int64_t rows = 4) {
  OrderSettings settings;
  settings.kind = kind;
  settings.seed = 7;
  settings.sequence = kSequence;
  settings.slice_tokens = rows * kSequence;
  return settings;
}

LoaderSettings loading(std::vector<std::filesystem::path> shards, OrderKind kind) {
  LoaderSettings settings;
  settings.shards = std::move(shards);
  settings.sequence = kSequence;
  settings.tokens_per_step = 8 * kSequence;
  settings.micro_batches = 4;
  settings.order = kind;
  settings.seed = 7;
  return settings;
}

std::vector<std::int64_t> values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.const_data_ptr<std::int64_t>(), flat.const_data_ptr<std::int64_t>() + flat.numel()};
}

std::vector<std::int64_t> random_lengths(std::size_t count) {
  std::vector<std::int64_t> lengths;
  std::uint64_t x = 12345;
  for (std::size_t i = 0; i < count; ++i) lengths.push_back(2 + static_cast<std::int64_t>((x = x * 6364136223846793005u + 1) >> 60));
  return lengths;
}

}  // namespace

TEST_CASE("a permutation holds every index once, and another key gives another one") {
  for (const std::int64_t size : {1, 2, 3, 5, 16, 17, 1000, 4097}) {
    const Permutation permutation(size, 42);
    std::set<std::int64_t> seen;
    std::int64_t fixed = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int64_t image = permutation(i);
      CHECK((image >= 0 && image < size));
      seen.insert(image);
      fixed += image == i ? 1 : 0;
    }
    CHECK(static_cast<std::int64_t>(seen.size()) == size);
    if (size >= 1000) CHECK(fixed < 10);
  }
  std::int64_t same = 0;
  for (std::int64_t i = 0; i < 1000; ++i) same += Permutation(1000, 1)(i) == Permutation(1000, 2)(i) ? 1 : 0;
  CHECK(same < 10);
}

TEST_CASE("shuffled and coprime rows: each of an epoch once, none overlaps, epochs and seeds differ") {
  const Folder folder;
  const TokenStream stream(counting(folder, {203, 90, 311, 7, 150}));
  const OrderKind kind = GENERATE(OrderKind::shuffled, OrderKind::coprime);
  OrderSettings settings = settings_of(kind, 1);
  const auto order = make_order(settings, stream);
  // Rows that an epoch has, by the rule: one sequence less than fits, so that they can begin elsewhere.
  std::int64_t count = 0;
  if (kind == OrderKind::shuffled) count = (stream.size() - 1) / kSequence - 1;
  if (kind == OrderKind::coprime)
    for (const std::int64_t length : {203, 90, 311, 150}) count += (length - 1) / kSequence - 1;
  std::vector<std::vector<std::int64_t>> starts(2);
  for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
    std::set<std::int64_t> inputs;
    for (std::int64_t row = 0; row < count; ++row) {
      const std::vector<TokenRange> pieces = order->slice(epoch * count + row);
      REQUIRE(pieces.size() == 1);
      REQUIRE(pieces[0].count == kSequence + 1);
      CHECK((pieces[0].first >= 0 && pieces[0].first + pieces[0].count <= stream.size()));
      starts[static_cast<std::size_t>(epoch)].push_back(pieces[0].first);
      for (std::int64_t i = 0; i < kSequence; ++i) CHECK(inputs.insert(pieces[0].first + i).second);
    }
  }
  CHECK(starts[0] != starts[1]);
  CHECK_FALSE(std::is_sorted(starts[0].begin(), starts[0].end()));
  settings.seed = 8;
  CHECK(make_order(settings, stream)->slice(0)[0].first != starts[0][0]);
  settings.seed = 7;
  CHECK(make_order(settings, stream)->slice(5)[0].first == starts[0][5]);  // any index, without those before
}

TEST_CASE("coprime rows in a row come from different shards, and strides are no near neighbours") {
  const Folder folder;
  const std::vector<std::int64_t> lengths = {400, 400, 400};
  const TokenStream stream(counting(folder, lengths));
  const auto order = make_order(settings_of(OrderKind::coprime, 3), stream);
  std::map<std::int64_t, std::int64_t> last;
  for (std::int64_t slice = 0; slice < 10; ++slice) {
    std::set<std::int64_t> shards;
    for (const TokenRange& row : order->slice(slice)) {
      const std::int64_t shard = row.first / 400;
      shards.insert(shard);
      if (last.contains(shard)) CHECK(std::abs(row.first - last[shard]) > 10 * kSequence);
      last[shard] = row.first;
    }
    CHECK(shards.size() == 3);
  }
}

TEST_CASE("packed rows begin with documents, hold whole ones, and see nothing twice in an epoch") {
  const Folder folder;
  std::vector<int> lengths;
  for (const std::int64_t length : random_lengths(600)) lengths.push_back(static_cast<int>(length));
  lengths[3] = 30;  // longer than a row
  const TokenStream stream(documents(folder, lengths));
  const auto order = make_order(settings_of(OrderKind::packed, 10), stream);
  std::map<std::int64_t, std::int64_t> whole;  // where pieces start -> how long they are
  for (std::size_t at = 0, d = 0; d < lengths.size(); at += static_cast<std::size_t>(lengths[d++]))
    for (int part = 0; part == 0 || part + 1 < lengths[d]; part += kSequence)
      whole[static_cast<std::int64_t>(at) + part] = std::min<std::int64_t>(kSequence + 1, lengths[d] - part);
  std::set<std::int64_t> seen;
  std::int64_t cut = 0, total = 0;
  for (std::int64_t slice = 0; slice < 20; ++slice) {
    std::int64_t in_row = 0;
    for (const TokenRange& piece : order->slice(slice)) {
      REQUIRE(whole.contains(piece.first));
      CHECK(seen.insert(piece.first).second);
      in_row += piece.count;
      REQUIRE(in_row <= kSequence + 1);
      const std::int64_t length = whole.at(piece.first);
      CHECK(piece.count <= length);
      if (in_row < kSequence + 1) CHECK(piece.count == length);  // only a row's last document is cut
      cut += length - piece.count;
      total += length;
      if (in_row == kSequence + 1) in_row = 0;
    }
    CHECK(in_row == 0);
  }
  CHECK(cut * 2 < total);
}

TEST_CASE("a document longer than a row comes in parts, of which every token but the first is a target once") {
  const Folder folder;
  const TokenStream stream(documents(folder, {30, 30, 30, 3}));
  const auto order = make_order(settings_of(OrderKind::packed, 1), stream);
  std::map<std::int64_t, int> targets;
  for (int row = 0; row < 12; ++row)
    for (const TokenRange& piece : order->slice(row))
      for (std::int64_t at = piece.first + 1; at < piece.first + piece.count; ++at) ++targets[at];
  // 9 + 9 + 9 tokens overlap by one each: three rows and a rest of 6.
  for (std::int64_t document = 0; document < 3; ++document)
    for (std::int64_t at = 1; at < 25; ++at) {
      INFO("document " << document << ", token " << at);
      CHECK(targets[30 * document + at] >= 1);
    }
  CHECK(targets.size() > 84);
}

TEST_CASE("tokens before the first document belong to none, and shards without documents are refused") {
  const Folder folder;
  write_shard(folder / "0.bin", std::vector<std::uint16_t>{9, 9, 9, 1, 5, 6, 1, 7, 8, 9, 9, 9});
  const TokenStream stream({folder / "0.bin"});
  const auto order = make_order(settings_of(OrderKind::packed, 1), stream);
  for (int i = 0; i < 5; ++i)
    for (const TokenRange& piece : order->slice(i)) CHECK((piece.first == 3 || piece.first == 6));
  write_shard(folder / "none.bin", std::vector<std::uint16_t>(50, 9));
  const TokenStream none({folder / "none.bin"});
  CHECK_THAT(error_of([&] { make_order(settings_of(OrderKind::packed), none); }).message(), Contains("bos"));
  write_shard(folder / "short.bin", std::vector<std::uint16_t>{1, 2, 3});
  const TokenStream little({folder / "short.bin"});
  for (const OrderKind kind : {OrderKind::shuffled, OrderKind::coprime, OrderKind::packed})
    CHECK_THAT(error_of([&] { make_order(settings_of(kind), little); }).message(), Contains("at least 9"));
  CHECK_THAT(error_of([] { parse_order("random"); }).message(), Contains("packed"));
}

TEST_CASE("in every order a step is the same on any number of ranks, and a saved position is exact") {
  const Folder folder;
  const OrderKind kind = GENERATE(OrderKind::sequential, OrderKind::shuffled, OrderKind::coprime, OrderKind::packed);
  std::vector<int> lengths;
  for (const std::int64_t length : random_lengths(300))
    lengths.push_back(static_cast<int>(std::min(length, kSequence + 1)));  // in parts, rows would begin inside documents
  const LoaderSettings settings = loading(documents(folder, lengths), kind);
  std::vector<std::vector<std::int64_t>> inputs, targets;
  Loader alone(settings);
  Numbers state;
  for (int i = 0; i < 40; ++i) {
    if (i == 12) alone.save(state);
    const Batch batch = alone.next();
    REQUIRE(batch.inputs.is_contiguous());
    REQUIRE(batch.inputs.sizes() == at::IntArrayRef({2, kSequence}));
    inputs.push_back(values(batch.inputs));
    targets.push_back(values(batch.targets));
    for (std::size_t j = 0; j + 1 < kSequence; ++j) CHECK(inputs.back()[j + 1] == targets.back()[j]);
    if (kind == OrderKind::packed) CHECK((inputs.back()[0] == 1 && inputs.back()[kSequence] == 1));
  }
  for (const int world : {2, 4})
    for (int rank = 0; rank < world; ++rank) {
      LoaderSettings part = settings;
      part.world = world;
      part.rank = rank;
      part.ahead = rank == 0 ? 0 : 4;
      Loader loader(part);
      for (std::size_t i = static_cast<std::size_t>(rank); i < 24; i += static_cast<std::size_t>(world)) {
        const Batch batch = loader.next();
        CHECK(values(batch.inputs) == inputs[i]);
        CHECK(values(batch.targets) == targets[i]);
      }
      // Every rank that loads a position that one process saved goes on with its own slices, and saves the same.
      loader.load(state);
      const Batch next = loader.next();
      CHECK(values(next.inputs) == inputs[12 + static_cast<std::size_t>(rank)]);
      for (std::size_t i = 12 + static_cast<std::size_t>(world); i < 24; i += static_cast<std::size_t>(world)) loader.next();
      Numbers later;
      loader.save(later);
      Loader one(settings);
      one.load(later);
      CHECK(values(one.next().inputs) == inputs[24]);
    }
  LoaderSettings other = settings;
  other.order = kind == OrderKind::sequential ? OrderKind::shuffled : OrderKind::sequential;
  Loader another(other);
  CHECK_THAT(error_of([&] { another.load(state); }).message(), Contains("another data.order"));
}
