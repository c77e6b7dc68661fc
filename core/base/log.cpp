#include "core/base/log.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>

#include "core/base/clock.h"

namespace caddie::log {
namespace {

struct State {
  std::mutex mutex;
  LogLevel level = LogLevel::info;
  bool fancy = ::isatty(2) == 1 && std::getenv("NO_COLOR") == nullptr;
  std::ofstream file;
  std::string status;
};

State& state() {
  static State* instance = new State;  // leaked: messages may come from static destruction
  return *instance;
}

void erase_status(const State& s) {
  if (s.status.empty()) return;
  std::fputs("\r\x1b[K", stderr);
  for (const char c : s.status)
    if (c == '\n') std::fputs("\x1b[1A\x1b[K", stderr);
}
void draw_status(const State& s) {
  if (!s.status.empty()) std::fputs(s.status.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace

void set_level(LogLevel level) { state().level = level; }
void set_quiet(bool quiet) {
  if (quiet) state().level = LogLevel::warning;
}

void set_file(const std::filesystem::path& path) {
  const std::lock_guard lock(state().mutex);
  state().file.close();
  if (!path.empty()) state().file.open(path, std::ios::app);
}

bool fancy() { return state().fancy; }
void set_fancy(bool on) { state().fancy = on && ::isatty(2) == 1; }

std::string styled(std::string_view text, std::string_view style) {
  if (!fancy()) return std::string(text);
  return "\x1b[" + std::string(style) + "m" + std::string(text) + "\x1b[0m";
}

void write(LogLevel level, std::string_view text) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.file.is_open()) {
    s.file << utc_timestamp() << ' ' << (level == LogLevel::debug ? "debug " : level == LogLevel::warning ? "warning " : "")
           << text << '\n';
    s.file.flush();
  }
  if (level < s.level) return;
  erase_status(s);
  std::string line = level == LogLevel::warning ? styled("warning: ", "33;1") : std::string();
  line += text;
  line += '\n';
  std::fputs(line.c_str(), stderr);
  draw_status(s);
}

void debug(std::string_view text) { write(LogLevel::debug, text); }
void info(std::string_view text) { write(LogLevel::info, text); }
void warning(std::string_view text) { write(LogLevel::warning, text); }

void set_status(std::string_view line) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (!s.fancy || s.level > LogLevel::info) return;
  erase_status(s);
  s.status = line;
  draw_status(s);
}

}  // namespace caddie::log
