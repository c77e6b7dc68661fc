#include "core/host/check.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <span>

#include "caddie/error.h"
#include "core/host/catalogue.h"
#include "core/host/library.h"

namespace caddie {
namespace {

namespace fs = std::filesystem;

constexpr int kPatienceMs = 60'000;
constexpr int kErrorCode = 7;  // what the program's main makes of Error(environment)

struct Child {
  std::string output, errors;
  int status = 0;
  bool silent = false;  // it was ended, because nothing came from it for too long
};

// Reads both ends until they close, or until nothing comes for too long.
void drain(int output, int errors, Child& child) {
  pollfd ends[2] = {{output, POLLIN, 0}, {errors, POLLIN, 0}};
  std::string* texts[2] = {&child.output, &child.errors};
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    const int ready = poll(ends, 2, kPatienceMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      child.silent = true;
      return;
    }
    for (int i = 0; i < 2; ++i) {
      if (!ends[i].revents) continue;
      char buffer[4096];
      const ssize_t count = read(ends[i].fd, buffer, sizeof buffer);
      if (count > 0) texts[i]->append(buffer, static_cast<std::size_t>(count));
      if (count == 0 || (count < 0 && errno != EINTR)) ends[i].fd = -1;  // poll passes over negative ones
    }
  }
}

Child run_child(const fs::path& executable, const std::vector<std::string>& arguments) {
  int output[2], errors[2];
  CADDIE_CHECK(pipe2(output, O_CLOEXEC) == 0 && pipe2(errors, O_CLOEXEC) == 0, ErrorKind::failed,
               "no pipe to a child: ", std::strerror(errno));
  std::vector<char*> argv;
  const std::string program = executable.string();
  argv.push_back(const_cast<char*>(program.c_str()));
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = fork();
  CADDIE_CHECK(pid >= 0, ErrorKind::failed, "no child process: ", std::strerror(errno));
  if (pid == 0) {
    const rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);
    dup2(output[1], STDOUT_FILENO);
    dup2(errors[1], STDERR_FILENO);
    execv(program.c_str(), argv.data());
    _exit(127);
  }
  close(output[1]);
  close(errors[1]);
  Child child;
  drain(output[0], errors[0], child);
  close(output[0]);
  close(errors[0]);
  if (child.silent) kill(pid, SIGKILL);
  while (waitpid(pid, &child.status, 0) < 0 && errno == EINTR) {
  }
  return child;
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  if (text.starts_with("error: ")) text.erase(0, 7);
  return text;
}

// What ended the child in words; empty if it ended as it should.
std::string how_it_ended(const Child& child) {
  if (child.silent) return concat("does not come back within ", kPatienceMs / 1000, " s");
  if (WIFSIGNALED(child.status))
    return concat("is killed by signal ", WTERMSIG(child.status), " (", strsignal(WTERMSIG(child.status)), ")");
  return WEXITSTATUS(child.status) == 0 ? std::string() : concat("exits with code ", WEXITSTATUS(child.status));
}

}  // namespace

fs::path find_plugin_file(const std::vector<fs::path>& folders, std::string_view what) {
  std::error_code ignored;
  const fs::path path(what);
  if (fs::exists(path, ignored)) return fs::absolute(path);
  if (what.find('/') == std::string_view::npos && path.extension() != ".so") {
    for (const fs::path& folder : folders) {
      const fs::path file = folder / concat("libcaddie_", what, ".so");
      if (fs::exists(fs::symlink_status(file, ignored))) return fs::absolute(file);
    }
    // Not a plugin's name: perhaps that of a component, such as a preset.
    const Catalogue catalogue(folders);
    catalogue.probe();
    for (PluginKind kind : catalogue.kinds_of(what)) return catalogue.provenance(kind, what).file;
    throw Error(ErrorKind::usage, concat("no plugin '", what, "'"), catalogue.searched());
  }
  throw Error(ErrorKind::usage, concat("no file '", what, "'"), "Give a plugin's file, or the name of a plugin.");
}

Json check_library(const fs::path& file) {
  try {
    const Library& library = open_library(file);
    Json components = Json::array();
    for (const Component& component : std::span(library.descriptor->components, library.descriptor->component_count))
      components.push_back({{"kind", kind_name(component.kind)}, {"name", component.name}});
    return Json{{"file", library.file.string()},
                {"plugin", library.plugin},
                {"version", library.descriptor->version},
                {"abi", library.abi},
                {"components", components}};
  } catch (const Error& error) {
    throw Error(error.kind(), concat(file.string(), " ", error.message()), error.hint());
  }
}

Json check_in_child(const fs::path& file) {
  const Child child = run_child("/proc/self/exe", {"plugin", "check", file.string(), "--here", "--json"});
  const std::string said = trimmed(child.errors);
  // Its own error, said as ours.
  if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == kErrorCode && said.starts_with(file.string())) {
    const std::size_t line = said.find("\n  ");
    throw Error(ErrorKind::environment, said.substr(0, line), line == std::string::npos ? "" : said.substr(line + 3));
  }
  const std::string end = how_it_ended(child);
  const Json checked = Json::parse(child.output, nullptr, false);
  if (!end.empty() || !checked.is_object()) {
    throw Error(ErrorKind::environment,
                concat(file.string(), " ends the process that loads it: it ", end.empty() ? "says nothing" : end),
                said.empty() ? "Its static constructors run when it is loaded; a plugin needs none." : "It said: " + said);
  }
  return checked;
}

std::string check_as_text(const Json& checked) {
  std::string text = concat("ok: ", checked.at("file").get<std::string>(), "\n  plugin ",
                            checked.at("plugin").get<std::string>(), " ", checked.at("version").get<std::string>(), ", ");
  std::string list;
  for (const Json& component : checked.at("components"))
    list += concat(list.empty() ? "" : ", ", component.at("kind").get<std::string>(), " ",
                   component.at("name").get<std::string>());
  return text + list + "\n";
}

}  // namespace caddie
