#define BOOST_DLL_USE_STD_FS
#include "core/host/library.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/dll/shared_library.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <mutex>

#include "caddie/error.h"
#include "core/host/descriptor.h"
#include "core/host/tag.h"

namespace caddie {
namespace {

constexpr std::string_view kPrefix = "libcaddie_", kSuffix = ".so";

// A static constructor that throws or exits ends the process inside dlopen, where nothing can be caught. The person is
// told which file did it.
class LoadingNotice {
 public:
  explicit LoadingNotice(const std::filesystem::path& file) : text_(file.string()) {
    static const bool once = std::atexit([] {
      if (loading_) say("ended the process");
    }) == 0;
    (void)once;
    loading_ = text_.c_str();
    before_ = std::set_terminate([] {
      say("threw from a static constructor");
      std::abort();
    });
  }
  ~LoadingNotice() {
    loading_ = nullptr;
    std::set_terminate(before_);
  }
  LoadingNotice(const LoadingNotice&) = delete;
  LoadingNotice& operator=(const LoadingNotice&) = delete;

 private:
  static void say(const char* what) {
    std::fprintf(stderr, "error: the plugin %s %s while it was being loaded\n  Remove it or correct it; caddie plugin list "
                 "shows what is left.\n", loading_, what);
    std::fflush(stderr);
  }
  static inline const char* loading_ = nullptr;
  std::string text_;
  std::terminate_handler before_;
};

std::string rebuild_hint() {
  std::error_code failure;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", failure);
  const auto config = executable.parent_path().parent_path() / "lib" / "cmake" / "caddie";
  const bool installed = !failure && std::filesystem::exists(config / "caddieConfig.cmake", failure);
  return concat("Rebuild it for this caddie: cmake -S <its folder> -B build -Dcaddie_DIR=",
                installed ? config.string() : "<prefix>/lib/cmake/caddie", " && cmake --build build (inside caddie's own tree: "
                "cmake --build build).");
}

// The loader's own words: without what Boost.DLL wraps around them, and without the file once more.
std::string loader_message(const char* what, const std::filesystem::path& file) {
  std::string text(what);
  constexpr std::string_view kOpen = "dlerror system message: ";
  if (const auto open = text.find(kOpen), close = text.rfind("): "); open != std::string::npos && close > open)
    text = text.substr(open + kOpen.size(), close == std::string::npos ? close : close - open - kOpen.size());
  if (const auto at = text.find(file.string() + ": "); at != std::string::npos)
    text.erase(0, at + file.string().size() + 2);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

Library open_checked(const std::filesystem::path& file) {
  const auto refuse = [](std::string what, std::string hint = {}) -> Error {
    return Error(ErrorKind::environment, std::move(what), std::move(hint));
  };
  const std::string plugin = plugin_of_file(file);
  if (plugin.empty()) throw refuse(concat("is not named ", kPrefix, "<name>", kSuffix), "Build it with caddie_add_plugin.");
  std::string abi = read_abi_tag(file);
  if (const std::string difference = abi_difference(abi); !difference.empty())
    throw refuse("was built for another caddie: " + difference, rebuild_hint());

  // Leaked on purpose: the destructor would close the library.
  auto* library = new boost::dll::shared_library;
  try {
    const LoadingNotice notice(file);
    const auto mode = boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local |
                      static_cast<boost::dll::load_mode::type>(RTLD_NODELETE);
    library->load(file, mode);
  } catch (const std::exception& error) {
    throw refuse("cannot be loaded: " + loader_message(error.what(), file),
                 "Look at its libraries with ldd, and rebuild it with caddie_add_plugin, which refuses undefined symbols.");
  }
  const std::string entry = "caddie_plugin_caddie_" + plugin;
  if (!library->has(entry)) {
    throw refuse(concat("has no entry '", entry, "'"),
                 "The file was renamed, or its sources lack CADDIE_PLUGIN(...).");
  }
  const PluginDescriptor* descriptor = library->get<const PluginDescriptor*()>(entry)();
  if (const std::string fault = descriptor_fault(descriptor, plugin); !fault.empty())
    throw refuse("describes itself wrongly: " + fault, "Correct its plugin.cpp.");
  return Library{file, plugin, std::move(abi), descriptor, {}};
}

}  // namespace

std::string plugin_of_file(const std::filesystem::path& file) {
  const std::string name = file.filename().string();
  if (name.size() <= kPrefix.size() + kSuffix.size() || !name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return {};
  return name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
}

const Library& open_library(const std::filesystem::path& file) {
  using Key = std::pair<dev_t, ino_t>;
  static std::mutex mutex;
  static auto& libraries = *new std::map<Key, Library>;  // leaked on purpose, as above
  const std::scoped_lock lock(mutex);
  std::error_code failure;
  const std::filesystem::path path = std::filesystem::canonical(file, failure);
  if (failure) throw Error(ErrorKind::environment, "cannot be read: " + failure.message());
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) throw Error(ErrorKind::environment, "cannot be read");
  const Key key(status.st_dev, status.st_ino);
  if (const auto found = libraries.find(key); found != libraries.end()) return found->second;
  return libraries.emplace(key, open_checked(path)).first->second;
}

}  // namespace caddie
