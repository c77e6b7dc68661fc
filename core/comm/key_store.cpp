#include "core/comm/key_store.h"

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <utility>
#include <vector>

#include "caddie/error.h"

namespace caddie {
namespace {

std::chrono::milliseconds milliseconds(double seconds) { return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000)); }

std::vector<std::uint8_t> bytes_of(std::string_view text) { return {text.begin(), text.end()}; }
std::string text_of(const std::vector<std::uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

// c10d's messages carry a stack trace.
std::string first_line(const char* text) {
  const std::string all(text);
  return all.substr(0, all.find('\n'));
}

}  // namespace

struct KeyStore::Impl {
  c10::intrusive_ptr<c10d::Store> store;
  StoreAddress address;
  std::string prefix;

  std::string key(const std::string& name) const { return prefix + name; }

  template <class Body>
  auto call(Body body) const {
    try {
      return body();
    } catch (const std::exception& error) {
      throw Error(ErrorKind::failed, concat("the store of the ranks at ", address.host, ":", address.port, " does not answer: ",
                                            first_line(error.what())),
                  "The process that serves it, rank 0 or the launcher, has ended.");
    }
  }
};

KeyStore::KeyStore(const StoreAddress& address, bool serves, std::string prefix, double patience_seconds)
    : impl_(std::make_unique<Impl>()) {
  impl_->address = address;
  impl_->prefix = std::move(prefix);
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(address.port);
  options.isServer = serves;
  options.waitWorkers = false;
  options.timeout = milliseconds(patience_seconds);
  try {
    auto store = c10::make_intrusive<c10d::TCPStore>(address.host, options);
    impl_->address.port = store->getPort();
    impl_->store = std::move(store);
  } catch (const std::exception& error) {
    throw Error(ErrorKind::environment,
                concat(serves ? "cannot serve the store of the ranks at " : "cannot reach the store of the ranks at ", address.host,
                       ":", address.port, ": ", first_line(error.what())),
                serves ? "Is the port taken? Set another MASTER_PORT." : "Has rank 0 started, and are MASTER_ADDR and MASTER_PORT the same on all ranks?");
  }
}

KeyStore::KeyStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KeyStore::~KeyStore() = default;

int KeyStore::port() const { return impl_->address.port; }
const void* KeyStore::native() const { return &impl_->store; }

std::unique_ptr<KeyStore> KeyStore::another() const {
  auto impl = std::make_unique<Impl>(*impl_);
  impl->store = impl_->call([&] { return impl_->store->clone(); });
  return std::unique_ptr<KeyStore>(new KeyStore(std::move(impl)));
}

void KeyStore::set(const std::string& key, std::string_view value) {
  impl_->call([&] { impl_->store->set(impl_->key(key), bytes_of(value)); });
}

bool KeyStore::set_first(const std::string& key, std::string_view value) {
  // An empty expectation means: only if the key is not there. What is there afterwards comes back.
  return impl_->call([&] { return text_of(impl_->store->compareSet(impl_->key(key), {}, bytes_of(value))) == value; });
}

std::optional<std::string> KeyStore::find(const std::string& key) {
  return impl_->call([&]() -> std::optional<std::string> {
    if (!impl_->store->check({impl_->key(key)})) return std::nullopt;
    return text_of(impl_->store->get(impl_->key(key)));
  });
}

std::int64_t KeyStore::add(const std::string& key, std::int64_t amount) {
  return impl_->call([&] { return impl_->store->add(impl_->key(key), amount); });
}

void KeyStore::remove(const std::string& key) {
  impl_->call([&] { impl_->store->deleteKey(impl_->key(key)); });
}

std::int64_t KeyStore::key_count() {
  return impl_->call([&] { return impl_->store->getNumKeys(); });
}

}  // namespace caddie
