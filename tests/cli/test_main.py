"""Does the command itself answer as a person expects: version, help, and one line for a mistake?"""

from __future__ import annotations

import platform
import re

import pytest

from tests.process import tidewire
from tidewire import __version__
from tidewire._form import form
from tidewire.cli.main import COMMANDS


def test_the_version_says_which_form_runs() -> None:
    run = tidewire("--version")
    how = "compiled" if form() == "compiled" else "uncompiled: pure Python, slower"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    assert (run.returncode, run.stdout, run.stderr) == (0, f"tidewire {__version__} ({how}; {python})\n", "")


def test_the_version_of_the_pure_form_is_called_uncompiled() -> None:
    assert "(uncompiled: pure Python, slower; " in tidewire("--version", TIDEWIRE_PURE="1").stdout


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_the_help_names_every_command(flag: str) -> None:
    run = tidewire(flag)
    assert run.returncode == 0
    assert "MQTT for Python" in run.stdout
    assert {"serve", "passwd"} <= set(run.stdout.split())


def test_without_a_command_the_help_is_shown() -> None:
    run = tidewire()
    assert run.returncode == 2
    assert "Commands:" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sreve"], "No such command 'sreve'. Did you mean 'serve'?"),
        (["pubb"], "No such command 'pubb'. Did you mean 'pub'?"),
        (["xyzzy"], "No such command 'xyzzy'.\n"),
        (["--verison"], "No such option '--verison'"),
        (["serve", "--prot", "1883"], "No such option '--prot'"),
        (["serve", "--port", "65536"], "65536 is not a whole number from 0 to 65535"),
        (["serve", "--port", "many"], "'many' is not a whole number from 0 to 65535"),
        (["serve", "--log-level", "loud"], "'loud' is not one of 'debug', 'info', 'warning', 'error'"),
        (["serve", "extra"], "unexpected extra argument (extra)"),
        (["passwd", "file"], "Missing argument 'NAME'"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(arguments: list[str], said: str) -> None:
    run = tidewire(*arguments)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("tidewire: ")
    assert run.stderr.count("\n") == 1
    assert said in run.stderr


def test_the_help_says_of_every_command_what_it_does_in_a_whole_line() -> None:
    shown = tidewire("--help", COLUMNS="80").stdout
    for name, does in COMMANDS.items():
        assert len(does) <= 60
        assert re.search(rf"^  {name} +{re.escape(does)}$", shown, re.MULTILINE)


def test_a_mistyped_option_is_answered_with_the_one_that_exists() -> None:
    assert "Did you mean '--port'?" in tidewire("serve", "--prot", "1883").stderr
