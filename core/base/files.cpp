#include "core/base/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "caddie/error.h"

namespace caddie {
namespace fs = std::filesystem;
namespace {

std::string reason(int code) { return std::strerror(code); }

[[noreturn]] void fail_write(const fs::path& path, int code) {
  throw Error(ErrorKind::failed, concat("cannot write ", path.string(), ": ", reason(code)),
              code == ENOSPC ? "Free some disk space and run again; finished stages are kept."
                             : "Check that the folder exists and may be written.");
}

struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

Descriptor open_to_read(const fs::path& path, struct stat& info) {
  Descriptor descriptor{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (descriptor.value < 0 || ::fstat(descriptor.value, &info) != 0)
    throw Error(ErrorKind::data, concat("cannot read ", path.string(), ": ", reason(errno)));
  if (S_ISDIR(info.st_mode)) throw Error(ErrorKind::data, concat("cannot read ", path.string(), ": it is a folder"));
  return descriptor;
}

template <class Container>
Container read_whole(const fs::path& path) {
  struct stat info {};
  Descriptor descriptor = open_to_read(path, info);
  Container content;
  content.resize(static_cast<std::size_t>(info.st_size));
  std::size_t done = 0;
  while (true) {
    if (done == content.size()) content.resize(content.size() + (info.st_size == 0 ? 65536 : 1));  // /proc, pipes
    const ssize_t n = ::read(descriptor.value, content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(ErrorKind::data, concat("cannot read ", path.string(), ": ", reason(errno)));
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  content.resize(done);
  return content;
}

void write_all(int descriptor, const fs::path& path, const std::byte* data, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(descriptor, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_write(path, errno);
    data += n;
    size -= static_cast<std::size_t>(n);
  }
}

}  // namespace

std::string read_text(const fs::path& path) { return read_whole<std::string>(path); }
std::vector<std::byte> read_bytes(const fs::path& path) { return read_whole<std::vector<std::byte>>(path); }

Json read_json(const fs::path& path) {
  try {
    return Json::parse(read_text(path));
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::data, concat(path.string(), " is not valid JSON: ", error.what()));
  }
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  static std::atomic<unsigned> counter{0};
  temporary_ = path_;
  temporary_ += concat(".tmp.", ::getpid(), ".", counter++);
  descriptor_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_write(path_, errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
    ::unlink(temporary_.c_str());
  }
}

void AtomicFile::write(std::span<const std::byte> data) { write_all(descriptor_, path_, data.data(), data.size()); }
void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

void AtomicFile::write_at(std::uint64_t offset, std::span<const std::byte> data) {
  const std::byte* next = data.data();
  std::size_t left = data.size();
  while (left > 0) {
    const ssize_t n = ::pwrite(descriptor_, next, left, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_write(path_, errno);
    next += n;
    offset += static_cast<std::uint64_t>(n);
    left -= static_cast<std::size_t>(n);
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail_write(path_, errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    const int code = errno;
    ::unlink(temporary_.c_str());
    fail_write(path_, code);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int code = errno;
    ::unlink(temporary_.c_str());
    fail_write(path_, code);
  }
  const fs::path folder = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
  const Descriptor parent{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (parent.value >= 0) ::fsync(parent.value);
}

void write_atomic(const fs::path& path, std::span<const std::byte> data) {
  AtomicFile file(path);
  file.write(data);
  file.commit();
}
void write_atomic(const fs::path& path, std::string_view text) {
  write_atomic(path, std::as_bytes(std::span(text.data(), text.size())));
}
void write_json(const fs::path& path, const Json& value) {
  write_atomic(path, value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void append_line(const fs::path& path, std::string_view line) {
  const Descriptor descriptor{::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)};
  if (descriptor.value < 0) fail_write(path, errno);
  std::string text(line);
  text += '\n';
  write_all(descriptor.value, path, reinterpret_cast<const std::byte*>(text.data()), text.size());
}

std::vector<Json> read_json_lines(const fs::path& path) {
  std::vector<Json> lines;
  const std::string text = read_text(path);
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = text.find('\n', start);
    if (end == std::string::npos) break;  // torn by a crash
    Json value = Json::parse(text.begin() + static_cast<std::ptrdiff_t>(start),
                             text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!value.is_discarded()) lines.push_back(std::move(value));
    start = end + 1;
  }
  return lines;
}

void make_directories(const fs::path& path) {
  std::error_code code;
  fs::create_directories(path, code);
  if (code) fail_write(path, code.value());
}

MappedFile::MappedFile(const fs::path& path) {
  struct stat info {};
  const Descriptor descriptor = open_to_read(path, info);
  size_ = static_cast<std::size_t>(info.st_size);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor.value, 0);
  if (address == MAP_FAILED)
    throw Error(ErrorKind::data, concat("cannot map ", path.string(), ": ", reason(errno)));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace caddie
