#include "registry/pack/verify.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/base/log.h"
#include "core/eval/ledger.h"
#include "registry/compare/statistics.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

struct Scratch {
  fs::path path = fs::temp_directory_path() / concat("caddie_verify_", ::getpid());
  Scratch() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
    make_directories(path);
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

std::string shown(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.8g", value);
  return text;
}

class Verifier {
 public:
  Verifier(const fs::path& folder, const VerifyOptions& options, std::shared_ptr<const Catalogue> catalogue)
      : folder_(fs::absolute(folder).lexically_normal()), options_(options), catalogue_(std::move(catalogue)) {
    for (const char* name : {"files.json", "submission.json", "manifest.yaml"})
      if (!fs::exists(folder_ / name))
        throw Error(ErrorKind::data, concat(folder_.string(), " has no ", name, ": it is no submission folder"),
                    "caddie pack RUN RUN RUN -o DIR makes one.");
    for (const std::string& change : options.overrides)
      if (!change.starts_with("data.") && !change.starts_with("device=") && !change.starts_with("threads="))
        throw Error(ErrorKind::usage, concat("'", change, "' would change what was submitted"),
                    "accepted: data.KEY=..., device=..., threads=...");
    submission_ = read_json(folder_ / "submission.json");
  }

  Verification verify() {
    files();
    bytes();
    std::vector<double> loss, bits;
    for (const Json& seed : submission_.at("seeds")) one_seed(seed.get<std::int64_t>(), loss, bits);
    if (!bits.empty()) {
      number("mean val_bpb", submission_.at("val_bpb"), mean(bits), 1e-12, ErrorKind::legality);
      number("mean val_loss", submission_.at("val_loss"), mean(loss), 1e-12, ErrorKind::legality);
    }
    return std::move(result_);
  }

 private:
  void add(const std::string& what, bool passed, const std::string& stated, const std::string& found, ErrorKind kind) {
    result_.checks.push_back({what, passed, stated, found, kind});
  }
  void number(const std::string& what, const Json& stated, double found, double tolerance, ErrorKind kind) {
    const double value = stated.is_number() ? stated.get<double>() : std::nan("");
    add(what, std::abs(found - value) <= tolerance * std::max(1.0, std::abs(found)),
        stated.is_number() ? shown(value) : stated.dump(), shown(found), kind);
  }

  // Every file is what files.json says, and there is no other.
  void files() {
    const Json listed = read_json(folder_ / "files.json");
    std::set<std::string> there;
    for (const auto& item : fs::recursive_directory_iterator(folder_))
      if (item.is_regular_file()) there.insert(fs::relative(item.path(), folder_).generic_string());
    there.erase("files.json");
    std::size_t good = 0;
    for (const auto& [name, facts] : listed.items()) {
      if (there.erase(name) == 0) {
        add("file " + name, false, "there", "missing", ErrorKind::data);
        continue;
      }
      const bool same = fs::file_size(folder_ / name) == facts.at("bytes").get<std::uintmax_t>() &&
                        sha256_file(folder_ / name) == facts.at("sha256").get<std::string>();
      if (same)
        ++good;
      else
        add("file " + name, false, facts.at("sha256").get<std::string>().substr(0, 12), "another content",
            ErrorKind::data);
    }
    for (const std::string& name : there) add("file " + name, false, "not listed", "there", ErrorKind::data);
    if (good == listed.size() && there.empty())
      add("files", true, std::to_string(listed.size()), concat(good, " whole"), ErrorKind::data);
  }

  // Counted on disk, not taken from a record.
  void bytes() {
    std::error_code code;
    const auto size = [&](const fs::path& file) {
      const auto bytes = fs::file_size(file, code);
      return code ? 0.0 : static_cast<double>(bytes);
    };
    const double source = size(folder_ / "source.tar.xz");
    number("source bytes", submission_.at("bytes_code"), source, 0, ErrorKind::data);
    double largest = 0;
    for (const Json& seed : submission_.at("seeds"))
      largest = std::max(largest, size(seed_folder(seed.get<std::int64_t>()) / "model.caddie"));
    number("total bytes", submission_.at("bytes_total"), largest + source, 0, ErrorKind::data);
    if (const Json& cap = submission_.at("bytes_cap"); cap.is_number())
      add("bytes under the cap", largest + source <= cap.get<double>(), cap.dump(), shown(largest + source),
          ErrorKind::budget);
  }

  fs::path seed_folder(std::int64_t seed) const { return folder_ / concat("seed_", seed); }

  void one_seed(std::int64_t seed, std::vector<double>& loss, std::vector<double>& bits) {
    const std::string name = concat("seed ", seed, ": ");
    Json facts;
    try {
      facts = read_json(seed_folder(seed) / "facts.json");
      const Json& score = facts.at("scores").at(submission_.at("metric").get<std::string>());
      loss.push_back(score.at("loss").get<double>());
      bits.push_back(score.at("bits_per_byte").get<double>());
      const double implied = score.at("loss").get<double>() / std::log(2.0) * score.at("tokens").get<double>() /
                             score.at("bits_per_byte").get<double>();
      number(name + "bytes implied by loss and bits per byte", score.at("bytes"), implied, 1e-9, ErrorKind::legality);
    } catch (const std::exception& error) {
      add(name + "facts.json", false, "readable", error.what(), ErrorKind::data);
      return;
    }
    budgets(name, facts);
    ledger(name, seed, facts);
    decode(name, seed, facts);
    if (options_.score) scores(name, seed, facts);
  }

