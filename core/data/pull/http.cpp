#include "core/data/pull/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <exception>
#include <initializer_list>
#include <mutex>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/interrupt.h"

namespace caddie::data {
namespace {

constexpr int kMostRedirects = 10;
constexpr long kConnectSeconds = 20;

void set_up_once() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

// What the tools around this one read, too: libcurl itself knows no variable for its certificates.
std::string first_of_environment(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  return {};
}

struct UrlHandle {
  CURLU* handle = curl_url();
  ~UrlHandle() { curl_url_cleanup(handle); }
  explicit UrlHandle(const std::string& url) { valid = curl_url_set(handle, CURLUPART_URL, url.c_str(), 0) == CURLUE_OK; }
  std::string part(CURLUPart which, unsigned flags = 0) const {
    char* text = nullptr;
    if (curl_url_get(handle, which, &text, flags) != CURLUE_OK) return {};
    std::string out(text);
    curl_free(text);
    return out;
  }
  bool valid = false;
};

std::string origin(const std::string& url) {
  const UrlHandle handle(url);
  std::string text =
      handle.part(CURLUPART_SCHEME) + "://" + handle.part(CURLUPART_HOST) + ":" + handle.part(CURLUPART_PORT, CURLU_DEFAULT_PORT);
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool is_redirect(long status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }

}  // namespace

std::string HttpResponse::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string() : found->second;
}

std::string resolve_url(const std::string& base, const std::string& location) {
  const UrlHandle handle(base);
  if (!handle.valid || curl_url_set(handle.handle, CURLUPART_URL, location.c_str(), 0) != CURLUE_OK) return location;
  return handle.part(CURLUPART_URL);
}

bool same_origin(const std::string& a, const std::string& b) { return origin(a) == origin(b); }

std::string url_quote(const std::string& text, const std::string& keep) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 128 && std::isalnum(byte) != 0) || std::string("-_.~").find(c) != std::string::npos ||
        keep.find(c) != std::string::npos)
      out += c;
    else
      (out += '%').append({kDigits[byte >> 4], kDigits[byte & 15]});
  }
  return out;
}

struct HttpClient::Impl {
  CURL* handle = nullptr;
  std::function<bool()> stop;
  // Of the transfer that is under way.
  HttpResponse* response = nullptr;
  const Sink* sink = nullptr;
  std::exception_ptr thrown;
  bool ended = false;  // the sink wanted no more
  bool stalled = false;
  double stall_seconds = 10;
  curl_off_t received = 0;
  Stopwatch since_byte;

  bool wanted_to_stop() const { return interrupted() || (stop && stop()); }

