#include "core/pipeline/ranks.h"

#include "core/base/safetensors.h"
#include "core/pipeline/stages.h"

namespace caddie::pipeline {
namespace fs = std::filesystem;
namespace {

void tell(const Session& session, const Json& message) {
  if (session.group() != nullptr) session.group()->tell(message);
}

class Follower {
 public:
  explicit Follower(const Session& session) : session_(session) {}

  void run() {
    while (true) {
      const Json call = session_.group()->next_message();
      const auto what = call.at("call").get<std::string>();
      if (what == "end") return;
      try {
        open_data(call.at("data").get<std::string>());
        if (what == "train")
          train_along(session_, data_, call.at("checkpoints").get<std::string>(), call.at("key").get<std::string>());
        else
          score(what, call.at("weights").get<std::string>(), call.at("artifact").get<bool>());
      } catch (Error& error) {
        throw error.add_context("stage " + (what == "train" || what == "ttt" ? what : "evaluate"));
      }
    }
  }

 private:
  void open_data(const std::string& folder) {
    if (folder == folder_) return;
    CADDIE_CHECK(fs::exists(folder), ErrorKind::environment, "rank ", session_.rank(), " does not see ", folder,
                 ": the cache and the runs must lie on a file system that all ranks share");
    data_ = data::open_data(folder);
    folder_ = folder;
    model_.reset();
  }

  void score(const std::string& what, const std::string& weights, bool artifact) {
    if (!model_) {
      model_ = session_.create_model(data_.vocabulary, session_.device());
      text_ = validation_text(data_, session_.device());
    }
    artifact::load_weights(*model_, artifact ? weights_of_artifact(session_, weights) : read_safetensors(weights));
    if (what == "flat") score_flat(session_, *model_, text_);
    if (what == "sliding") score_sliding(session_, *model_, text_);
    if (what == "ttt") score_ttt(session_, *model_, text_, {});
  }

  const Session& session_;
  std::string folder_;
  data::DataSet data_;
  std::shared_ptr<Model> model_;
  eval::Text text_;
};

}  // namespace

void call_to_train(const Session& session, const fs::path& data, const fs::path& checkpoints, const std::string& key) {
  tell(session, {{"call", "train"}, {"data", data.string()}, {"checkpoints", checkpoints.string()}, {"key", key}});
}

void call_to_score(const Session& session, const std::string& what, const fs::path& data, const fs::path& weights, bool artifact) {
  tell(session, {{"call", what}, {"data", data.string()}, {"weights", weights.string()}, {"artifact", artifact}});
}

void call_to_end(const Session& session) { tell(session, {{"call", "end"}}); }

void follow(const Session& session) { Follower(session).run(); }

}  // namespace caddie::pipeline
