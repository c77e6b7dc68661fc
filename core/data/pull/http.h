// GET over HTTP by libcurl, which heeds http_proxy, https_proxy and no_proxy. Redirects are followed here, one by one:
// the token goes to the host that was asked first, never to another. The only file with libcurl is http.cpp. Private.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

namespace caddie::data {

struct HttpRequest {
  std::string url;
  std::string token;          // empty: none
  std::int64_t from = 0;      // first byte that is wanted
  double stall_seconds = 10;  // without a byte for so long: a failure
};

struct HttpResponse {
  long status = 0;                             // of the last answer; 0: none came
  std::map<std::string, std::string> headers;  // lower-case names, of the last answer
  std::string url;                             // where the last answer came from
  bool redirected = false;                     // to another host
  std::string failure;                         // why the transfer did not end well ("connection reset"); empty: it did
  bool lost = false;         // in a circle of redirects, or not to be trusted: trying again is of no use
  bool untrusted = false;    // the server's certificate was not accepted
  std::string header(const std::string& name) const;
};

class HttpClient {
 public:
  // Called with pieces of the body of a 2xx answer; false ends the transfer. May throw.
  using Sink = std::function<bool(const HttpResponse&, std::span<const std::byte>)>;

  HttpClient();
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Asked several times a second; true ends the transfer with Error(interrupted).
  void set_stop(std::function<bool()> stop);
  // What goes wrong on the way is in the answer; only the sink's exceptions and an interrupt are thrown.
  HttpResponse get(const HttpRequest& request, const Sink& sink);
  // The whole body as text, of at most `limit` bytes.
  HttpResponse get_text(const HttpRequest& request, std::string& body, std::size_t limit);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// `location` as seen from `base`.
std::string resolve_url(const std::string& base, const std::string& location);
// Whether scheme, host and port are the same.
bool same_origin(const std::string& a, const std::string& b);
// Percent-encodes everything but letters, digits, "-_.~" and `keep`.
std::string url_quote(const std::string& text, const std::string& keep = {});

}  // namespace caddie::data
