#include "core/pipeline/run.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "core/base/clock.h"
#include "core/base/environment.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "core/base/safetensors.h"
#include "core/base/trace.h"
#include "core/data/unknown_note.h"
#include "core/pipeline/ranks.h"
#include "core/pipeline/run_folder.h"
#include "core/pipeline/speed.h"
#include "core/pipeline/stages.h"
#include "core/pipeline/verdicts.h"

namespace caddie::pipeline {
namespace fs = std::filesystem;
namespace {

std::size_t stage_index(const std::string& stage, const char* option) {
  const auto& names = stage_names();
  const auto it = std::find(names.begin(), names.end(), stage);
  if (it == names.end())
    throw Error(ErrorKind::usage, concat("unknown stage '", stage, "' for ", option),
                "accepted: data, train, quantize, compress, evaluate, ttt");
  return static_cast<std::size_t>(it - names.begin());
}

std::string shown(const std::string& stage) { return stage + std::string(10 - std::min<std::size_t>(stage.size(), 9), ' '); }

// Names the budgets that were not kept.
Error budget_error(const Json& more) {
  std::string which;
  for (const Json& verdict : more.value("verdicts", Json::array())) {
    if (verdict.at("kept").get<bool>()) continue;
    const bool whole = verdict.at("what") == "artifact bytes";
    char figures[96];
    std::snprintf(figures, sizeof figures, whole ? "%.0f of %.0f" : "%.1f of %.1f", verdict.at("used").get<double>(),
                  verdict.at("cap").get<double>());
    which += concat(which.empty() ? ": " : ", ", verdict.at("what").get<std::string>(), " ", figures);
  }
  return Error(ErrorKind::budget, "a budget is exceeded" + which);
}

// A run in progress. Members are what later stages need from earlier ones.
class Runner {
 public:
  Runner(const Session& session, const RunOptions& options, RunFolder folder)
      : session_(session), options_(options), folder_(std::move(folder)),
        cache_(options.cache.empty() ? StageCache::default_root() : options.cache) {
    if (!options.from.empty()) from_ = stage_index(options.from, "--from");
    if (!options.until.empty()) until_ = stage_index(options.until, "--until");
    result_ = {{"run", folder_.id()}, {"directory", folder_.path().string()}, {"status", "failed"},
               {"metrics", Json::object()}, {"seconds", Json::object()}, {"stages", Json::array()}};
    log::set_file(folder_.path() / "log.txt");
    if (options.tensorboard) folder_.record_events();
    cache_.set_run(folder_.id());
  }
  ~Runner() { log::set_file({}); }

  RunOutcome execute() {
    RunOutcome outcome;
    try {
      stages();
      call_to_end(session_);
      judge();
    } catch (Error& error) {
      outcome.error = error;
    } catch (const std::bad_alloc&) {
      outcome.error = Error(ErrorKind::failed, "out of memory", "Use more train.micro_batches or a smaller model.");
    } catch (const std::exception& error) {
      outcome.error = Error(ErrorKind::failed, error.what());
    }
    if (outcome.error && session_.group() != nullptr) session_.group()->fail(*outcome.error);  // the others wait for us
    if (outcome.error) {
      if (!current_.empty()) outcome.error->add_context("stage " + current_);
      const ErrorKind kind = outcome.error->kind();
      result_["status"] = kind == ErrorKind::interrupted ? "interrupted" : kind == ErrorKind::legality ? "illegal" : "failed";
      result_["error"] = outcome.error->what();
    }
    finish(outcome);
    outcome.result = result_;
    outcome.more = more_;
    return outcome;
  }

 private:
  bool wanted(const std::string& stage) const { return stage_index(stage, "") <= until_; }
  bool ignored(const std::string& stage) const { return options_.no_cache || stage_index(stage, "") >= from_; }

  void begin(const std::string& stage) {
    throw_if_interrupted();
    current_ = stage;
    folder_.set_status("running", {{"stage", stage}});
  }

  // Writes down that a stage is done. `computed_seconds` is what computing took, now or when it was computed. The key's
  // ingredients stay with the run, so that a miss can be explained when the cache's entry is gone.
  void end(const std::string& stage, const std::string& key, const Json& ingredients, bool hit, double seconds,
           double computed_seconds, const Json& outputs) {
    result_["stages"].push_back({{"stage", stage}, {"key", key}, {"cached", hit}, {"seconds", seconds}});
    result_["seconds"][stage] = computed_seconds;
    folder_.write_stage(stage, {{"stage", stage}, {"key", key}, {"cached", hit}, {"seconds", seconds},
                                {"computed_seconds", computed_seconds}, {"ingredients", ingredients},
                                {"outputs", outputs}});
    log::info(shown(stage) + (hit ? "from the cache (took " + human_seconds(computed_seconds) + ")"
                                  : human_seconds(seconds)));
    current_.clear();
  }

