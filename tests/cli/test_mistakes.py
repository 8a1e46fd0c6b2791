"""Is a mistake one line that says what would be right?"""

from __future__ import annotations

import click
import pytest

from tidewire.cli.mistakes import no_such_command, told


@click.command()
@click.option("--port", "-p", type=click.IntRange(1, 65_535))
@click.option("--json", is_flag=True)
@click.option("--rate", type=click.FloatRange(0, min_open=True))
@click.option("--count", type=click.IntRange(1))
@click.option("--most", type=click.FloatRange(max=1_000_000))
@click.option("--kind", type=click.Choice(["one", "two"]), required=True)
def command(**_: object) -> None:
    """An example."""


def mistake(*arguments: str) -> str:
    with pytest.raises(click.ClickException) as raised:
        command.main(list(arguments), standalone_mode=False)
    return told(raised.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-p", "banana"], "Invalid value for '--port' / '-p': 'banana' is not a whole number from 1 to 65535"),
        (["-p", "65536"], "Invalid value for '--port' / '-p': 65536 is not a whole number from 1 to 65535"),
        (["--rate", "0"], "Invalid value for '--rate': 0.0 is not a number above 0"),
        (["--count", "x"], "Invalid value for '--count': 'x' is not a whole number from 1 on"),
        (["--most", "2e6"], "Invalid value for '--most': 2000000.0 is not a number to 1000000"),
    ],
)
def test_a_number_that_cannot_be_is_told_with_those_that_can(arguments: list[str], said: str) -> None:
    assert mistake(*arguments) == said


def test_an_option_is_suggested_if_it_is_near_and_not_for_its_hyphens() -> None:
    assert mistake("--prot", "1") == "No such option '--prot'. Did you mean '--port'?"
    assert mistake("--wrong") == "No such option '--wrong'."


def test_a_choice_that_is_missing_is_one_line() -> None:
    assert mistake() == "Missing option '--kind'. Choose from: one, two"


def test_a_command_is_suggested_if_it_is_near() -> None:
    assert told(no_such_command("pubb", ["pub", "sub"])) == "No such command 'pubb'. Did you mean 'pub'?"
    assert told(no_such_command("xyzzy", ["pub", "sub"])) == "No such command 'xyzzy'."
