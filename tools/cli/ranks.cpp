#include "tools/cli/ranks.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <thread>

#include "core/base/files.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "core/comm/launch.h"
#include "core/comm/spawn.h"
#include "tools/cli/parse.h"

namespace caddie::cli {
namespace {

std::vector<std::string> own_command_line() {
  std::vector<std::string> arguments;
  const std::string all = read_text("/proc/self/cmdline");
  for (std::size_t begin = 0; begin < all.size();) {
    const std::size_t end = std::min(all.find('\0', begin), all.size());
    arguments.push_back(all.substr(begin, end - begin));
    begin = end + 1;
  }
  return arguments;
}

// A rank that hangs where no exception reaches it says why and ends.
GroupSettings group_settings() {
  GroupSettings settings = GroupSettings::from_environment();
  settings.on_stuck = [](const Error& error) {
    say_error(error.what());
    ::_exit(exit_code(error.kind()));
  };
  return settings;
}

std::optional<Failure> failure_within(const Group& group, double seconds) {
  for (int i = 0; i < static_cast<int>(20 * seconds) && !group.failure(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return group.failure();
}

}  // namespace

void add_rank_options(Command& command, RankArguments& arguments) {
  command.option("--ranks", arguments.ranks, "Start N processes on this machine's CPU that share the run (0: one)");
  command.option("--gpus", arguments.gpus, "Start N processes with a GPU each (0: one, on the device of the manifest)");
}

std::vector<std::string> rank_overrides(const RankArguments& arguments) {
  if (arguments.gpus > 0) return {"device=cuda"};
  if (arguments.ranks > 0) return {"device=cpu"};
  return {};
}

int wanted_ranks(const RankArguments& arguments) {
  for (const std::int64_t wanted : {arguments.ranks, arguments.gpus})
    if (wanted < 0 || wanted > 1024)
      throw Error(ErrorKind::usage, concat(wanted, " ranks are asked for"), "accepted: --ranks 1 to 1024, --gpus 1 to 1024");
  if (arguments.ranks > 0 && arguments.gpus > 0)
    throw Error(ErrorKind::usage, "--ranks and --gpus exclude each other", "--gpus N starts a rank for each GPU, --ranks N ranks on the CPU.");
  return static_cast<int>(std::max<std::int64_t>({arguments.ranks, arguments.gpus, 1}));
}

int with_ranks(const RankArguments& arguments, const std::function<void(int ranks)>& check, const std::function<int(Group*)>& body) {
  const int wanted = wanted_ranks(arguments);
  const std::optional<Launch> launch = detect_launch();
  if (!launch) {
    if (wanted == 1) return body(nullptr);
    const int visible = arguments.gpus > 0 ? pipeline::visible_gpus() : wanted;
    if (visible < wanted)
      throw Error(ErrorKind::environment, concat("--gpus is ", wanted, ", but ", visible, " are visible"),
                  "caddie doctor shows what there is; --ranks N starts ranks on the CPU.");
    check(wanted);
    return spawn_ranks({wanted, own_command_line()});
  }
  if (wanted > 1 && wanted != launch->size)
    throw Error(ErrorKind::usage, concat(wanted, " ranks are asked for, but ", launch->launcher, " started ", launch->size),
                "Leave --ranks and --gpus to runs that start their ranks by themselves.");
  Group group(*launch, group_settings());
  if (group.rank() != 0) log::set_quiet(true);
  count_signals_once();
  try {
    const int code = body(&group);
    group.leave();
    return code;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::budget) {  // a verdict on a run that all have ended
      group.leave();
      throw;
    }
    group.fail(error);
    // What another rank failed with is told by that rank and by rank 0.
    const auto first = group.failure();
    if (!first || first->rank == group.rank()) throw;
    if (group.rank() != 0) return exit_code(error.kind());
    if (std::string(error.what()).find(first->text) == std::string::npos) group.check();  // what came of it says less
    throw;
  } catch (const std::bad_alloc&) {
    group.fail(Error(ErrorKind::failed, "out of memory"));
    throw;
  } catch (const std::exception& error) {
    // Of CUDA or LibTorch, perhaps because another rank is gone: that is the better message.
    if (const auto first = failure_within(group, 2); first && first->rank != group.rank()) {
      if (group.rank() != 0) return exit_code(first->kind);
      group.check();
    }
    group.fail(Error(ErrorKind::failed, error.what()));
    throw;
  }
}

}  // namespace caddie::cli