  static std::size_t on_header(char* data, std::size_t, std::size_t size, void* self) {
    HttpResponse& response = *static_cast<Impl*>(self)->response;
    const std::string_view line(data, size);
    if (line.starts_with("HTTP/")) response.headers.clear();  // an interim answer, or a proxy's, came before
    if (const std::size_t colon = line.find(':'); colon != std::string_view::npos) {
      std::string name(line.substr(0, colon)), value(line.substr(colon + 1));
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      value.erase(0, std::min(value.find_first_not_of(" \t"), value.size()));
      value.erase(value.find_last_not_of(" \t\r\n") + 1);
      response.headers[name] = value;
    }
    return size;
  }

  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* pointer) {
    Impl& self = *static_cast<Impl*>(pointer);
    curl_easy_getinfo(self.handle, CURLINFO_RESPONSE_CODE, &self.response->status);
    if (self.response->status < 200 || self.response->status >= 300) return size;
    try {
      if ((*self.sink)(*self.response, std::as_bytes(std::span(data, size)))) return size;
      self.ended = true;
    } catch (...) {
      self.thrown = std::current_exception();
    }
    return 0;
  }

  // Called at least once a second, whatever comes. libcurl's own limit looks at averages over several seconds.
  static int on_progress(void* pointer, curl_off_t, curl_off_t received, curl_off_t, curl_off_t) {
    Impl& self = *static_cast<Impl*>(pointer);
    if (received != self.received) {
      self.received = received;
      self.since_byte.restart();
    }
    self.stalled = self.since_byte.seconds() > self.stall_seconds;
    return self.stalled || self.wanted_to_stop() ? 1 : 0;
  }

  // One request, without following.
  HttpResponse once(const HttpRequest& request, const std::string& url, bool with_token, const Sink& to) {
    HttpResponse answer;
    answer.url = url;
    response = &answer;
    sink = &to;
    thrown = nullptr;
    ended = stalled = false;
    stall_seconds = request.stall_seconds;
    received = 0;
    since_byte.restart();
    curl_easy_reset(handle);
    char reason[CURL_ERROR_SIZE] = "";
    curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(handle, CURLOPT_USERAGENT, "caddie");
    curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, this);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(handle, CURLOPT_XFERINFODATA, this);
    curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
    curl_slist* headers = curl_slist_append(nullptr, "Accept-Encoding: identity");
    if (with_token) headers = curl_slist_append(headers, ("Authorization: Bearer " + request.token).c_str());
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    // The token is not for a proxy that the request goes through.
    curl_easy_setopt(handle, CURLOPT_HEADEROPT, static_cast<long>(CURLHEADER_SEPARATE));
    const std::string range = concat(request.from, "-");
    if (request.from > 0) curl_easy_setopt(handle, CURLOPT_RANGE, range.c_str());
    const std::string authorities = first_of_environment({"CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}),
                      folder = first_of_environment({"SSL_CERT_DIR"});
    if (!authorities.empty()) curl_easy_setopt(handle, CURLOPT_CAINFO, authorities.c_str());
    if (!folder.empty()) curl_easy_setopt(handle, CURLOPT_CAPATH, folder.c_str());
    const CURLcode code = curl_easy_perform(handle);
    curl_slist_free_all(headers);
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &answer.status);
    if (thrown) std::rethrow_exception(thrown);
    if (wanted_to_stop()) throw Error(ErrorKind::interrupted, "the download was interrupted");
    if (stalled)
      answer.failure = concat("nothing came for ", request.stall_seconds, " s");
    else if (code != CURLE_OK && !ended)
      answer.failure = *reason != '\0' ? reason : curl_easy_strerror(code);
    answer.untrusted = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
    answer.lost = answer.untrusted;
    return answer;
  }
};

HttpClient::HttpClient() : impl_(std::make_unique<Impl>()) {
  set_up_once();
  impl_->handle = curl_easy_init();
  CADDIE_CHECK(impl_->handle != nullptr, ErrorKind::environment, "libcurl cannot be set up");
}

HttpClient::~HttpClient() { curl_easy_cleanup(impl_->handle); }

void HttpClient::set_stop(std::function<bool()> stop) { impl_->stop = std::move(stop); }

HttpResponse HttpClient::get(const HttpRequest& request, const Sink& sink) {
  std::string url = request.url;
  bool redirected = false;
  for (int hop = 0; hop <= kMostRedirects; ++hop) {
    // Once the request has left the host it does not get the token back: who redirects could choose the way.
    HttpResponse answer = impl_->once(request, url, !request.token.empty() && !redirected, sink);
    answer.redirected = redirected;
    const std::string location = answer.header("location");
    if (!is_redirect(answer.status) || location.empty()) return answer;
    url = resolve_url(url, location);
    redirected = redirected || !same_origin(url, request.url);
  }
  HttpResponse lost;
  lost.url = url;
  lost.lost = true;
  lost.failure = concat("redirected more than ", kMostRedirects, " times");
  return lost;
}

HttpResponse HttpClient::get_text(const HttpRequest& request, std::string& body, std::size_t limit) {
  body.clear();
  return get(request, [&](const HttpResponse& answer, std::span<const std::byte> data) {
    CADDIE_CHECK(body.size() + data.size() <= limit, ErrorKind::data, answer.url, " answers with more than ", limit,
                 " bytes");
    body.append(reinterpret_cast<const char*>(data.data()), data.size());
    return true;
  });
}

}  // namespace caddie::data
