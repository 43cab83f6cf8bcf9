"""`diffrast completion`: what makes the shell's Tab key complete commands, options, their words and file names."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tyro.conf import DisallowNone, Positional
from tyro.extras import subcommand_cli_from_dict

Shell = Literal["bash", "zsh", "fish"]
SHELLS = " ".join(get_args(Shell))

# tyro's scripts complete commands and options. Added here: the words of the one positional argument that has some, and
# file names wherever nothing else fits.
BASH = f"""
_diffrast() {{
    local now=${{COMP_WORDS[COMP_CWORD]}}
    COMPREPLY=()
    if [[ ${{COMP_WORDS[1]}} == completion && $COMP_CWORD -eq 2 ]]; then
        COMPREPLY=($(compgen -W "{SHELLS}" -- "$now"))
    else
        _tyro_diffrast
        [[ -n ${{COMPREPLY[0]}} ]] || COMPREPLY=()
    fi
}}
complete -o default -F _diffrast diffrast
"""
FISH = f"""
set -l plain 'set -l w (commandline -opc); test (count $w) -gt 1; and not string match -q -- "-*" $w[-1]'
set -l here '__fish_seen_subcommand_from completion'
complete -c diffrast -n "$here" -f -a '{SHELLS}'
complete -c diffrast -n "not $here; and begin; $plain; end" -F
"""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Print what makes the shell complete commands and options.

    Example: diffrast completion bash > ~/.local/share/bash-completion/completions/diffrast
    """

    #: bash, zsh or fish
    shell: Positional[Shell]

    def script(self, commands: Mapping[str, type[Any]]) -> str:
        """The script that completes these commands."""
        text = io.StringIO()
        kind = "fish" if self.shell == "fish" else "bash"
        with redirect_stdout(text), suppress(SystemExit):
            asked = ("--tyro-print-completion", kind)
            subcommand_cli_from_dict(dict(commands), prog="diffrast", args=asked, config=(DisallowNone,))
        if self.shell == "fish":
            return text.getvalue() + FISH
        zsh = "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n"  # zsh understands bash's completion
        return (zsh if self.shell == "zsh" else "") + text.getvalue() + BASH
