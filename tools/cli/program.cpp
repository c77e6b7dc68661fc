#include "tools/cli/program.h"

#include <cstdio>
#include <exception>
#include <new>

#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "tools/cli/parse.h"

namespace caddie::cli {

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::failed: return 1;
    case ErrorKind::usage: return 2;
    case ErrorKind::legality: return 4;
    case ErrorKind::budget: return 5;
    case ErrorKind::data: return 6;
    case ErrorKind::environment: return 7;
    case ErrorKind::interrupted: return 75;
  }
  return 1;
}

void say_error(const char* text) {
  log::set_status("");
  const std::string line(text);
  // A manifest's errors come with their own heads.
  const std::string head = line.starts_with("error: ") ? "" : log::styled("error: ", "31;1");
  std::fprintf(stderr, "%s%s\n", head.c_str(), line.c_str());
}

int run_program(int argc, char** argv, const std::function<void(Command&)>& describe) {
  Parsed parsed;
  try {
    const int code = parse(argc, argv, "caddie " CADDIE_VERSION, describe, parsed);
    if (code >= 0) return code;
    if (parsed.globals.json) log::set_fancy(false);
    if (parsed.globals.verbose) log::set_level(LogLevel::debug);
    log::set_quiet(parsed.globals.quiet);
    install_signal_handlers();
    return parsed.action(parsed.globals);
  } catch (const Error& error) {
    say_error(error.what());
    return exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    say_error("out of memory\n  Use fewer tokens per micro batch (train.micro_batches) or a smaller model.");
    return 1;
  } catch (const std::exception& error) {
    say_error(error.what());
    return 1;
  }
}

}  // namespace caddie::cli
