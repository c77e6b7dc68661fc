#include "caddie/error.h"

#include <utility>

namespace caddie {

Error::Error(ErrorKind kind, std::string message, std::string hint)
    : kind_(kind), message_(std::move(message)), hint_(std::move(hint)) {
  render();
}

Error::~Error() = default;

Error& Error::add_context(std::string where) {
  context_.push_back(std::move(where));
  render();
  return *this;
}

void Error::render() {
  text_.clear();
  for (auto it = context_.rbegin(); it != context_.rend(); ++it) {
    text_ += *it;
    text_ += std::next(it) == context_.rend() ? ": " : " › ";
  }
  text_ += message_;
  if (!hint_.empty()) text_ += "\n  " + hint_;
}

}  // namespace caddie
