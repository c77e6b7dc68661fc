// The fixed parts of the completion scripts; what comes before them are tables made from the commands.
#pragma once

namespace caddie::cli {
extern const char* const kShellScript;  // what bash and zsh share
extern const char* const kBashScript;
extern const char* const kZshScript;
extern const char* const kFishScript;
}  // namespace caddie::cli
