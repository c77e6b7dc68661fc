// Plugins that are wrong, one way each: the text that a person reads, and that nothing else suffers.
#include <sys/wait.h>

#include <csignal>
#include <cstring>

#include "core/base/files.h"
#include "core/host/library.h"
#include "core/host/probe.h"
#include "core/host/tag.h"
#include "tests/plugin_host/fixture.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::fixture;

namespace {

std::string refusal(const std::filesystem::path& file) {
  const Error error = error_of([&] { open_library(file); });
  CHECK(error.kind() == ErrorKind::environment);
  return error.message();
}

std::string torch_of_host() {
  for (const auto& [field, value] : abi_fields(host_abi()))
    if (field == "torch") return value;
  return {};
}

// Opens a plugin in a child of its own, without a probe before: what a run meets.
struct Ended {
  int status = 0;
  std::string said;
};
Ended open_in_child(const std::filesystem::path& file) {
  TemporaryFolder temporary;
  const auto said = temporary.path() / "stderr";
  const pid_t child = fork();
  if (child == 0) {
    if (!freopen(said.c_str(), "w", stderr)) _exit(99);
    std::signal(SIGABRT, SIG_DFL);  // Catch's handler would report the child's end as this test's
    open_library(file);
    _exit(98);
  }
  Ended ended;
  waitpid(child, &ended.status, 0);
  ended.said = read_text(said);
  return ended;
}

}  // namespace

TEST_CASE("a plugin for another LibTorch, SDK or compiler is refused field by field") {
  CHECK(refusal(library("wrong_torch")) ==
        "was built for another caddie: torch: plugin 9_9_9_cu999, host " + torch_of_host());
  CHECK(refusal(library("wrong_sdk")) == "was built for another caddie: sdk: plugin 000000000000, host " CADDIE_SDK_HASH);
  const std::string text = refusal(library("wrong_compiler"));
  CHECK(contains(text, "compiler: plugin clang_99, host gnu_"));
  CHECK(contains(text, "; sanitize: plugin address, host none"));
  const Error error = error_of([] { open_library(library("wrong_torch")); });
  CHECK(contains(error.hint(), "Rebuild it for this caddie: cmake -S"));
}

TEST_CASE("a stale plugin is refused before any of its code runs") {
  // Its static constructor would exit with code 3.
  CHECK(contains(refusal(library("lethal_stale")), "api: plugin 0, host 1"));
}

TEST_CASE("files that are no plugin say what they are") {
  TemporaryFolder temporary;
  const auto file = temporary.path() / "libcaddie_wrong.so";
  write_atomic(file, std::string_view("#!/bin/sh\necho I am a script, not a library, and long enough for a header\n"));
  CHECK(refusal(file) == "is not a shared library (no ELF header)");
  write_atomic(file, std::string_view(""));
  CHECK(refusal(file) == "is not a shared library (no ELF header)");
  CHECK(refusal(library("no_tag")) ==
        "has no ABI tag: it is not a caddie plugin, or it was not built by caddie_add_plugin");
  CHECK(refusal(temporary.path() / "libcaddie_absent.so") == "cannot be read: No such file or directory");
  std::filesystem::create_directory(temporary.path() / "libcaddie_folder.so");
  CHECK(refusal(temporary.path() / "libcaddie_folder.so") == "is a folder, not a library");
  std::filesystem::copy(library("good", "alpha"), temporary.path() / "alpha.so");
  CHECK(refusal(temporary.path() / "alpha.so") == "is not named libcaddie_<name>.so");
}

TEST_CASE("a library cut at any length is refused, never opened") {
  TemporaryFolder temporary;
  const std::string whole = read_text(library("good", "alpha"));
  const auto file = temporary.path() / "libcaddie_alpha.so";
  for (const double part : {0.0001, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999}) {
    const std::size_t length = static_cast<std::size_t>(part * static_cast<double>(whole.size()));
    write_atomic(file, std::string_view(whole).substr(0, length));
    INFO("cut at " << length << " of " << whole.size());
    const std::string text = refusal(file);
    CHECK((contains(text, "cut short or damaged") || contains(text, "no ELF header")));
  }
}

TEST_CASE("a library whose headers lie about sizes is refused without allocating them") {
  TemporaryFolder temporary;
  std::string whole = read_text(library("good", "alpha"));
  std::uint64_t table = 0;
  std::memcpy(&table, whole.data() + 40, sizeof table);  // e_shoff
  const std::uint64_t huge = 1ull << 60;
  std::memcpy(whole.data() + table + 64 + 32, &huge, sizeof huge);  // sh_size of the first section
  const auto file = temporary.path() / "libcaddie_alpha.so";
  write_atomic(file, std::string_view(whole));
  CHECK(contains(refusal(file), "cut short or damaged"));
}

