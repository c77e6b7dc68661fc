#include "core/comm/group.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <utility>
#include <vector>


namespace caddie {
namespace {

constexpr double kBeatSeconds = 0.5;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double seconds_of(const char* name, double otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return otherwise;
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (*end != '\0' || !(value > 0)) throw Error(ErrorKind::environment, concat(name, " is '", text, "', expected seconds above 0"));
  return value;
}

constexpr std::array<std::pair<ErrorKind, const char*>, 7> kKinds = {{{ErrorKind::failed, "failed"},
                                                                     {ErrorKind::usage, "usage"},
                                                                     {ErrorKind::legality, "legality"},
                                                                     {ErrorKind::budget, "budget"},
                                                                     {ErrorKind::data, "data"},
                                                                     {ErrorKind::environment, "environment"},
                                                                     {ErrorKind::interrupted, "interrupted"}}};

std::string beat_key(int rank) { return concat("beat/", rank); }
std::string left_key(int rank) { return concat("left/", rank); }

// "train.sequence is 512, on rank 0 it is 256", for the first place where they differ; empty if they do not.
std::string first_difference(const Json& own, const Json& leader, const std::string& path) {
  if (own == leader) return {};
  if (own.is_object() && leader.is_object()) {
    for (const auto& [key, value] : leader.items()) {
      const std::string inner = path.empty() ? key : path + "." + key;
      const std::string found = own.contains(key) ? first_difference(own.at(key), value, inner) : inner + " is missing, rank 0 has it";
      if (!found.empty()) return found;
    }
    for (const auto& [key, value] : own.items())
      if (!leader.contains(key)) return (path.empty() ? key : path + "." + key) + " is there, rank 0 does not have it";
  }
  if (own.is_array() && leader.is_array() && own.size() == leader.size())
    for (std::size_t i = 0; i < own.size(); ++i) {
      const std::string found = first_difference(own[i], leader[i], concat(path, "[", i, "]"));
      if (!found.empty()) return found;
    }
  return concat(path, " is ", own.dump(), ", on rank 0 it is ", leader.dump());
}

}  // namespace

std::string Failure::to_text() const {
  const auto* entry = std::find_if(kKinds.begin(), kKinds.end(), [this](const auto& pair) { return pair.first == kind; });
  return canonical(Json{{"rank", rank}, {"kind", entry->second}, {"text", text}, {"silent", silent}});
}

Failure Failure::from_text(const std::string& text) {
  const Json json = Json::parse(text);
  Failure failure{json.at("rank").get<int>(), ErrorKind::failed, json.at("text").get<std::string>(), json.at("silent").get<bool>()};
  for (const auto& [kind, name] : kKinds)
    if (json.at("kind") == name) failure.kind = kind;
  return failure;
}

GroupSettings GroupSettings::from_environment() {
  GroupSettings settings;
  settings.silence_seconds = seconds_of("CADDIE_RANK_SILENCE_SECONDS", settings.silence_seconds);
  settings.operation_seconds = seconds_of("CADDIE_RANK_OPERATION_SECONDS", settings.operation_seconds);
  return settings;
}

Group::Group(Launch launch, GroupSettings settings) : launch_(std::move(launch)), settings_(std::move(settings)) {
  store_ = std::make_unique<KeyStore>(launch_.store, launch_.serves, concat("caddie/", launch_.attempt, "/"), settings_.join_seconds);
  meet();
  watched_ = store_->another();
  last_contact_ = seconds_now();
  watcher_ = std::thread([this] { watch(); });
  guard_ = std::thread([this] { guard(); });
}

Group::~Group() {
  // Those that use the store of a rank that failed are to read why.
  if (launch_.serves && !leaving_) std::this_thread::sleep_for(std::chrono::duration<double>(3 * kBeatSeconds));
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (guard_.joinable()) guard_.join();
  // A watcher that waits for a server that hangs cannot be stopped: it is left alone, the process ends soon.
  if (watcher_.joinable()) {
    if (seconds_now() - last_contact_ > settings_.silence_seconds) {
      watcher_.detach();
      static_cast<void>(watched_.release());
      static_cast<void>(store_.release());
    } else {
      watcher_.join();
    }
  }
}

void Group::meet() {
  store_->set(beat_key(rank()), "0");
  const double start = seconds_now();
  for (int other = 0; other < size(); ++other)
    while (!store_->find(beat_key(other))) {
      if (const auto text = store_->find("failure")) learn(Failure::from_text(*text));
      check();
      if (seconds_now() - start > settings_.join_seconds)
        throw Error(ErrorKind::environment, concat("rank ", other, " of ", size(), " did not come within ", settings_.join_seconds, " s"),
                    "Was it started, with the same MASTER_ADDR and MASTER_PORT?");
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

void Group::watch() {
  std::vector<double> last_sign(static_cast<std::size_t>(size()), seconds_now());
  std::vector<std::string> signs(last_sign.size());
  double before = seconds_now();
  for (std::int64_t beat = 1;; ++beat) {
    try {
      watched_->set(beat_key(rank()), std::to_string(beat));
      const double now = seconds_now();
      // This process itself stood still: it has not looked, so nobody else was silent.
      lag_ = std::max(0.9 * lag_, now - before - 2 * kBeatSeconds);
      if (now - before > settings_.silence_seconds / 2)
        for (double& sign : last_sign) sign = now;
      before = now;
      look(*watched_, last_sign, signs, now);
      last_contact_ = now;
    } catch (const std::exception& error) {
      if (!leaving_) learn({0, ErrorKind::failed, error.what()});
      return;
    }
    std::unique_lock lock(mutex_);
    if (stop_.wait_for(lock, std::chrono::duration<double>(kBeatSeconds), [this] { return stopping_; })) return;
  }
}

void Group::look(KeyStore& store, std::vector<double>& last_sign, std::vector<std::string>& signs, double now) {
  if (const auto text = store.find("failure")) learn(Failure::from_text(*text));
  if (failed_) return;
  for (int other = 0; other < size(); ++other) {
    const auto index = static_cast<std::size_t>(other);
    if (other == rank()) continue;
    std::string sign = store.find(beat_key(other)).value_or("");
    if (sign != signs[index]) {
      signs[index] = std::move(sign);
      last_sign[index] = now;
    } else if (now - last_sign[index] > patience()) {
      if (store.find(left_key(other))) {
        last_sign[index] = now;
        continue;
      }
      const Failure failure{other, ErrorKind::failed,
                            concat("it has shown no sign of life for ", static_cast<int>(now - last_sign[index]),
                                   " s: it was killed or stopped, or its host cannot be reached"), true};
      store.set_first("failure", failure.to_text());
      learn(Failure::from_text(store.find("failure").value_or(failure.to_text())));
    }
  }
}

void Group::learn(const Failure& failure) {
  const std::lock_guard lock(mutex_);
  if (failed_) return;
  failure_ = failure;
  failed_at_ = seconds_now();
  failed_ = true;
}

std::optional<Failure> Group::failure() const {
  if (!failed_) return std::nullopt;
  const std::lock_guard lock(mutex_);
  return failure_;
}

void Group::check() const {
  if (const auto first = failure())
    throw Error(first->kind, first->kind == ErrorKind::interrupted ? first->text : concat("rank ", first->rank, ": ", first->text));
  const double silent = seconds_now() - last_contact_;
  if (last_contact_ > 0 && silent > patience())
    throw Error(ErrorKind::failed, concat("the store of the ranks at ", launch_.store.host, ":", launch_.store.port, " has not answered for ",
                                          static_cast<int>(silent), " s: rank 0 or the launcher, whichever serves it, hangs"));
}

void Group::guard() {
  std::unique_lock lock(mutex_);
  double before = seconds_now();
  while (!stop_.wait_for(lock, std::chrono::duration<double>(kBeatSeconds / 2), [this] { return stopping_; })) {
    lock.unlock();
    std::optional<Error> error;
    const double now = seconds_now();
    if (now - before > settings_.silence_seconds / 2) last_contact_ = now;  // this process itself stood still
    before = now;
    try {
      check();
    } catch (const Error& reason) {
      error = reason;
      double none = 0;
      failed_at_.compare_exchange_strong(none, now);
    }
    if (error && now - failed_at_ > settings_.grace_seconds) {
      if (settings_.on_stuck) settings_.on_stuck(*error);
      return;
    }
    lock.lock();
  }
}

void Group::agree(const Json& manifest) {
  // Small enough to send as a whole; a hash would only tell that something differs.
  const std::string key = unique("manifest");
  if (rank() == 0) store_->set(key, canonical(manifest));
  const Json leader = Json::parse(wait_for(key, settings_.join_seconds, "rank 0's manifest"));
  if (const std::string difference = first_difference(manifest, leader, ""); !difference.empty())
    throw Error(ErrorKind::usage, concat("the ranks do not run the same manifest: on rank ", rank(), " ", difference),
                "Give every rank the same manifest, overrides and program.");
}

void Group::tell(const Json& message) {
  CADDIE_ASSERT(rank() == 0);
  check();
  store_->set(concat("message/", told_++), canonical(message));
}

Json Group::next_message() {
  CADDIE_ASSERT(rank() != 0);
  const Json message = Json::parse(wait_for(concat("message/", told_), 0, "rank 0's next message"));
  // The last one to read it takes it away.
  if (store_->add(concat("read/", told_), 1) == size() - 1) {
    store_->remove(concat("message/", told_));
    store_->remove(concat("read/", told_));
  }
  ++told_;
  return message;
}

void Group::fail(const Error& error) noexcept {
  try {
    if (!failed_) store_->set_first("failure", Failure{rank(), error.kind(), error.what()}.to_text());
  } catch (const std::exception&) {  // the store is gone: the others notice by themselves
  }
}

void Group::wait_until(const std::function<bool()>& ready, double seconds, const std::string& what) const {
  const double start = seconds_now();
  int pause_us = 20;
  while (!ready()) {
    check();
    if (seconds > 0 && seconds_now() - start > seconds)
      throw Error(ErrorKind::failed, concat("rank ", rank(), " waited ", seconds, " s for ", what, ", in vain"),
                  "A rank hangs or is far behind the others; CADDIE_RANK_OPERATION_SECONDS sets how long to wait.");
    std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
    pause_us = std::min(pause_us * 2, 5000);
  }
}

std::string Group::wait_for(const std::string& key, double seconds, const std::string& what) {
  std::optional<std::string> value;
  wait_until([&] { return (value = store_->find(key)).has_value(); }, seconds, what);
  return *value;
}

void Group::leave() {
  check();
  leaving_ = true;
  store_->set(left_key(rank()), "1");
  if (!launch_.serves) return;
  try {
    for (int other = 1; other < size(); ++other)
      wait_until([&] { return store_->find(left_key(other)).has_value(); }, settings_.silence_seconds, concat("rank ", other, " to end"));
  } catch (const Error&) {
    return;  // this rank's work is done, whatever has become of the others
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // for their last answers
}

}  // namespace caddie
