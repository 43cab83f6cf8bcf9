"""`diffrast completion`: subcommands and options for the shell's Tab key, from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from .command import Command

BASH = """\
_diffrast() {{
    local words="{commands}" at=${{COMP_WORDS[1]}} last=${{COMP_WORDS[COMP_CWORD-1]}} now=${{COMP_WORDS[COMP_CWORD]}}
    COMPREPLY=()
    if [ "$COMP_CWORD" -gt 1 ]; then
        case "$at $last" in
{choices}
            *) [[ $now == -* ]] || return 0
                case "$at" in
{options}
                    *) return 0 ;;
                esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$now"))
}}
complete -o default -F _diffrast diffrast
"""


def _options(sub: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in sub._actions if action.option_strings)


def _words(choices) -> str:
    return " ".join(map(str, choices))


def bash(subs: dict[str, argparse.ArgumentParser]) -> str:
    """A function for bash: subcommands, options, choices; what it leaves open, the shell completes as file names."""
    choices = [
        f'            "{name} {option}") words="{_words(action.choices)}" ;;'
        for name, sub in subs.items()
        for action in _options(sub)
        if action.choices
        for option in action.option_strings
    ]
    choices += [
        f'            "{name} {name}") words="{_words(action.choices)}" ;;'
        for name, sub in subs.items()
        for action in sub._actions
        if action.choices and not action.option_strings
    ]
    options = [
        f'                    {name}) words="{_words(o for a in _options(sub) for o in a.option_strings)}" ;;'
        for name, sub in subs.items()
    ]
    return BASH.format(commands=_words(subs), choices="\n".join(choices), options="\n".join(options))


def zsh(subs: dict[str, argparse.ArgumentParser]) -> str:
    """The same: zsh understands bash's completion."""
    return "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n" + bash(subs)


def fish(subs: dict[str, argparse.ArgumentParser]) -> str:
    """One line for each subcommand and option."""
    lines = []
    for name, sub in subs.items():
        lines.append(f"complete -c diffrast -n __fish_use_subcommand -f -a {name} -d {_quoted(sub.description)}")
        for action in sub._actions:
            line = f"complete -c diffrast -n '__fish_seen_subcommand_from {name}'"
            for option in action.option_strings:
                line += f" -l {option[2:]}" if option.startswith("--") else f" -s {option[1:]}"
            if action.choices:
                line += f" -x -a {_quoted(_words(action.choices))}"
            elif action.option_strings and action.nargs != 0:
                line += " -r"
            if action.option_strings or action.choices:
                lines.append(f"{line} -d {_quoted(action.help)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str | None) -> str:
    return "'" + (text or "").replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[dict[str, argparse.ArgumentParser]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=list(SHELLS), help="bash, zsh or fish")


def run(args: argparse.Namespace) -> int:
    from ..cli import parser

    (subs,) = (a.choices for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    print(SHELLS[args.shell](subs), end="")
    return 0


COMMAND = Command(
    "print what makes the shell complete subcommands and options",
    options,
    run,
    "diffrast completion bash > ~/.local/share/bash-completion/completions/diffrast",
)