  // A run that goes on after it was stopped finds what it computed itself: that is no hit.
  bool is_mine(const CacheEntry& entry) const { return entry.run == folder_.id(); }

  template <class Compute>
  CacheEntry stage(const StageKey& key, Compute compute) {
    begin(key.stage);
    const trace::Span span("stage", key.stage);
    const Stopwatch watch;
    bool hit = false;
    CacheEntry entry = cache_.get(key, ignored(key.stage), compute, hit);
    end(key.stage, key.hash(), key.ingredients, hit && !is_mine(entry), watch.seconds(),
        hit ? entry.seconds : watch.seconds(), entry.outputs);
    last_hit_ = hit;
    return entry;
  }

  void stages() {
    if (!wanted("data")) return;
    data_stage();
    if (!wanted("train")) return;
    train_stage();
    // Without an artifact there are the scores of the trained weights, and nothing behind them.
    if (session_.section("quantize").is_null() || session_.section("compress").is_null()) {
      if (wanted("evaluate")) evaluate_stage();
      return;
    }
    if (!wanted("quantize")) return;
    const CacheEntry codes = stage(quantize_stage_key(session_, identity_, train_.outputs.at("weights_hash")),
                                   [&](const fs::path& into) {
                                     return compute_quantize(session_, data_, train_.folder / "weights.safetensors", into);
                                   });
    if (!last_hit_) remember_stage_seconds("quantize");
    more_["notes"] = codes.outputs.at("notes");
    if (!wanted("compress")) return;
    compress_stage(codes);
    if (wanted("evaluate")) evaluate_stage();
    if (wanted("ttt") && !session_.section("ttt").is_null()) ttt_stage();
  }

  void data_stage() {
    current_ = "data";
    fetch_data(session_, options_.offline);
    const StageKey key = data_stage_key(session_);
    const CacheEntry entry = stage(key, [&](const fs::path& into) { return compute_data(session_, into); });
    data_folder_ = entry.folder;
    data_ = data::open_data(entry.folder);
    identity_ = entry.outputs.at("identity");
    if (const std::string note = data::unknown_note(identity_); !note.empty()) log::warning(note);
    more_["baselines"] = entry.outputs.at("baselines");
    more_["identity"] = identity_;
    data::check_belongs(data_, session_.stated_vocabulary() > 0 ? session_.stated_vocabulary() : data_.vocabulary);
  }

  void train_stage() {
    const StageKey key = train_stage_key(session_, identity_);
    train_ = stage(key, [&](const fs::path& into) {
      call_to_train(session_, data_folder_, folder_.checkpoints(), key.hash());
      return compute_train(session_, data_, into, folder_, key.hash());
    });
    if (!last_hit_)
      remember_speed(cache_.root(), session_, *session_.create_model(data_.vocabulary, at::kMeta), train_.outputs);
    if (last_hit_ && fs::exists(train_.folder / "metrics.jsonl")) {
      write_atomic(folder_.metrics(), read_text(train_.folder / "metrics.jsonl"));
      folder_.replay_events();
    }
    std::error_code ignored_code;
    fs::remove_all(folder_.checkpoints(), ignored_code);  // the result is safe
    Json facts = train_.outputs;
    if (facts.contains("train_loss")) result_["metrics"]["train_loss"] = facts["train_loss"];  // not if imported
    for (const char* name : {"weights_hash", "last_hash", "train_loss", "swa_count"}) facts.erase(name);
    if (last_hit_) facts.erase("resumed_from_step");
    result_["train"] = facts;
  }

  void remember_stage_seconds(const char* stage) {
    remember_stage(cache_.root(), session_, stage, *session_.create_model(data_.vocabulary, at::kMeta),
                   result_["seconds"][stage]);
  }

