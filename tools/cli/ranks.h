// Several ranks behind a command: starts them (--ranks, --gpus) or joins those that a launcher started.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/comm/group.h"
#include "core/pipeline/session.h"
#include "tools/cli/command.h"

namespace caddie::cli {

struct RankArguments {
  std::int64_t ranks = 0, gpus = 0;  // 0: not given
};
// Adds --ranks and --gpus.
void add_rank_options(Command& command, RankArguments& arguments);
// Overrides that the options imply: the device.
std::vector<std::string> rank_overrides(const RankArguments& arguments);
// How many ranks the options ask for; 1 without them.
int wanted_ranks(const RankArguments& arguments);

// Runs `body` in this process if it is to be the only rank or is one of a group (the group, or null), and passes its
// error on to the others; else starts the ranks, each with this process's command line, and returns their exit code.
// `check` is called before ranks are started: for errors that one process can tell.
int with_ranks(const RankArguments& arguments, const std::function<void(int ranks)>& check, const std::function<int(Group*)>& body);

}  // namespace caddie::cli
