"""Which form of output is chosen, for whom?"""

from __future__ import annotations

import json
import sys
from typing import Any

import click
import pytest

from tests.cli.messages import message
from tidewire.cli.output import OutputOptions

NOTHING: dict[str, Any] = {
    "format": None,
    "verbose": False,
    "no_end_of_line": False,
    "plain": False,
    "json_lines": False,
    "pretty": False,
    "decode": None,
}
SAID = message("a/b", b"on")


def printed(on_terminal: bool, **given: Any) -> bytes:
    return OutputOptions(**{**NOTHING, **given}).printer(on_terminal, pytest.fail)(SAID)


@pytest.fixture(autouse=True)
def without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize("on_terminal", [False, True])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"plain": True}, b"on\n"),
        ({"no_end_of_line": True}, b"on"),
        ({"plain": True, "verbose": True}, b"a/b on\n"),
        ({"no_end_of_line": True, "verbose": True}, b"a/b on"),
        ({"format": "%t"}, b"a/b\n"),
        ({"format": "%t", "verbose": True, "no_end_of_line": True}, b"a/b"),
        ({"format": "%t", "json_lines": True}, b"a/b\n"),
    ],
)
def test_a_form_of_mosquitto_is_the_same_for_everybody(
    on_terminal: bool, given: dict[str, Any], expected: bytes
) -> None:
    assert printed(on_terminal, **given) == expected


def test_a_pipe_gets_json_lines_unless_a_flag_says_else() -> None:
    assert json.loads(printed(False))["payload"] == "on"
    assert printed(False, verbose=True) == b"a/b on\n"
    assert printed(False, pretty=True).count(b"\n") > 3


def test_a_person_gets_what_people_like_unless_a_flag_says_else() -> None:
    assert printed(True) == b"on\n"
    assert printed(True, verbose=True) == b"a/b on\n"
    assert json.loads(printed(True, json_lines=True))["payload"] == "on"


def test_a_watch_needs_a_terminal() -> None:
    assert printed(True, watch=True).startswith(b"\x1b[2J\x1b[1;1Hon")
    with pytest.raises(click.UsageError, match="-w needs a terminal"):
        printed(False, watch=True)


def test_a_missing_decoder_or_a_wrong_format_is_a_mistake_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cbor2", None)
    with pytest.raises(click.UsageError, match="--decode cbor needs cbor2: pip install"):
        printed(False, decode="cbor")
    with pytest.raises(click.UsageError, match="-F: '%Z' is no field"):
        printed(False, format="%Z")
