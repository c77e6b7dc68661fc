#include "tools/cli/completion_scripts.h"

namespace caddie::cli {

// _caddie_locate WORD...: the words between the program and the one under the cursor -> _caddie_path (the command),
// _caddie_kind (what comes next: an option's value, or an argument), _caddie_runs (the folder of the runs).
// _caddie_list KIND CURRENT: candidates, one a line; what is to be completed as a file is left to the shell.
const char* const kShellScript = R"sh(
_caddie_locate() {
  local word value='' count=0 kinds kind
  _caddie_path='' _caddie_kind='' _caddie_runs=runs
  for word in "$@"; do
    if [ -n "$value" ]; then
      [ "$value" = --runs ] && _caddie_runs=$word
      value=''
      continue
    fi
    case $word in
      --*=*) case $word in --runs=*) _caddie_runs=${word#--runs=} ;; esac ;;
      -*) [ -n "$(_caddie_takes "$_caddie_path $word")" ] && value=$word ;;
      *)
        case " $(_caddie_words "$_caddie_path") " in
          *" $word "*) _caddie_path="${_caddie_path:+$_caddie_path }$word" ;;
          *) count=$((count + 1)) ;;
        esac ;;
    esac
  done
  if [ -n "$value" ]; then
    _caddie_kind=$(_caddie_takes "$_caddie_path $value")
    return
  fi
  kinds=$(_caddie_args "$_caddie_path")
  while [ -n "$kinds" ]; do
    kind=${kinds%% *}
    _caddie_kind=${kind%...}
    if [ "$count" -eq 0 ] || [ "$kind" != "$_caddie_kind" ]; then return; fi
    count=$((count - 1))
    case $kinds in *' '*) kinds=${kinds#* } ;; *) kinds='' ;; esac
    _caddie_kind=''
  done
}

# Keys of manifests a part at a time, like folders: "tr" -> "train.", "train.se" -> "train.sequence=".
_caddie_list_keys() {
  local key rest seen=' ' candidate
  while IFS= read -r key; do
    case $key in "$1"*) ;; *) continue ;; esac
    rest=${key#"$1"}
    case $rest in
      *.*) candidate=$1${rest%%.*}. ;;
      *) candidate=$key= ;;
    esac
    case $seen in *" $candidate "*) continue ;; esac
    seen="$seen$candidate "
    printf '%s\n' "$candidate"
  done <<END
$_caddie_keys
END
}

# The key of KEY=VALUE: the first = outside brackets ends it. Fails for a text without one.
_caddie_key_of() {
  local rest=$1 key='' head other
  while :; do
    head=${rest%%=*}
    other=${rest%%'['*}
    [ ${#other} -lt ${#head} ] && head=$other
    case ${rest#"$head"} in
      '='*) printf '%s' "$key$head"; return 0 ;;
      '['*']'*) rest=${rest#"$head"}; key=$key$head${rest%%']'*}']'; rest=${rest#*']'} ;;
      *) return 1 ;;
    esac
  done
}

_caddie_list() {
  local key item
  case $1 in
    override)
      if key=$(_caddie_key_of "$2"); then
        for item in $(_caddie_split "$(_caddie_values "$key")"); do printf '%s\n' "$key=$item"; done
      else
        _caddie_list_keys "$2"
      fi ;;
    run) _caddie_list_runs ;;
    sweep) _caddie_list_sweeps ;;
    sweep_run) _caddie_list_sweeps; _caddie_list_runs ;;
    component) _caddie_split "$_caddie_components" ;;
    stage) printf '%s\n' data train quantize compress evaluate ttt ;;
    *'|'*) _caddie_split "$(printf '%s' "$1" | tr '|' ' ')" ;;
  esac
}
_caddie_split() { [ -z "$1" ] || printf '%s\n' "$1" | tr ' ' '\n'; }
_caddie_list_runs() {
  local folder
  for folder in "$_caddie_runs"/*/resolved.json; do
    [ -e "$folder" ] || continue
    folder=${folder%/resolved.json}
    printf '%s\n' "${folder##*/}"
  done
}
_caddie_list_sweeps() {
  local folder
  for folder in "$_caddie_runs"/sweeps/*/plan.json; do
    [ -e "$folder" ] || continue
    folder=${folder%/plan.json}
    printf '%s\n' "${folder##*/}"
  done
}
)sh";

