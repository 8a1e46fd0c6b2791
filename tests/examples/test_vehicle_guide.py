"""Does docs/vehicle.md show messages that are understood, and commands that print what it says?"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import pytest
from click.testing import CliRunner

from examples.vehicle.__main__ import main
from examples.vehicle.answered import ANSWERS_MAXIMUM
from examples.vehicle.commander import COMMAND_LIFE_S
from examples.vehicle.drive import Step
from examples.vehicle.link import KEEP_ALIVE_S
from examples.vehicle.messages import Request, Response, State, encode
from examples.vehicle.vehicle import DEAD_MAN_S
from tests.snippets import blocks
from tidewire.testing import BrokerThread

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "vehicle.md"
TYPED: Final = "$ .venv/bin/python -m examples.vehicle "


@pytest.mark.parametrize(
    "line", [line for block in blocks(PAGE) if block.language == "json" for line in block.text.splitlines()]
)
def test_every_message_is_one(line: str) -> None:
    understood = []
    for kind in (Request, Response, State, Step):
        with suppress(msgspec.ValidationError):
            understood.append(encode(msgspec.json.decode(line, type=kind)).decode())
    assert any(msgspec.json.decode(again) == msgspec.json.decode(line) for again in understood)


def test_what_is_typed_prints_what_is_shown() -> None:
    [session] = [block.text for block in blocks(PAGE) if block.text.startswith(TYPED)]
    board = [sys.executable, "-m", "examples.vehicle", "board", "raspberry-pi"]
    with BrokerThread() as broker, subprocess.Popen([*board, "--url", broker.url], cwd=ROOT) as process:
        try:
            broker.wait_for("vehicles/raspberry-pi/state")
            for part in session.split(TYPED)[1:]:
                command, expected = part.split("\n", 1)
                words = shlex.split(command)
                result = CliRunner().invoke(main, [*words[:1], "--url", broker.url, *words[1:]])
                pattern = re.escape(expected).replace("…", ".*")
                assert re.fullmatch(pattern, result.output), result.output
        finally:
            process.terminate()


def test_its_figures_are_those_of_the_program() -> None:
    text = PAGE.read_text(encoding="utf-8")
    noticed_s = KEEP_ALIVE_S * 1.25
    assert f"within {KEEP_ALIVE_S} s" in text
    assert f"{noticed_s:g} s later at the latest" in text
    assert f"drives {DEAD_MAN_S:g} s" in text
    assert f"{noticed_s + DEAD_MAN_S:g} s at most" in text
    assert f"last {ANSWERS_MAXIMUM} answers" in text
    assert f"Interval of {COMMAND_LIFE_S} s" in text


def test_every_file_that_it_names_is_there() -> None:
    named = set(re.findall(r"`(\w+\.py)`", PAGE.read_text(encoding="utf-8")))
    assert named
    assert named <= {file.name for file in (ROOT / "examples" / "vehicle").glob("*.py")}
