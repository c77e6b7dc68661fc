#include "core/data/pull/download.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "core/data/pull/patience.h"

namespace caddie::data {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kPiece = 1 << 20;

// SHA-256 of the content, or git's SHA-1 of it as a blob ("blob SIZE\0" before it), whichever the Hub promises.
class ContentHash {
 public:
  explicit ContentHash(const RemoteFile& file) : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), file.sha256.empty() ? EVP_sha1() : EVP_sha256(), nullptr);
    if (!file.sha256.empty()) return;
    const std::string head = concat("blob ", file.size);
    EVP_DigestUpdate(context_.get(), head.c_str(), head.size() + 1);
  }
  void update(std::span<const std::byte> data) { EVP_DigestUpdate(context_.get(), data.data(), data.size()); }
  std::string hex() {
    std::byte digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest), &size);
    return to_hex(std::span(digest, size));
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

[[noreturn]] void fail_write(const fs::path& path, int code) {
  throw Error(ErrorKind::failed, concat("cannot write ", path.string(), ": ", std::strerror(code)),
              code == ENOSPC ? "Free some disk space, or set HF_HUB_CACHE to a larger disk; the same command goes on "
                               "where it stopped."
                             : "Check that the folder may be written; HF_HUB_CACHE names another.");
}

// The file that grows, for this process alone. Which machine it belongs to stands in its name: locks do not reach over
// every network file system.
class Partial {
 public:
  // `finished` is where the content appears if another process gets it meanwhile; complete() then.
  Partial(fs::path path, const fs::path& finished, const Download& job) : path_(std::move(path)) {
    for (bool told = false;; std::this_thread::sleep_for(std::chrono::milliseconds(100))) {
      descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
      if (descriptor_ < 0) fail_write(path_, errno);
      struct stat mine{}, named{};
      if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) {
        // The process before may have moved this very file to its place.
        if (::fstat(descriptor_, &mine) == 0 && ::stat(path_.c_str(), &named) == 0 && mine.st_ino == named.st_ino) {
          size_ = mine.st_size;
          complete_ = fs::exists(finished);
          return;
        }
      } else if (!told) {
        told = true;
        log::info(concat("another process is getting ", job.what, "; waiting for it"));
      }
      ::close(descriptor_);
      descriptor_ = -1;
      if (interrupted() || (job.stop && job.stop()))
        throw Error(ErrorKind::interrupted, "the download was interrupted");
    }
  }
  ~Partial() {
    if (descriptor_ < 0) return;
    if (complete_) ::unlink(path_.c_str());
    ::close(descriptor_);
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;

  bool complete() const { return complete_; }
  std::int64_t size() const { return size_; }
  void append(std::span<const std::byte> data) {
    while (!data.empty()) {
      const ssize_t n = ::pwrite(descriptor_, data.data(), data.size(), size_);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail_write(path_, errno);
      size_ += n;
      data = data.subspan(static_cast<std::size_t>(n));
    }
  }
  void empty() {
    if (::ftruncate(descriptor_, 0) != 0) fail_write(path_, errno);
    size_ = 0;
  }
  void hash(ContentHash& hash) const {
    std::vector<std::byte> piece(kPiece);
    for (std::int64_t at = 0; at < size_;) {
      throw_if_interrupted();
      const ssize_t n = ::pread(descriptor_, piece.data(), piece.size(), at);
      if (n < 0 && errno == EINTR) continue;
      CADDIE_CHECK(n > 0, ErrorKind::failed, "cannot read ", path_.string(), ": ", std::strerror(errno));
      hash.update(std::span(piece).first(static_cast<std::size_t>(n)));
      at += n;
    }
  }
  void commit(const fs::path& place) {
    if (::fsync(descriptor_) != 0 || ::rename(path_.c_str(), place.c_str()) != 0) fail_write(place, errno);
  }

 private:
  fs::path path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
  bool complete_ = false;
};

std::string machine() {
  std::error_code code;
  const fs::path file = "/etc/machine-id";
  std::string id = fs::exists(file, code) ? read_text(file) : std::string();
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  return sha256(id + host).substr(0, 8);
}