  void compress_stage(const CacheEntry& codes) {
    const CacheEntry entry = stage(compress_stage_key(session_, codes.outputs.at("codes_hash"), identity_),
                                   [&](const fs::path& into) { return compute_compress(session_, data_, codes.folder, into); });
    std::error_code code;
    fs::copy_file(entry.folder / "model.caddie", folder_.artifact(), fs::copy_options::overwrite_existing, code);
    if (code) throw Error(ErrorKind::failed, concat("cannot write ", folder_.artifact().string(), ": ", code.message()));
    fs::copy_file(data_.tokenizer, folder_.artifact().parent_path() / "tokenizer.model",
                  fs::copy_options::overwrite_existing, code);
    if (!last_hit_) remember_stage_seconds("compress");
    decoded_hash_ = entry.outputs.at("decoded_hash");
    const auto bytes = entry.outputs.at("bytes").get<std::int64_t>();
    const std::int64_t code_size = code_bytes().value_or(0);
    folder_.add_event("size/artifact_bytes", train_.outputs.at("steps"), static_cast<double>(bytes + code_size));
    result_["artifact"] = {{"path", folder_.artifact().string()}, {"bytes", bytes}, {"code_bytes", code_size},
                           {"total_bytes", bytes + code_size}, {"cap", session_.section("budgets").at("artifact_bytes")}};
  }

  // One model and one text for all scores, made only when something has to be computed.
  Model& model_with(const std::string& weights, const char* what) {
    const bool decoded = weights == "decoded";
    const fs::path file = decoded ? folder_.artifact() : train_.folder / (weights + ".safetensors");
    call_to_score(session_, what, data_folder_, file, decoded);
    if (!model_) {
      model_ = session_.create_model(data_.vocabulary, session_.device());
      text_ = validation_text(data_, session_.device());
    }
    artifact::load_weights(*model_, decoded ? weights_of_artifact(session_, file) : read_safetensors(file));
    return *model_;
  }

  void evaluate_stage() {
    const std::vector<ScoreMode> modes = score_modes(session_, identity_, train_.outputs, decoded_hash_);
    if (modes.empty()) return;
    begin("evaluate");
    const trace::Span span("stage", "evaluate");
    const Stopwatch watch;
    bool all_hit = true;
    double computed_seconds = 0;
    Json outputs = Json::object(), ingredients = Json::object();
    for (const ScoreMode& mode : modes) {
      ingredients[mode.metric] = mode.key.ingredients;
      bool hit = false;
      const CacheEntry entry = cache_.get(mode.key, ignored("evaluate"), [&](const fs::path&) {
        const trace::Span scoring("evaluate", mode.metric);
        Model& model = model_with(mode.weights, mode.sliding ? "sliding" : "flat");
        return mode.sliding ? score_sliding(session_, model, text_) : score_flat(session_, model, text_);
      }, hit);
      all_hit = all_hit && hit && !is_mine(entry);
      computed_seconds += entry.seconds;
      outputs[mode.metric] = entry.outputs;
      take_score(mode.metric, entry.outputs.at("score"));
    }
    if (outputs.contains("roundtrip_bpb")) more_["path"] = outputs["roundtrip_bpb"].at("path");
    end("evaluate", combined_key(modes), ingredients, all_hit, watch.seconds(), computed_seconds, outputs);
  }

  void take_score(const char* metric, const Json& score) {
    Json& metrics = result_["metrics"];
    metrics[metric] = score.at("bits_per_byte");
    folder_.add_event(concat("score/", metric), train_.outputs.at("steps"), score.at("bits_per_byte"));
    if (!metrics.contains("val_tokens")) {
      metrics["val_tokens"] = score.at("tokens");
      metrics["val_bytes"] = score.at("bytes");
    }
    if (score.contains("limited_to")) more_["limited_to"] = score["limited_to"];
  }

  void ttt_stage() {
    const StageKey key = ttt_stage_key(session_, identity_, decoded_hash_);
    const CacheEntry entry = stage(key, [&](const fs::path& into) -> Json {
      return score_ttt(session_, model_with("decoded", "ttt"), text_, into);
    });
    fs::copy_file(entry.folder / "ledger.jsonl", folder_.ledger(), fs::copy_options::overwrite_existing);
    take_score("ttt_bpb", entry.outputs.at("score"));
  }

  void judge() {
    result_["status"] = "ok";
    const double started = train_.outputs.is_object() ? train_.outputs.value("last_step_started_at", 0.0) : 0.0;
    more_["verdicts"] = Json::array();
    for (const Verdict& v : verdicts(session_.section("budgets"), result_, started)) {
      more_["verdicts"].push_back({{"what", v.what}, {"used", v.used}, {"cap", v.cap}, {"kept", v.kept}});
      if (!v.kept) result_["status"] = "budget";
    }
  }

  void finish(RunOutcome& outcome) {
    if (!outcome.error && result_["status"] == "budget")
      outcome.error = budget_error(more_);
    try {
      if (!outcome.error || outcome.error->kind() == ErrorKind::budget) folder_.write_result({{"result", result_}, {"more", more_}});
      Json facts = {{"stage", nullptr}};
      if (outcome.error) facts["error"] = outcome.error->what();
      folder_.set_status(result_["status"], facts);
    } catch (const Error& error) {  // a full disk: the first reason is the one to tell
      if (!outcome.error) outcome.error = error;
    }
  }

