// Errors that a person reads. Libraries throw, only tools/cli/main maps a kind to an exit code.
// A message says what is wrong, the offending value, what is accepted, and what to do next.
#pragma once

#include <exception>
#include <sstream>
#include <string>
#include <vector>

#include "caddie/export.h"

namespace caddie {

// The kind decides the exit code (number in brackets).
enum class ErrorKind {
  failed,       // a run or a stage failed (1)
  usage,        // command line or manifest (2)
  legality,     // a score was not obtained legally (4)
  budget,       // a budget is exceeded (5)
  data,         // data missing or not as promised (6)
  environment,  // device, library or plugin ABI (7)
  interrupted,  // stopped on request, can be resumed (75)
};

class CADDIE_API Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message, std::string hint = {});
  ~Error() override;

  ErrorKind kind() const noexcept { return kind_; }
  const std::string& message() const noexcept { return message_; }
  const std::string& hint() const noexcept { return hint_; }  // what to do next; may be empty
  const std::vector<std::string>& context() const noexcept { return context_; }  // innermost first

  // Adds where it happened, for example "quantizer gptq" or "tensor blocks.3.mlp.up.weight".
  Error& add_context(std::string where);
  // "stage quantize › quantizer gptq: message\n  hint"
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  void render();
  ErrorKind kind_;
  std::string message_, hint_, text_;
  std::vector<std::string> context_;
};

template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// Throws when `condition` does not hold: for everything that a user, a file or a plugin can cause.
#define CADDIE_CHECK(condition, kind, ...)                                       \
  do {                                                                           \
    if (!(condition)) throw ::caddie::Error((kind), ::caddie::concat(__VA_ARGS__)); \
  } while (false)

// For our own mistakes: a broken invariant inside caddie or a plugin.
#define CADDIE_ASSERT(condition)                                                                    \
  do {                                                                                              \
    if (!(condition))                                                                               \
      throw ::caddie::Error(::caddie::ErrorKind::failed,                                            \
                            ::caddie::concat("internal error: ", #condition, " does not hold at ", \
                                             __FILE__, ":", __LINE__),                              \
                            "This is a mistake in the program, please report it.");                 \
  } while (false)

}  // namespace caddie
