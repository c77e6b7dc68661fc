#include "tools/cli/data_pull.h"

#include <memory>

#include "caddie/error.h"
#include "core/base/json.h"
#include "core/data/pull/pull.h"
#include "tools/cli/session.h"

namespace caddie::cli {
namespace {

std::string report_text(const Json& report) {
  std::vector<std::vector<std::string>> rows = {{"dataset", report.at("dataset").get<std::string>()},
                                                {"commit", report.at("commit").get<std::string>()}};
  for (const char* key : {"variant", "folder"})
    if (report.contains(key) && report[key] != "") rows.push_back({key, report[key].get<std::string>()});
  for (const char* key : {"files", "bytes", "cached_files", "cached_bytes", "free_bytes"})
    if (report.contains(key)) rows.push_back({key, with_commas(report[key])});
  if (report.contains("tokenizer")) {
    rows.push_back({"train", concat(report.at("train").size(), " shards")});
    rows.push_back({"validation", concat(report.at("validation").size(), " shards")});
    rows.push_back({"tokenizer", report.at("tokenizer").get<std::string>()});
  }
  return table(rows);
}

struct Values {
  std::string dataset, revision, variant;
  std::int64_t shards = 0;
  data::PullOptions options;
  std::int64_t connections = 4;
  std::string output;
};

int pull(const Values& v, const Globals& globals) {
  data::DatasetRequest request = data::DatasetRequest::parse(v.dataset);
  if (!v.revision.empty()) {
    CADDIE_CHECK(v.dataset.find('@') == std::string::npos, ErrorKind::usage, "two revisions are given: '", v.dataset,
                 "' and --revision ", v.revision);
    request = data::DatasetRequest::parse(v.dataset + "@" + v.revision);
  }
  request.variant = v.variant;
  CADDIE_CHECK(v.shards >= 0, ErrorKind::usage, "--shards is ", v.shards, ", accepted: 1 or more");
  if (v.shards > 0) request.shards = v.shards;
  data::PullOptions options = v.options;
  options.connections = static_cast<int>(v.connections);
  options.link_into = v.output;
  const Json report = data::pull_dataset(request, options);
  std::string text = report_text(report);
  if (options.dry_run) text += "\nnothing was pulled (--dry-run)\n";
  print_result(globals, canonical(report), text);
  return 0;
}

}  // namespace

void add_pull(Command& group) {
  const auto v = std::make_shared<Values>();
  Command command = group.add(
      "pull", "Gets shards and tokenizer of a dataset from the Hugging Face Hub",
      "The files come into the Hub's own cache folder ($HF_HUB_CACHE, ~/.cache/huggingface/hub), checked against the\n"
      "hashes that the Hub promises. An interrupted call goes on when it is repeated. HF_ENDPOINT, HF_TOKEN,\n"
      "HF_HUB_OFFLINE, https_proxy, CURL_CA_BUNDLE and SSL_CERT_FILE are heeded. A manifest names the same dataset with\n"
      "data.dataset.\n\nExamples:\n"
      "  caddie data pull idan3011/parameter-golf-sp4096 --shards 8\n"
      "  caddie data pull willdepueoai/parameter-golf --variant sp1024 --dry-run");
  command.argument("DATASET", v->dataset, "OWNER/NAME, or OWNER/NAME@REVISION");
  command.option("--revision", v->revision, "branch, tag or commit; main without it");
  command.option("--variant", v->variant, "which set of shards, where a dataset has several");
  command.option("--shards", v->shards, "the first N training shards; all without it");
  command.option("--connections", v->connections, "files at once");
  command.option("-o,--output", v->output, "also put the files into this folder (hard links where possible)");
  command.flag("--dry-run", v->options.dry_run, "say what would come");
  command.flag("--offline", v->options.offline, "no request: say where the files are, or exit with 6");
  command.run([v](const Globals& globals) { return pull(*v, globals); });
}

}  // namespace caddie::cli
