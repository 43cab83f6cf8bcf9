"""Shell completion: what Tab offers in bash, fish and zsh."""

import shutil
import subprocess

import pytest
from helpers.commands import run

# Words before the cursor -> what Tab must offer, and must not.
COMPLETIONS = {
    "diffrast re": ("reconstruct render", "export"),
    "diffrast render --cha": ("--channel", "--yaw"),
    "diffrast render scene.glb --channel n": ("normal", "nearest"),
    "diffrast completion z": ("zsh", "bash"),
    "diffrast make-dataset a.obj --vi": ("--views", "--out"),
    "diffrast gradcheck cube --mode s": ("silhouette", "area"),
    "diffrast reconstruct photos --baseline no": ("no-remeshing", "adam-vertices"),
    "diffrast export a.obj --no": ("--no-pad", "--out"),
}


def shell(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: its completion is not tested")
    return path


def script(capsys, name: str) -> str:
    code, text, _ = run(capsys, "completion", name)
    assert code == 0
    return text


def test_bash_completes_subcommands_options_and_choices(tmp_path, capsys):
    (tmp_path / "scene.png").touch()
    tab = 'tab() { COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _diffrast; echo "${COMPREPLY[@]}"; }\n'
    calls = "\n".join(
        f"tab {words}" for words in [*COMPLETIONS, "diffrast render --texture sce", "diffrast render sce"]
    )
    result = subprocess.run(
        [shell("bash"), "-c", script(capsys, "bash") + tab + calls],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert result.stderr == ""
    *offers, texture, files = result.stdout.splitlines()
    for (wanted, unwanted), offer in zip(COMPLETIONS.values(), offers, strict=True):
        assert set(wanted.split()) <= set(offer.split())
        assert unwanted not in offer.split()
    assert texture == "scene.png"
    assert files == ""  # bash itself completes file names then


def test_fish_completes_subcommands_options_and_choices(capsys):
    calls = "\n".join(f"complete -C '{words}'; echo ---" for words in COMPLETIONS)
    result = subprocess.run(
        [shell("fish"), "--no-config", "-c", script(capsys, "fish") + calls], capture_output=True, text=True, timeout=60
    )
    assert result.stderr == ""
    for (wanted, unwanted), offer in zip(COMPLETIONS.values(), result.stdout.split("---"), strict=False):
        words = {line.split("\t")[0] for line in offer.strip().splitlines()}
        assert set(wanted.split()) <= words
        assert unwanted not in words


def test_zsh_takes_the_completion(capsys):
    code = script(capsys, "zsh") + "print -r -- $_comps[diffrast]\n"
    result = subprocess.run([shell("zsh"), "-f", "-c", code], capture_output=True, text=True, timeout=60)
    assert "_bash_complete -o default -F _diffrast" in result.stdout, result.stderr
