// A Hub of the test's own (fake_hub.py) with a small dataset in it, and the program set to use it.
#pragma once

#include <fstream>
#include <optional>
#include <thread>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/data/pull/pull.h"
#include "tests/integration/workplace.h"

namespace caddie::test {

inline constexpr char kDataset[] = "owner/golf";

// One pull, inside the test's process: starting the program takes longer than all that it does here.
struct Pull {
  std::string dataset = kDataset, variant;
  std::optional<std::int64_t> shards;
  data::PullOptions options;
  std::vector<std::string> environment;
};
struct Pulled {
  std::optional<ErrorKind> error;
  std::string message;
  Json report;
};

class FakeHub {
 public:
  // With `scheme` "https": by a certificate that it signed itself. Needs the program openssl.
  explicit FakeHub(const std::string& scheme = "http") : scheme_(scheme), server_(command(scheme), {}) {
    for (int i = 0; i < 6000 && !std::filesystem::exists(root() / "ports.json"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ports_ = read_json(root() / "ports.json");
  }
  // The layout of a published dataset: shards, tokenizer, and a text besides.
  void publish(int train_shards, std::size_t shard_bytes) {
    for (int i = 0; i < train_shards; ++i) add(shard_name("train", i), noise(shard_bytes, i));
    add(shard_name("val", 0), noise(shard_bytes / 2, 99));
    add("tokenizers/golf_512_bpe.model", noise(3000, 100));
    add("README.md", "A dataset.");
  }
  static std::string shard_name(const std::string& part, int number) {
    return "datasets/golf_sp512/golf_" + part + "_00000" + std::to_string(number) + ".bin";
  }
  void add(const std::string& path, const std::string& content) {
    std::filesystem::create_directories((root() / "repository" / path).parent_path());
    std::ofstream(root() / "repository" / path, std::ios::binary) << content;
  }
  std::string content(const std::string& path) const { return read_text(root() / "repository" / path); }
  void faults(const Json& list) const { write_json(root() / "faults.json", list); }

  // How often a request of this kind came for a path with `part` in it, and those requests.
  std::vector<Json> requests(const std::string& at, const std::string& part = {}) const {
    std::vector<Json> found;
    if (!std::filesystem::exists(root() / "requests.jsonl")) return found;
    for (const Json& entry : read_json_lines(root() / "requests.jsonl"))
      if (entry.at("at") == at && entry.at("path").get<std::string>().find(part) != std::string::npos)
        found.push_back(entry);
    return found;
  }
  void forget_requests() const { std::filesystem::remove(root() / "requests.jsonl"); }

  // For a process.
  Process::Setup setup() const {
    Process::Setup setup;
    setup.environment = environment();
    return setup;
  }
  std::vector<std::string> environment() const {
    return {"HF_ENDPOINT=" + address(), "HF_HUB_CACHE=" + cache().string(), "HF_HOME=" + cache().string(),
                         "HF_HUB_DOWNLOAD_TIMEOUT=1", "HF_TOKEN=", "http_proxy=", "https_proxy=", "no_proxy=", "HF_HUB_OFFLINE=",
                         "CURL_CA_BUNDLE=", "SSL_CERT_FILE=", "REQUESTS_CA_BUNDLE=", "SSL_CERT_DIR="};
  }
  Pulled pull(const Pull& wanted = {}) const {
    std::vector<std::string> variables = environment();
    variables.insert(variables.end(), wanted.environment.begin(), wanted.environment.end());
    for (const std::string& entry : variables)
      ::setenv(entry.substr(0, entry.find('=')).c_str(), entry.substr(entry.find('=') + 1).c_str(), 1);
    try {
      data::DatasetRequest request = data::DatasetRequest::parse(wanted.dataset);
      request.variant = wanted.variant;
      request.shards = wanted.shards;
      return {{}, {}, data::pull_dataset(request, wanted.options)};
    } catch (const Error& error) {
      return {error.kind(), error.what(), {}};
    }
  }
  std::filesystem::path certificate() const { return root() / "certificate.pem"; }
  std::string address() const { return scheme_ + "://127.0.0.1:" + std::to_string(ports_.at("hub").get<int>()); }
  std::filesystem::path root() const { return scratch_.path(); }
  std::filesystem::path cache() const { return scratch_.path() / "hub_cache"; }
  std::filesystem::path repository_cache() const { return cache() / "datasets--owner--golf"; }
  // Files of the cache that are not complete.
  std::vector<std::filesystem::path> partials() const {
    std::vector<std::filesystem::path> found;
    std::error_code code;
    for (const auto& item : std::filesystem::recursive_directory_iterator(cache(), code))
      if (item.path().filename().string().find(".incomplete") != std::string::npos) found.push_back(item.path());
    return found;
  }

 private:
  // Bytes that do not repeat, so that a piece in the wrong place is seen.
  static std::string noise(std::size_t size, int seed) {
    std::string out;
    for (int i = 0; out.size() < size; ++i) out += sha256(std::to_string(seed) + "/" + std::to_string(i));
    out.resize(size);
    return out;
  }
  std::vector<std::string> command(const std::string& scheme) const {
    if (scheme == "https")
      Process({"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", (root() / "key.pem").string(), "-out",
               certificate().string()},
              {})
          .wait(60);
    return {"python3", CADDIE_SOURCE_DIR "/tests/integration/fake_hub.py", root().string(), scheme};
  }
  Scratch scratch_;
  std::string scheme_;
  Process server_;
  Json ports_;
};

}  // namespace caddie::test
