#include "core/eval/ledger.h"

#include <cmath>
#include <vector>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/hash.h"

namespace caddie::eval {
namespace {

// One unit of rounding for every addend: what adding the same numbers in another order may change.
bool about_equal(double a, double b, std::int64_t addends) {
  return std::abs(a - b) <= 1e-15 * static_cast<double>(addends + 1) * std::max(std::abs(a), std::abs(b));
}

// Reads a ledger's lines in order and keeps what they have established so far.
class Checker {
 public:
  explicit Checker(std::string path) : path_(std::move(path)) {}

  void line(const Json& line) {
    ++number_;
    try {
      check(finished_ == false, "a line after the end");
      check(line.at("number").get<std::int64_t>() == number_ - 1, "the numbering has a gap");
      check(line.at("previous").get<std::string>() == previous_, "the chain is broken: a line before it was changed");
      previous_ = sha256(canonical(line));
      const auto event = line.at("event").get<std::string>();
      check((event == "begin") == (number_ == 1), "a ledger begins with one line 'begin'");
      if (event == "begin") {
        summary_.about = line.at("about");
      } else if (event == "scored") {
        scored(line);
      } else if (event == "adapted") {
        adapted(line);
      } else if (event == "end") {
        end(line);
      } else {
        check(false, "unknown event '" + event + "'");
      }
    } catch (const Json::exception& error) {
      check(false, std::string("not a ledger's line: ") + error.what());
    }
  }

  LedgerSummary finish() {
    check(finished_, "it is unfinished: there is no line 'end'");
    summary_.hash = previous_;
    return summary_;
  }

 private:
  void check(bool condition, const std::string& what) const {
    if (condition) return;
    throw Error(ErrorKind::legality,
                concat("the ledger ", path_, " does not prove a legal score, line ", number_, ": ", what),
                "Run the stage ttt again; a score without a sound ledger does not count.");
  }

  void scored(const Json& line) {
    const auto chunk = line.at("chunk").get<std::int64_t>();
    const auto from = line.at("from").get<std::int64_t>(), to = line.at("to").get<std::int64_t>();
    Score score;
    score.nats = line.at("nats").get<double>();
    score.tokens = line.at("tokens").get<std::int64_t>();
    score.bytes = line.at("bytes").get<std::int64_t>();
    check(chunk > last_scored_chunk_, concat("chunk ", chunk, " is scored after chunk ", last_scored_chunk_));
    // Scored intervals join: no target is scored twice, none is left out.
    check(from == scored_to_ && to > from, concat("[", from, ", ", to, ") is scored, but the targets before end at ",
                                                  scored_to_));
    check(score.tokens == to - from, concat(score.tokens, " tokens are counted in [", from, ", ", to, ")"));
    check(std::isfinite(score.nats) && score.bytes >= 0, "the score is not a number");
    last_scored_chunk_ = chunk;
    scored_to_ = to;
    summary_.score += score;
    summary_.score_seconds += line.at("seconds").get<double>();
    ++summary_.scored_chunks;
  }

  void adapted(const Json& line) {
    const auto chunk = line.at("chunk").get<std::int64_t>();
    const auto from = line.at("from").get<std::int64_t>(), to = line.at("to").get<std::int64_t>();
    check(chunk == last_scored_chunk_ && chunk > last_adapted_chunk_,
          concat("chunk ", chunk, " is adapted on, but the last one scored is ", last_scored_chunk_));
    check(from >= 0 && to > from, concat("[", from, ", ", to, ") is no interval"));
    check(to <= scored_to_, concat("targets [", std::max(from, scored_to_), ", ", to,
                                   ") are adapted on before they were scored"));
    last_adapted_chunk_ = chunk;
    summary_.adapt_seconds += line.at("seconds").get<double>();
    ++summary_.adapted_chunks;
  }

  void end(const Json& line) {
    check(line.at("tokens").get<std::int64_t>() == summary_.score.tokens, "the tokens do not add up to the total");
    check(line.at("bytes").get<std::int64_t>() == summary_.score.bytes, "the bytes do not add up to the total");
    check(about_equal(line.at("nats").get<double>(), summary_.score.nats, summary_.scored_chunks),
          "the nats do not add up to the total");
    summary_.score.nats = line.at("nats").get<double>();
    summary_.score.limited_to = line.value("limited_to", std::int64_t{0});
    finished_ = true;
  }

  std::string path_, previous_;
  std::int64_t number_ = 0, scored_to_ = 0, last_scored_chunk_ = -1, last_adapted_chunk_ = -1;
  bool finished_ = false;
  LedgerSummary summary_{};
};

Json entry(std::string_view event, std::int64_t chunk, std::int64_t from, std::int64_t to, double seconds) {
  return {{"event", event}, {"chunk", chunk}, {"from", from}, {"to", to}, {"seconds", seconds}};
}

}  // namespace

Ledger::Ledger(std::filesystem::path path, const Json& about) : path_(std::move(path)) {
  if (!path_.empty()) write_atomic(path_, std::string_view());
  write({{"event", "begin"}, {"about", about}});
}

void Ledger::scored(const ScoredEntry& scored) {
  Json line = entry("scored", scored.chunk, scored.from, scored.to, scored.seconds);
  line["nats"] = scored.score.nats;
  line["tokens"] = scored.score.tokens;
  line["bytes"] = scored.score.bytes;
  write(std::move(line));
}

void Ledger::adapted(const AdaptedEntry& adapted) {
  Json line = entry("adapted", adapted.chunk, adapted.from, adapted.to, adapted.seconds);
  line["rate"] = adapted.rate;
  write(std::move(line));
}

void Ledger::finish(const Score& total) {
  Json line = total.to_json();
  line["event"] = "end";
  write(std::move(line));
}

void Ledger::write(Json line) {
  if (path_.empty()) return;
  line["number"] = number_++;
  line["previous"] = previous_;
  line["time"] = utc_timestamp();
  const std::string text = canonical(line);
  append_line(path_, text);
  previous_ = sha256(text);
}

LedgerSummary verify_ledger(const std::filesystem::path& path) {
  Checker checker(path.string());
  for (const Json& line : read_json_lines(path)) checker.line(line);
  return checker.finish();
}

}  // namespace caddie::eval
