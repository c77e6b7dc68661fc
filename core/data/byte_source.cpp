// Plain, gzip, xz and zstd files as streams of bytes. A file that ends inside its compressed data is an error.
#include <fcntl.h>
#include <lzma.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>

#include "caddie/error.h"
#include "core/data/text_reader.h"

namespace caddie::data {
namespace fs = std::filesystem;

ByteSource::~ByteSource() = default;

namespace {

class PlainSource : public ByteSource {
 public:
  explicit PlainSource(fs::path path) : path_(std::move(path)) {
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat info{};
    const bool folder = descriptor_ >= 0 && ::fstat(descriptor_, &info) == 0 && S_ISDIR(info.st_mode);
    if (folder) ::close(descriptor_), descriptor_ = -1, errno = EISDIR;
    if (descriptor_ < 0) fail(std::strerror(errno));
  }
  ~PlainSource() override {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  std::size_t read(char* out, std::size_t size) override {
    while (true) {
      const ssize_t n = ::read(descriptor_, out, size);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail(std::strerror(errno));
      position_ += n;
      return static_cast<std::size_t>(n);
    }
  }
  std::int64_t position() const override { return position_; }
  const fs::path& path() const { return path_; }

 private:
  [[noreturn]] void fail(const char* reason) const {
    throw Error(ErrorKind::data, concat("cannot read ", path_.string(), ": ", reason));
  }
  fs::path path_;
  int descriptor_ = -1;
  std::int64_t position_ = 0;
};

// The common half of the decoders: an input buffer that refills from the file.
class Decoder : public ByteSource {
 public:
  explicit Decoder(const fs::path& path) : file_(path), buffer_(std::size_t{1} << 17) {}
  std::int64_t position() const override { return file_.position(); }

 protected:
  // The unread input; refilled when empty. Empty after that: the file's end.
  std::string_view input() {
    if (begin_ == end_ && !ended_) {
      begin_ = 0;
      end_ = file_.read(buffer_.data(), buffer_.size());
      ended_ = end_ == 0;
    }
    return {buffer_.data() + begin_, end_ - begin_};
  }
  void consume(std::size_t left) { begin_ = end_ - left; }
  [[noreturn]] void fail(const std::string& reason) const {
    throw Error(ErrorKind::data,
                concat(file_.path().string(), " cannot be decompressed near byte ", file_.position(), ": ", reason),
                "The file is damaged or was not fetched completely.");
  }

 private:
  PlainSource file_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;
  bool ended_ = false;
};

class GzipSource : public Decoder {
 public:
  explicit GzipSource(const fs::path& path) : Decoder(path) {
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) throw std::bad_alloc();
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  std::size_t read(char* out, std::size_t size) override {
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = static_cast<uInt>(size);
    while (stream_.avail_out == size) {
      const std::string_view data = input();
      if (data.empty()) {
        if (inside_) fail("it is cut off");
        return 0;
      }
      if (!inside_) inflateReset(&stream_), inside_ = true;  // files may hold several members
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
      stream_.avail_in = static_cast<uInt>(data.size());
      const int code = inflate(&stream_, Z_NO_FLUSH);
      consume(stream_.avail_in);
      if (code == Z_STREAM_END)
        inside_ = false;
      else if (code != Z_OK && code != Z_BUF_ERROR)
        fail(stream_.msg != nullptr ? stream_.msg : "not gzip data");
    }
    return size - stream_.avail_out;
  }

 private:
  z_stream stream_{};
  bool inside_ = true;
};

class XzSource : public Decoder {
 public:
  explicit XzSource(const fs::path& path) : Decoder(path) {
    constexpr std::uint64_t kMemoryLimit = std::uint64_t{1} << 30;
    if (lzma_stream_decoder(&stream_, kMemoryLimit, LZMA_CONCATENATED) != LZMA_OK) throw std::bad_alloc();
  }
  ~XzSource() override { lzma_end(&stream_); }
  std::size_t read(char* out, std::size_t size) override {
    if (done_) return 0;
    stream_.next_out = reinterpret_cast<std::uint8_t*>(out);
    stream_.avail_out = size;
    while (stream_.avail_out == size) {
      const std::string_view data = input();
      stream_.next_in = reinterpret_cast<const std::uint8_t*>(data.data());
      stream_.avail_in = data.size();
      const lzma_ret code = lzma_code(&stream_, data.empty() ? LZMA_FINISH : LZMA_RUN);
      consume(stream_.avail_in);
      if (code == LZMA_STREAM_END) {
        done_ = true;
        break;
      }
      if (code == LZMA_BUF_ERROR || (code == LZMA_OK && data.empty() && stream_.avail_out == size))
        fail("it is cut off");
      if (code == LZMA_FORMAT_ERROR) fail("not xz data");
      if (code == LZMA_MEMLIMIT_ERROR) fail("it needs more than 1 GiB of memory to decompress");
      if (code != LZMA_OK) fail("its data is damaged");
    }
    return size - stream_.avail_out;
  }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool done_ = false;
};

class ZstdSource : public Decoder {
 public:
  explicit ZstdSource(const fs::path& path) : Decoder(path), stream_(ZSTD_createDStream()) {
    if (stream_ == nullptr) throw std::bad_alloc();
    ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, 30);
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }
  std::size_t read(char* out, std::size_t size) override {
    ZSTD_outBuffer output{out, size, 0};
    while (output.pos == 0) {
      const std::string_view data = input();
      // Without input the decoder may still hold output of the last block.
      ZSTD_inBuffer from{data.data(), data.size(), 0};
      if (data.empty() && !inside_) return 0;
      const std::size_t code = ZSTD_decompressStream(stream_, &output, &from);
      consume(data.size() - from.pos);
      if (ZSTD_isError(code) != 0) fail(ZSTD_getErrorName(code));
      inside_ = code != 0;
      if (data.empty() && inside_ && output.pos == 0) fail("it is cut off");
    }
    return output.pos;
  }

 private:
  ZSTD_DStream* stream_;
  bool inside_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> open_source(const fs::path& path) {
  const std::string ending = path.extension().string();
  if (ending == ".gz") return std::make_unique<GzipSource>(path);
  if (ending == ".xz") return std::make_unique<XzSource>(path);
  if (ending == ".zst") return std::make_unique<ZstdSource>(path);
  return std::make_unique<PlainSource>(path);
}

}  // namespace caddie::data
