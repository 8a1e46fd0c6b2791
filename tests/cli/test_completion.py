"""Do shells complete what `tidewire completion` taught them?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.process import PATIENCE_S

PROGRAMS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
"""Where a shell finds `tidewire` first."""

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def completed_by_bash(*words: str) -> list[str]:
    """What bash offers for the last of these words."""
    program = f"""
        source <(tidewire completion bash)
        COMP_WORDS=({" ".join(map(repr, words))}); COMP_CWORD={len(words) - 1}
        _tidewire_completion tidewire; echo "${{COMPREPLY[@]}}"
    """
    ended = subprocess.run(
        ["bash", "-c", program],
        env=os.environ | {"PATH": PROGRAMS},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return ended.stdout.split()


@needs_bash
def test_bash_completes_a_command() -> None:
    assert completed_by_bash("tidewire", "passw") == ["passwd"]


@needs_bash
def test_bash_completes_a_command_below_a_command() -> None:
    assert completed_by_bash("tidewire", "bench", "ro") == ["round-trip"]


@needs_bash
def test_bash_completes_an_option_of_a_command() -> None:
    assert completed_by_bash("tidewire", "serve", "--unix") == ["--unix-socket"]


@needs_bash
def test_bash_completes_the_values_of_an_option() -> None:
    assert completed_by_bash("tidewire", "serve", "--log-level", "wa") == ["warning"]


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete "), ("zsh", "#compdef tidewire"), ("fish", "complete ")]
)
def test_every_shell_gets_its_script(shell: str, word: str) -> None:
    ended = run("completion", shell)
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert word in ended.stdout
    assert f"_TIDEWIRE_COMPLETE={shell}_complete" in ended.stdout
    if interpreter := shutil.which(shell):
        subprocess.run([interpreter, "-n"], input=ended.stdout, text=True, timeout=PATIENCE_S, check=True)


def test_a_shell_that_is_not_served_is_named_with_those_that_are() -> None:
    ended = run("completion", "tcsh")
    assert ended.exit_code == 2
    assert ended.stderr.count("\n") == 1
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in ended.stderr


def test_without_a_shell_it_says_in_one_line_which_there_are() -> None:
    ended = run("completion")
    assert ended.exit_code == 2
    assert ended.stderr == "tidewire: Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish\n"


def test_the_help_says_how_to_install_it() -> None:
    shown = run("completion", "--help").stdout
    for shell in ("bash", "zsh", "fish"):
        assert f"tidewire completion {shell} > " in shown
