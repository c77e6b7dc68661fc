// What main sees of the command line's parsing.
#pragma once

#include <functional>
#include <string>

#include "caddie/error.h"
#include "tools/cli/command.h"

namespace caddie::cli {

struct Parsed {
  Globals globals;
  std::function<int(const Globals&)> action;  // of the chosen command
  std::shared_ptr<CommandDescription> tree = std::make_shared<CommandDescription>();
};

// Lets `describe` add the commands, then parses. Returns an exit code, or -1 when parsed.action is to be run.
int parse(int argc, char** argv, const std::string& version, const std::function<void(Command&)>& describe,
          Parsed& parsed);

// On stderr, with its head.
void say_error(const char* text);
// The exit code of an error: nowhere else is a kind turned into one.
int exit_code(ErrorKind kind);

}  // namespace caddie::cli
