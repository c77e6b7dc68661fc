// Chunks and documents: where chunks end, what a strategy is told, and what counts as adapted.
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "caddie/error.h"
#include "core/eval/adapt.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"
#include "tests/unit/eval/support.h"

using namespace caddie;
using namespace caddie::eval;
using caddie::tests::random_text;
using caddie::tests::TinyModel;

namespace {

struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / concat("caddie_documents_", ::getpid());
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
};

Settings small_settings() {
  Settings settings;
  settings.sequence = 8;
  settings.stride = 4;
  return settings;
}

TttSettings chunks_of(std::int64_t chunk) {
  TttSettings settings;
  settings.chunk = chunk;
  return settings;
}

// Notes what it is told; chunks of even index are not learned from.
class Diary final : public TttStrategy {
 public:
  bool adapts() const override { return true; }
  void adapt(const ScoredChunk& chunk, Learner& learner) override {
    events.push_back(concat("adapt ", chunk.index, " ", chunk.inputs.size(0), "x", chunk.inputs.size(1),
                            chunk.ends_document ? " end" : ""));
    firsts.push_back(chunk.inputs[0][0].item<std::int64_t>());
    std::vector<at::Tensor> gradients;
    if (chunk.index % 2 == 1) learner.gradients(chunk.inputs, chunk.targets, gradients);
  }
  void end_document(Learner&) override { events.push_back("end"); }
  double rate(std::int64_t, std::int64_t) const override { return 0.5; }
  std::vector<std::string> events;
  std::vector<std::int64_t> firsts;
};

}  // namespace

TEST_CASE("chunks that end with documents: shorter sequences, every end told, and no entry for what was not learned from") {
  Folder folder;
  Text text = random_text(48, 18);  // tokens 0 to 17; 18 begins a document
  text.bos = 18;
  for (const std::int64_t begin : {0, 13, 16, 30}) text.tokens[begin] = 18;
  TttSettings settings = chunks_of(10);
  settings.documents = true;
  TinyModel model(19, 6, 1);
  Diary diary;
  Ledger ledger(folder.path / "ledger.jsonl", {});
  const TttResult result = adapt(model, text, small_settings(), settings, diary, nullptr, &ledger);
  // Chunks begin at 0 10 | 13 | 16 26 | 30 40; the windows' scored parts begin at 0 8 12 16 20 ... 44 (stride 4), so
  // chunk 1 has the window from 12, chunk 2 (from 13 to 16) none.
  CHECK(result.chunks.size() == 7);
  CHECK(result.score.tokens == 48);
  CHECK(diary.events == std::vector<std::string>{"adapt 0 1x8", "adapt 1 1x3 end", "end", "end", "adapt 3 1x8",
                                                 "adapt 4 1x4 end", "end", "adapt 5 1x8"});
  for (const std::size_t i : {0u, 2u}) CHECK(diary.firsts[i] == 18);
  const LedgerSummary proof = verify_ledger(folder.path / "ledger.jsonl");
  CHECK(proof.adapted_chunks == 3);  // 1, 3 and 5
  CHECK(result.chunks[0].rate == 0);
  CHECK(result.chunks[1].rate == 0.5);

  Text unknown = random_text(48, 18);
  CHECK_THROWS_AS(adapt(model, unknown, small_settings(), settings, diary), Error);
}

TEST_CASE("chunks of one size tell where the next chunk begins another document") {
  Text text = random_text(48, 18);
  text.bos = 18;
  text.tokens[24] = 18;
  TinyModel model(19, 6, 1);
  Diary diary;
  adapt(model, text, small_settings(), chunks_of(12), diary);
  CHECK(diary.events == std::vector<std::string>{"adapt 0 1x8", "adapt 1 1x8 end", "end", "adapt 2 1x8"});
}