  const Session& session_;
  const RunOptions& options_;
  RunFolder folder_;
  StageCache cache_;
  std::size_t from_ = 99, until_ = 99;
  Json result_, more_ = Json::object();
  std::string current_;
  bool last_hit_ = false;

  fs::path data_folder_;
  data::DataSet data_;
  Json identity_;
  CacheEntry train_;
  std::string decoded_hash_;
  std::shared_ptr<Model> model_;
  eval::Text text_;
};

}  // namespace

RunOutcome run(const Session& session, const RunOptions& options) {
  if (!options.from.empty()) stage_index(options.from, "--from");
  if (!options.until.empty()) stage_index(options.until, "--until");
  if (!options.resume.empty() && !options.id.empty()) throw Error(ErrorKind::usage, "--resume and --id exclude each other");
  if (options.id.find('/') != std::string::npos || options.id.starts_with('.'))
    throw Error(ErrorKind::usage, "--id is '" + options.id + "'", "accepted: a folder's name in the runs folder (--runs)");
  const fs::path reserved = options.runs / options.id;
  if (!options.id.empty() && !fs::exists(reserved / "resolved.json"))
    return Runner(session, options, RunFolder::create(options.runs, session, options.id)).execute();
  if (options.resume.empty() && options.id.empty())
    return Runner(session, options, RunFolder::create(options.runs, session)).execute();

  RunFolder folder = RunFolder::open(options.runs, options.id.empty() ? options.resume : reserved.string());
  if (canonical(folder.resolved()) != canonical(session.resolved()))
    throw Error(ErrorKind::usage, concat("the manifest does not resolve to what the run '", folder.id(), "' was started with"),
                concat("caddie config diff shows what differs from ", (folder.path() / "resolved.json").string(),
                       "; start a run of its own without --resume."));
  if (const Json before = folder.result(); before.is_object()) {
    log::info("the run is finished; this is its result");
    RunOutcome outcome{before.at("result"), before.at("more"), {}};
    if (outcome.result.at("status") == "budget") outcome.error = budget_error(outcome.more);
    call_to_end(session);
    return outcome;
  }
  return Runner(session, options, std::move(folder)).execute();
}

Json evaluate_artifact(const Session& session, const RunOptions& options, const fs::path& file) {
  StageCache cache(options.cache.empty() ? StageCache::default_root() : options.cache);
  bool hit = false;
  fetch_data(session, options.offline);
  const CacheEntry entry = cache.get(data_stage_key(session), false,
                                     [&](const fs::path& into) { return compute_data(session, into); }, hit);
  const data::DataSet data = data::open_data(entry.folder);
  if (const std::string note = data::unknown_note(data.identity); !note.empty()) log::warning(note);
  const auto model = session.create_model(data.vocabulary, session.device());
  artifact::load_weights(*model, weights_of_artifact(session, file));
  const eval::Text text = validation_text(data, session.device());
  Json metrics = Json::object();
  const auto take = [&](const char* metric, const Json& outputs) {
    const Json& score = outputs.at("score");
    metrics[metric] = score.at("bits_per_byte");
    metrics["val_tokens"] = score.at("tokens");
    metrics["val_bytes"] = score.at("bytes");
  };
  const Json section = evaluate_section(session);
  if (!section.at("flat").is_null()) take("roundtrip_bpb", score_flat(session, *model, text));
  if (!section.at("sliding").is_null()) take("sliding_bpb", score_sliding(session, *model, text));
  if (!session.section("ttt").is_null()) {
    const fs::path scratch = fs::temp_directory_path() / concat("caddie_eval_", ::getpid());
    make_directories(scratch);
    take("ttt_bpb", score_ttt(session, *model, text, scratch));
    fs::remove_all(scratch);
  }
  return metrics;
}

std::optional<fs::path> source_archive() {
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code);
  const fs::path source = program.parent_path().parent_path() / "share" / "caddie" / "source.tar.xz";
  if (code || !fs::is_regular_file(source, code)) return std::nullopt;
  return source;
}

std::optional<std::int64_t> code_bytes() {
  const auto source = source_archive();
  std::error_code code;
  const auto bytes = source ? fs::file_size(*source, code) : 0;
  if (!source || code) return std::nullopt;
  return static_cast<std::int64_t>(bytes);
}

}  // namespace caddie::pipeline