  void budgets(const std::string& name, const Json& facts) {
    const Json& caps = submission_.at("budgets");
    const auto cap = [&](const char* budget) -> std::optional<double> {
      return caps.contains(budget) && caps[budget].is_number() ? std::optional(caps[budget].get<double>()) : std::nullopt;
    };
    if (const auto limit = cap("train_seconds")) {
      const double started = facts.at("train").value("last_step_started_at", 0.0);
      add(name + "last step started", started < *limit, "before " + shown(*limit) + " s", shown(started),
          ErrorKind::budget);
    }
    if (const auto limit = cap("evaluate_seconds")) {
      const Json& seconds = facts.at("seconds");
      const double used = seconds.value("evaluate", 0.0) + seconds.value("ttt", 0.0);
      add(name + "scoring seconds", used <= *limit, "at most " + shown(*limit), shown(used), ErrorKind::budget);
    }
  }

  void ledger(const std::string& name, std::int64_t seed, const Json& facts) {
    if (!facts.at("scores").contains("ttt_bpb")) return;
    try {
      const auto summary = eval::verify_ledger(seed_folder(seed) / "ledger.jsonl");
      const Json& stated = facts["scores"]["ttt_bpb"];
      number(name + "ledger's nats", stated.at("nats"), summary.score.nats, 0, ErrorKind::legality);
      number(name + "ledger's bytes", stated.at("bytes"), static_cast<double>(summary.score.bytes), 0,
             ErrorKind::legality);
    } catch (const Error& error) {
      add(name + "ledger", false, "scored before adapted", error.message(), ErrorKind::legality);
    }
  }

  void decode(const std::string& name, std::int64_t seed, const Json& facts) {
    try {
      const std::string stated = facts.at("artifact").value("decoded_sha256", "");
      const std::string found = decoded_hash(seed_folder(seed) / "model.caddie", *catalogue_);
      add(name + "decoded weights", stated == found, stated.substr(0, 12), found.substr(0, 12), ErrorKind::data);
    } catch (const Error& error) {
      add(name + "artifact", false, "decodes", error.message(), ErrorKind::data);
    }
  }

  void scores(const std::string& name, std::int64_t seed, const Json& facts) {
    const Scratch scratch;
    // The artifact alone with its tokenizer, as a stranger would have them.
    Json found;
    try {
      std::vector<std::string> overrides = options_.overrides;
      overrides.push_back(concat("seed=", seed));
      fs::copy_file(seed_folder(seed) / "model.caddie", scratch.path / "model.caddie");
      log::info(concat("scoring seed ", seed));
      found =
          replay_scores(folder_ / "manifest.yaml", overrides, scratch.path / "model.caddie", scratch.path, catalogue_);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::interrupted) throw;
      add(name + "scores", false, "computed again", error.message(),
          error.kind() == ErrorKind::legality ? error.kind() : ErrorKind::data);
      return;
    }
    for (const auto& [metric, value] : found.items())
      if (metric.ends_with("_bpb"))
        number(name + metric, facts.at("metrics").value(metric, Json()), value.get<double>(), options_.tolerance,
               ErrorKind::legality);
      else
        number(name + metric, facts.at("metrics").value(metric, Json()), value.get<double>(), 0, ErrorKind::legality);
  }

  fs::path folder_;
  const VerifyOptions& options_;
  std::shared_ptr<const Catalogue> catalogue_;
  Json submission_;
  Verification result_;
};

}  // namespace

bool Verification::passed() const {
  return std::all_of(checks.begin(), checks.end(), [](const Check& check) { return check.passed; });
}

ErrorKind Verification::kind() const {
  ErrorKind gravest = ErrorKind::data;
  for (const Check& check : checks)
    if (!check.passed &&
        (check.kind == ErrorKind::legality || (check.kind == ErrorKind::budget && gravest != ErrorKind::legality)))
      gravest = check.kind;
  return gravest;
}

Verification verify_submission(const fs::path& folder, const VerifyOptions& options,
                               std::shared_ptr<const Catalogue> catalogue) {
  try {
    return Verifier(folder, options, std::move(catalogue)).verify();
  } catch (const Json::exception& error) {  // a file that lacks what it should state
    throw Error(ErrorKind::data, concat(folder.string(), " is no whole submission folder: ", error.what()));
  }
}

Json to_json(const Verification& verification) {
  Json checks = Json::array();
  for (const Check& check : verification.checks)
    checks.push_back({{"check", check.what},
                      {"status", check.passed ? "passed" : "failed"},
                      {"stated", check.stated},
                      {"found", check.found}});
  return {{"ok", verification.passed()}, {"checks", checks}};
}

}  // namespace caddie::registry