const char* const kBashScript = R"sh(
_caddie() {
  # The word as it was typed: bash breaks words at = and :, caddie does not.
  local line=${COMP_LINE:0:COMP_POINT} current before candidate own
  current=${line##*[[:space:]]}
  local -a before=() names=()
  read -ra before <<<"${line%"$current"}"
  # Without the quote that someone opens because of the brackets.
  current=${current#[\'\"]}
  _caddie_locate "${before[@]:1}"
  COMPREPLY=()
  case $current in
    -*) names=($(_caddie_flags "$_caddie_path")) ;;
    *)
      names=($(_caddie_words "$_caddie_path"))
      if [ ${#names[@]} -eq 0 ] || [ -n "$_caddie_kind" ]; then
        case $_caddie_kind in
          manifest | file | directory) _caddie_files "$_caddie_kind" "$current"; return ;;
          '') ;;
          *) mapfile -t names < <(_caddie_list "$_caddie_kind" "$current") ;;
        esac
      fi ;;
  esac
  # What readline puts the answer in place of: the part behind the last break.
  own=${COMP_WORDS[COMP_CWORD]}
  own=${own#[\'\"]}
  case $own in =) own= ;; esac
  local cut=${current%"$own"}
  for candidate in "${names[@]}"; do
    case $candidate in "$current"*) COMPREPLY+=("${candidate#"$cut"}") ;; esac
  done
  case ${#COMPREPLY[@]}${COMPREPLY[0]} in *= | *.) compopt -o nospace 2>/dev/null ;; esac
}
_caddie_files() {
  local name
  compopt -o filenames 2>/dev/null
  while IFS= read -r name; do
    if [ -d "$name" ]; then COMPREPLY+=("$name")
    else
      case $1:$name in directory:*) ;; manifest:*.yaml | manifest:*.yml | manifest:*.json | file:*) COMPREPLY+=("$name") ;; esac
    fi
  done < <(compgen -f -- "$2")
}
complete -F _caddie caddie
)sh";

const char* const kZshScript = R"sh(
_caddie() {
  emulate -L zsh
  setopt nonomatch
  local current=$PREFIX
  local -a names before
  before=("${(@)words[2,CURRENT-1]}")
  _caddie_locate "${before[@]}"
  if [[ $current == -* ]]; then
    names=(${=$(_caddie_flags "$_caddie_path")})
    compadd -- $names
    return
  fi
  names=(${=$(_caddie_words "$_caddie_path")})
  if (( ! $#names )) || [[ -n $_caddie_kind ]]; then
    case $_caddie_kind in
      manifest) _files -g '*.(yaml|yml|json)(-.)'; return ;;
      file) _files; return ;;
      directory) _files -/; return ;;
      '') ;;
      *) names=(${(f)"$(_caddie_list "$_caddie_kind" "$current")"}) ;;
    esac
  fi
  if [[ $_caddie_kind == override ]]; then compadd -Q -S '' -- $names; else compadd -- $names; fi
}
if [ "$funcstack[1]" = _caddie ]; then _caddie "$@"; elif (( $+functions[compdef] )); then compdef _caddie caddie; fi
)sh";

const char* const kFishScript = R"fish(
# Whether the words before the cursor name this command.
function __caddie_at
    set -l path ''
    for word in (commandline -opc)[2..-1]
        set -l longer (string trim -- "$path $word")
        contains -- $longer $__caddie_commands; and set path $longer
    end
    test "$path" = "$argv[1]"
end
function __caddie_offer
    set -l current (commandline -ct)
    set -l runs runs
    switch $argv[1]
        case override
            if string match -q -r '^[^=\[]*(\[[^\]]*\][^=\[]*)*=' -- $current
                printf '%s\n' $__caddie_values
            else
                for key in $__caddie_keys
                    string match -q -- "$current*" $key; and echo $key=
                end
            end
        case run
            for file in $runs/*/resolved.json; path basename (path dirname $file); end
        case sweep
            for file in $runs/sweeps/*/plan.json; path basename (path dirname $file); end
        case sweep_run
            for file in $runs/sweeps/*/plan.json $runs/*/resolved.json; path basename (path dirname $file); end
        case component
            printf '%s\n' $__caddie_components
        case stage
            printf '%s\n' data train quantize compress evaluate ttt
        case manifest
            __fish_complete_suffix .yaml
        case directory
            __fish_complete_directories
        case file
            __fish_complete_path
        case '*|*'
            string split '|' -- $argv[1]
    end
end
complete -c caddie -f
)fish";

}  // namespace caddie::cli
