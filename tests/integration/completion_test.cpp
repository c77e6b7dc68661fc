// Completion as a shell does it: bash loads the script and completes; zsh and fish where they are installed. And what
// --help prints: examples, and no line too long for a terminal.
#include <map>
#include <sstream>

#include "core/base/files.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

const std::string& script(const std::string& shell) {
  static std::map<std::string, std::string> scripts;
  auto [found, fresh] = scripts.try_emplace(shell);
  if (fresh) found->second = caddie::test::caddie({"completion", shell}).out;
  return found->second;
}

// What bash's readline would have for "caddie LINE" with the cursor at its end. `words`: the line as readline breaks it.
std::string bash(const Scratch& place, const std::string& line, const std::string& words) {
  write_atomic(place.path() / "caddie.bash", script("bash"));
  const std::string program =
      "source caddie.bash; COMP_LINE=\"$1\"; COMP_POINT=${#COMP_LINE}; COMP_WORDS=($2); "
      "COMP_CWORD=$((${#COMP_WORDS[@]}-1)); "
      "[ -n \"$3\" ] && COMP_WORDS+=('') && COMP_CWORD=$((COMP_CWORD+1)); _caddie; printf '%s ' \"${COMPREPLY[@]}\"";
  Process::Setup setup;
  setup.directory = place.path();
  const Outcome outcome = Process({"bash", "-c", program, "bash", "caddie " + line, "caddie " + words,
                                   line.empty() || line.ends_with(" ") ? "x" : ""},
                                  setup)
                              .wait(20);
  INFO(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  std::string found = outcome.out;
  while (!found.empty() && found.back() == ' ') found.pop_back();
  return found;
}
std::string bash(const Scratch& place, const std::string& line) { return bash(place, line, line); }

bool has(const std::string& text, const std::string& word) {
  return (" " + text + " ").find(" " + word + " ") != std::string::npos;
}

}  // namespace

TEST_CASE("bash completes commands, options, plugins, keys, values, manifests, runs and sweeps") {
  const Scratch place;
  for (const char* folder : {"runs/20261124T100000Z_a_1", "runs/20261124T110000Z_b_1"}) {
    make_directories(place.path() / folder);
    write_atomic(place.path() / folder / "resolved.json", "{}");
  }
  make_directories(place.path() / "runs/sweeps/20261124T090000Z_study_1");
  write_atomic(place.path() / "runs/sweeps/20261124T090000Z_study_1/plan.json", "{}");
  make_directories(place.path() / "runs/unfinished");
  make_directories(place.path() / "experiments");
  write_atomic(place.path() / "experiments/first.yaml", "");
  write_atomic(place.path() / "experiments/notes.txt", "");

  CHECK(has(bash(place, ""), "run"));
  CHECK(has(bash(place, "comp"), "completion"));
  CHECK(has(bash(place, "plugin "), "info"));
  CHECK(bash(place, "run --prof") == "--profile");
  CHECK(has(bash(place, "report --"), "--baseline"));
  CHECK(bash(place, "plugin info g") == "gptq");
  CHECK(bash(place, "run experiments/first.yaml --until q") == "quantize");
  CHECK(bash(place, "run ex") == "experiments");
  CHECK(bash(place, "run experiments/") == "experiments/first.yaml");
  CHECK(bash(place, "run experiments/first.yaml tra") == "train.");
  CHECK(has(bash(place, "run experiments/first.yaml train.stop."), "train.stop.steps="));
  CHECK(bash(place, "run experiments/first.yaml train.tok") == "train.tokens_per_step=");
  // readline breaks words at =, and puts the answer behind it
  CHECK(bash(place, "run experiments/first.yaml compress.use=br", "run experiments/first.yaml compress.use = br") ==
        "brotli");
  CHECK(has(bash(place, "run experiments/first.yaml compress.use=", "run experiments/first.yaml compress.use ="),
            "brotli"));
  CHECK(has(bash(place, "run experiments/first.yaml optimizers[match=matrix].use=",
                 "run experiments/first.yaml optimizers[match = matrix].use ="),
            "muon"));
  CHECK(has(bash(place, "run experiments/first.yaml optimizers[match=matrix].learning_r",
                 "run experiments/first.yaml optimizers[match = matrix].learning_r"),
            "matrix].learning_rate="));
  CHECK(bash(place, "runs show ") == "20261124T100000Z_a_1 20261124T110000Z_b_1");
  CHECK(bash(place, "runs show 20261124T11") == "20261124T110000Z_b_1");
  CHECK(has(bash(place, "report "), "20261124T090000Z_study_1"));
  CHECK(bash(place, "--runs elsewhere runs show ").empty());
  CHECK(bash(place, "completion ") == "bash zsh fish");
  CHECK(bash(place, "plugin new q") == "quantizer");
  CHECK(bash(place, "run nothing/").empty());
}

TEST_CASE("zsh and fish take their scripts") {
  const Scratch place;
  const auto installed = [](const std::string& shell) {
    return Process({"bash", "-c", "command -v " + shell}, {}).wait(10).exit_code == 0;
  };
  if (installed("zsh")) {
    write_atomic(place.path() / "_caddie", script("zsh"));
    CHECK(Process({"zsh", "-n", (place.path() / "_caddie").string()}, {}).wait(20).exit_code == 0);
    const std::string check = "autoload -U compinit && compinit -u -D; source " + (place.path() / "_caddie").string() +
                              "; _caddie_locate run x.yaml; [[ $_caddie_path == run && $_caddie_kind == override ]] && "
                              "_caddie_list override compress.use=br";
    CHECK(Process({"zsh", "-f", "-c", check}, {}).wait(30).out.find("compress.use=brotli") != std::string::npos);
  } else {
    WARN("skipped: zsh is not installed");
    SUCCEED();
  }
  if (installed("fish")) {
    write_atomic(place.path() / "caddie.fish", script("fish"));
    const auto complete = [&](const std::string& line) {
      return Process({"fish", "--no-config", "-c",
                      "source " + (place.path() / "caddie.fish").string() + "; complete -C '" + line + "'"},
                     {})
          .wait(30)
          .out;
    };
    CHECK(complete("caddie pl").find("plugin") != std::string::npos);
    CHECK(complete("caddie plugin info mu").find("muon") != std::string::npos);
    CHECK(complete("caddie run x.yaml train.stop.").find("train.stop.steps=") != std::string::npos);
    CHECK(complete("caddie run --pro").find("--profile") != std::string::npos);
    CHECK(complete("caddie run x.yaml compress.use=br").find("compress.use=brotli") != std::string::npos);
  } else {
    WARN("skipped: fish is not installed");
    SUCCEED();
  }
}

TEST_CASE("an unknown shell is refused with those that there are") {
  const Outcome outcome = caddie::test::caddie({"completion", "tcsh"});
  CHECK(outcome.exit_code == 2);
  CHECK(outcome.err.find("bash, zsh, fish") != std::string::npos);
}

TEST_CASE("help fits into 100 columns and hides what is for the program itself") {
  const Outcome outcome = caddie::test::caddie({"--help-all"});
  REQUIRE(outcome.exit_code == 0);
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    const bool example = line.find("caddie ") != std::string::npos;  // people copy them whole
    CHECK((example || line.size() <= 100));
  }
  CHECK(outcome.out.find("--here") == std::string::npos);
  for (const char* words :
       {"--tensorboard", "--profile", "caddie report", "caddie export csv", "completion bash", "--leaderboard"}) {
    CAPTURE(words);
    CHECK(outcome.out.find(words) != std::string::npos);
  }
}
