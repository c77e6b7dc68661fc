// No test-time training: the plain sliding score is the result. The baseline of every other strategy.
#include "caddie/error.h"
#include "caddie/plugin.h"
#include "caddie/ttt.h"

namespace {

class None final : public caddie::TttStrategy {
 public:
  None(const caddie::Options&, const caddie::TttContext&) {}
  bool adapts() const override { return false; }
  void adapt(const caddie::ScoredChunk&, caddie::Learner&) override {}  // never called, and nothing to learn
  double rate(std::int64_t, std::int64_t) const override { return 0; }
};

}  // namespace

CADDIE_PLUGIN("1.0", caddie::ttt_component<None>("none", "No adaptation: the sliding score", 1, {}))