// What an answer to a request from byte `from` on brings: 0 the whole content, `from` the rest of it, -1 neither.
std::int64_t begins_at(const HttpResponse& answer, std::int64_t from, std::int64_t size) {
  if (answer.status == 200) return 0;
  const std::string range = answer.header("content-range");  // "bytes 100-999/1000"
  if (answer.status != 206 || !range.starts_with("bytes ")) return from == 0 && answer.status == 206 ? 0 : -1;
  const std::size_t slash = range.find('/');
  const bool same_size = slash == std::string::npos || range.compare(slash + 1, std::string::npos, "*") == 0 ||
                         range.compare(slash + 1, std::string::npos, std::to_string(size)) == 0;
  return same_size && std::strtoll(range.c_str() + 6, nullptr, 10) == from ? from : -1;
}

// Why an answer with the whole content cannot be the file; empty: it can. A login page of a network is such an answer.
std::string foreign(const HttpResponse& answer, std::int64_t size) {
  const std::string length = answer.header("content-length");
  if (answer.status != 200 || length.empty() || length == std::to_string(size)) return {};
  return concat(length, " bytes, the Hub promises ", size);
}

// Fills the partial file up to its size. What a server sends beyond it is a fault that the hash would not see.
void fill(HttpClient& client, const Hub& hub, const Download& job, Partial& partial, ContentHash& hash) {
  Patience patience(job.what, job.stop);
  std::int64_t furthest = partial.size();
  while (partial.size() < job.file.size) {
    bool begun = false;
    std::string refused;
    const HttpResponse answer = client.get(
        {job.url, hub.token, partial.size(), hub.stall_seconds},
        [&](const HttpResponse& head, std::span<const std::byte> data) {
          if (!begun) {
            refused = foreign(head, job.file.size);
            if (!refused.empty()) return false;
            const std::int64_t first = begins_at(head, partial.size(), job.file.size);
            if (first < 0) {
              refused = concat("an answer with other bytes than were asked for (", head.header("content-range"), ")");
              return false;
            }
            if (first != partial.size()) {  // the server knows no ranges: everything again
              *job.received -= partial.size();
              partial.empty();
              hash = ContentHash(job.file);
            }
            begun = true;
          }
          if (partial.size() + static_cast<std::int64_t>(data.size()) > job.file.size) {
            refused = concat("more than the ", job.file.size, " bytes that the Hub promises");
            return false;
          }
          partial.append(data);
          hash.update(data);
          *job.received += static_cast<std::int64_t>(data.size());
          return true;
        });
    if (!refused.empty()) {
      *job.received -= partial.size();
      partial.empty();
      throw Error(ErrorKind::data, concat("cannot get ", job.what, ": the server sends ", refused),
                  "Something between this machine and the Hub answers in its place, or the Hub's listing is out of "
                  "date: try again later.");
    }
    if (partial.size() >= job.file.size) break;
    if (partial.size() > furthest) patience.progress();
    furthest = std::max(furthest, partial.size());
    if (answer.status == 416) {
      *job.received -= partial.size();
      partial.empty();
      hash = ContentHash(job.file);
    }
    patience.wait(answer);
  }
}

}  // namespace

void download(HttpClient& client, const Hub& hub, const Download& job) {
  make_directories(job.place.parent_path());
  Partial partial(job.place.parent_path() / concat(job.file.etag(), ".caddie-", machine(), ".incomplete"), job.place, job);
  if (partial.complete()) {
    *job.received += job.file.size;
    return;
  }
  for (int attempt = 1;; ++attempt) {
    if (partial.size() > job.file.size) partial.empty();
    ContentHash hash(job.file);
    partial.hash(hash);
    *job.received += partial.size();
    fill(client, hub, job, partial, hash);
    const std::string found = hash.hex();
    if (found == job.file.etag()) break;
    *job.received -= partial.size();
    partial.empty();
    if (attempt == 2)
      throw Error(ErrorKind::data,
                  concat("what the server sends as ", job.what, " has the hash ", found, ", the Hub promises ",
                         job.file.etag()),
                  "It was got twice. Try again later, or from another HF_ENDPOINT.");
    log::warning(concat(job.what, " came with a wrong hash; getting it once more"));
  }
  partial.commit(job.place);
}

}  // namespace caddie::data
