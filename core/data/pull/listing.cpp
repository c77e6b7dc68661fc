#include "core/data/pull/listing.h"

#include "caddie/error.h"
#include "core/data/pull/hub_cache.h"
#include "core/data/pull/patience.h"

namespace caddie::data {
namespace {

constexpr std::size_t kLargestAnswer = 64 << 20;
constexpr int kMostPages = 1000;

Json ask(HttpClient& client, const Hub& hub, const std::string& url, const std::string& what, std::string* next) {
  Patience patience(what, {});
  while (true) {
    std::string body;
    const HttpResponse answer = client.get_text({url, hub.token, 0, hub.stall_seconds}, body, kLargestAnswer);
    if (answer.failure.empty() && answer.status == 200) {
      Json parsed = Json::parse(body, nullptr, false);
      if (parsed.is_discarded())
        throw Error(ErrorKind::data, concat(answer.url, " does not answer as the Hub does: no JSON but '",
                                            body.substr(0, 60), "'"),
                    "A network's login page or a proxy may stand in the way; check HF_ENDPOINT.");
      if (next != nullptr) {
        // Link: <https://.../tree/...?cursor=...>; rel="next"
        const std::string link = answer.header("link");
        const std::size_t open = link.find('<'), close = link.find('>');
        next->clear();
        if (link.find("rel=\"next\"") != std::string::npos && open < close && close != std::string::npos)
          *next = resolve_url(url, link.substr(open + 1, close - open - 1));
      }
      return parsed;
    }
    patience.wait(answer);
  }
}

std::string api(const Hub& hub, const DatasetRequest& request) {
  return concat(hub.endpoint, "/api/datasets/", url_quote(request.repository, "/"));
}

}  // namespace

std::string ask_commit(HttpClient& client, const Hub& hub, const DatasetRequest& request) {
  if (is_commit(request.revision)) return request.revision;
  const std::string url = concat(api(hub, request), "/revision/", url_quote(request.revision));
  const Json answer = ask(client, hub, url, concat("the dataset ", request.name()), nullptr);
  const Json sha = answer.is_object() ? answer.value("sha", Json()) : Json();
  CADDIE_CHECK(sha.is_string() && is_commit(sha.get<std::string>()), ErrorKind::data, url,
               " does not name a commit: it is not a Hub, or a proxy stands in the way");
  return sha.get<std::string>();
}

std::vector<RemoteFile> ask_tree(HttpClient& client, const Hub& hub, const DatasetRequest& request,
                                 const std::string& commit) {
  std::vector<RemoteFile> files;
  std::string url = concat(api(hub, request), "/tree/", commit, "?recursive=true&expand=false");
  for (int page = 0; !url.empty(); ++page) {
    CADDIE_CHECK(page < kMostPages && same_origin(url, hub.endpoint), ErrorKind::data, "the list of files of ",
                 request.name(), " goes on at ", url, ", which is not followed");
    std::string next;
    const Json entries = ask(client, hub, url, concat("the list of files of ", request.name()), &next);
    try {
      for (const Json& entry : entries) {
        if (entry.at("type") != "file") continue;
        const Json large = entry.value("lfs", Json());
        const Json& facts = large.is_object() ? large : entry;
        files.push_back(checked_file(entry.at("path").get<std::string>(), facts.at("size").get<std::int64_t>(),
                                     entry.at("oid").get<std::string>(),
                                     large.is_object() ? large.at("oid").get<std::string>() : std::string()));
      }
    } catch (const Json::exception& error) {
      throw Error(ErrorKind::data, concat(url, " does not answer with a list of files: ", error.what()));
    }
    url = next;
  }
  return files;
}

std::string file_url(const Hub& hub, const DatasetRequest& request, const std::string& commit, const std::string& path) {
  return concat(hub.endpoint, "/datasets/", url_quote(request.repository, "/"), "/resolve/", commit, "/",
                url_quote(path, "/"));
}

}  // namespace caddie::data