TEST_CASE("a plugin that describes itself wrongly is refused with the first fault") {
  CHECK(refusal(library("no_entry")) == "has no entry 'caddie_plugin_caddie_wrong'");
  CHECK(refusal(library("null_descriptor")) == "describes itself wrongly: its entry returned no descriptor");
  CHECK(refusal(library("short_descriptor")) ==
        concat("describes itself wrongly: its descriptor has 16 bytes, this program reads ", sizeof(PluginDescriptor)));
  CHECK(refusal(library("wrong_name")) ==
        "describes itself wrongly: its descriptor says 'another', its file says 'wrong'");
  CHECK(refusal(library("unknown_kind")) == "describes itself wrongly: its component 'wrong' has the unknown kind 17, this "
                                            "program knows 0 to 4");
  CHECK(refusal(library("bad_schema")) == "describes itself wrongly: its component 'wrong' has an option 'rate' that has a "
                                          "default that is 2.5, accepted: number from 0 to 1");
  CHECK(refusal(library("twice")) == "describes itself wrongly: it has the compressor 'wrong' twice");
}

TEST_CASE("a plugin that the loader cannot link says what is missing") {
  CHECK(contains(refusal(library("undefined")), "cannot be loaded: undefined symbol: _Z26fixture_undefined_functionv"));
  const std::string text = refusal(library("missing_dependency"));
  CHECK(contains(text, "cannot be loaded: libfixture_absent.so: cannot open shared object file"));
}

TEST_CASE("a component that two plugins have is an error naming both; their others stay usable") {
  const Catalogue catalogue({folder("duplicate")});
  const std::string left = library("duplicate", "left").string(), right = library("duplicate", "right").string();
  REQUIRE(catalogue.problems().size() == 1);
  CHECK(catalogue.problems()[0].file == right);
  CHECK(catalogue.problems()[0].reason == "has the compressor 'shared', which " + left + " has too");
  const Error error = error_of([&] { catalogue.find(PluginKind::compressor, "shared"); });
  CHECK(error.kind() == ErrorKind::environment);
  CHECK(error.message() == "the compressor 'shared' is in two plugins: " + left + " and " + right);
  CHECK(catalogue.find(PluginKind::compressor, "left"));
  CHECK(catalogue.find(PluginKind::compressor, "right"));
}

TEST_CASE("broken plugins stop nobody, and are an error for who needs them") {
  TemporaryFolder temporary;
  write_atomic(temporary.path() / "libcaddie_broken.so", std::string_view("not a library"));
  const Catalogue catalogue({temporary.path(), folder("wrong_torch"), folder("good"), "/nonexistent/folder"});
  CHECK(catalogue.names(PluginKind::compressor) == std::vector<std::string>{"alpha", "beta"});
  CHECK(catalogue.problems().size() == 2);
  const Error needed = error_of([&] { catalogue.find(PluginKind::compressor, "broken"); });
  CHECK(needed.kind() == ErrorKind::environment);
  CHECK(needed.message() == "the compressor 'broken' cannot be used: " +
                                (temporary.path() / "libcaddie_broken.so").string() +
                                " is not a shared library (no ELF header)");

  const Error unknown = error_of([&] { catalogue.require(PluginKind::compressor, "alhpa"); });
  CHECK(unknown.kind() == ErrorKind::usage);
  CHECK(unknown.message() == "unknown compressor 'alhpa', did you mean 'alpha'?");
  CHECK(contains(unknown.hint(), "known: alpha, beta"));
  CHECK(contains(unknown.hint(), "/nonexistent/folder (No such file or directory)"));
  CHECK(contains(unknown.hint(), folder("good").string() + " (2 libraries)"));
  CHECK(contains(unknown.hint(), "refused: " + library("wrong_torch").string() + " was built for another caddie"));
  const Error kind = error_of([&] { catalogue.require(PluginKind::model, "alpha"); });
  CHECK(kind.message() == "unknown model 'alpha'; 'alpha' is a compressor");
}

TEST_CASE("a static constructor that throws or exits is found out in a child, and the listing goes on") {
  const Catalogue catalogue({folder("static_throw"), folder("static_exit"), folder("good")});
  catalogue.probe();
  CHECK(catalogue.names(PluginKind::compressor) == std::vector<std::string>{"alpha", "beta"});
  const auto problems = catalogue.problems();
  REQUIRE(problems.size() == 2);
  CHECK(problems[0].file == library("static_throw").string());
  CHECK(problems[0].reason == "ends the process that loads it: it is killed by signal 6 (Aborted)");
  CHECK(problems[1].file == library("static_exit").string());
  CHECK(problems[1].reason == "ends the process that loads it: it exits with code 3");
  const Error error = error_of([&] { catalogue.find(PluginKind::compressor, "wrong"); });
  CHECK(contains(error.message(), "ends the process that loads it"));
}

TEST_CASE("without a probe the person is told which plugin ended the process") {
  const Ended thrown = open_in_child(library("static_throw"));
  CHECK(WIFSIGNALED(thrown.status));
  CHECK(contains(thrown.said, "error: the plugin " + library("static_throw").string() +
                                  " threw from a static constructor while it was being loaded"));
  const Ended left = open_in_child(library("static_exit"));
  CHECK(WIFEXITED(left.status));
  CHECK(WEXITSTATUS(left.status) == 3);
  CHECK(contains(left.said, library("static_exit").string() + " ended the process while it was being loaded"));
}
