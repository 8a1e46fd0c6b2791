"""Does `python -m examples.surf` hold a heat that a person can watch, and that no `kill -9` can spoil?"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from click.testing import CliRunner

from examples.surf.__main__ import surf
from examples.surf.heat import Heat, HeatError
from examples.surf.history import History
from examples.surf.messages import LEADER_BOARD, LeaderBoard
from examples.surf.model import Surfer
from tidewire.sync import Client, Stream

PATIENCE_S: Final = 60.0
CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
ROOT: Final = Path(__file__).parents[2]
SCREENSHOTS: Final = ROOT / "build" / "screenshots"
SERIOUS: Final = {"serious", "critical"}


class Running:
    """The whole program, from the address of its page to Ctrl-C."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "examples.surf", "--directory", str(directory), *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        said = [self._process.stdout.readline().strip() for _ in range(2)]
        self.address = said[-1]
        assert self.address.startswith("http://"), (said, self._process.communicate(timeout=PATIENCE_S))

    def parts(self) -> dict[str, int]:
        """Process numbers of what runs for it (Linux), by the word in their command."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="ascii")
        names = ("serve", "judge-1", "judge-2", "boards")
        commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8") for pid in children.split()}
        return {name: pid for pid, command in commands.items() for name in names if f"\0{name}\0" in command}

    def end(self) -> str:
        """Ctrl-C; what it said on standard error."""
        pids = self.parts().values()
        self._process.send_signal(signal.SIGINT)
        output, errors = self._process.communicate(timeout=PATIENCE_S)
        assert output == "", "the address of the page is the last line"
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids), "Ctrl-C has left something behind"
        assert "Traceback" not in errors, errors
        return errors

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()  # which ends the parts, too
            self._process.communicate(timeout=PATIENCE_S)


@contextmanager
def running(directory: Path, *arguments: str) -> Iterator[Running]:
    program = Running(directory, *arguments)
    try:
        yield program
    finally:
        program.kill()


def leaders(stream: Stream, rides: int) -> LeaderBoard:
    """The first leader board with so many rides."""
    while True:
        board = msgspec.json.decode(stream.get(PATIENCE_S).payload, type=LeaderBoard)
        if board.rides >= rides:
            return board


def test_boards_broker_and_judges_are_killed_and_no_ride_is_lost_or_counted_twice(tmp_path: Path) -> None:
    arguments = ["--surfers", "3", "--minutes", "2", "--pace", "15", "--seed", "7", "--link", "flaky"]
    with running(tmp_path, *arguments) as program:
        heat = Heat.read(tmp_path)
        expected = {
            f"{heat.id}/{name}/{wave.number}" for name in heat.surfers for wave in Surfer(name, 7).waves(heat.length_s)
        }
        with Client(heat.websocket, version="3.1.1") as spectator, spectator.subscribe(LEADER_BOARD) as stream:
            leaders(stream, 1)
            os.kill(program.parts()["boards"], signal.SIGKILL)
            leaders(stream, 4)
            os.kill(program.parts()["serve"], signal.SIGKILL)
            leaders(stream, 7)
            os.kill(program.parts()["judge-1"], signal.SIGKILL)
            os.kill(program.parts()["judge-2"], signal.SIGKILL)
            board = leaders(stream, len(expected))
        assert sum(standing.waves for standing in board.standings) == board.rides == len(expected)
        with urllib.request.urlopen(f"{program.address}/rides.csv") as table:
            assert len(table.read().splitlines()) == 1 + len(expected)
        told = program.end()
    assert told.count("was killed by signal 9; again") == 4
    with History(tmp_path / "rides.db") as history:
        assert {scored.ride.id for scored in history.rides()} == expected
    assert (tmp_path / "report.svg").exists()
    assert (tmp_path / "rides.csv").exists()


@pytest.fixture
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; on Debian: apt install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_a_person_sees_surfers_ride_and_who_leads_by_day_by_night_and_on_a_phone(tmp_path: Path, browser: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed").Axe()
    complaints: list[str] = []
    with running(tmp_path, "--pace", "15", "--seed", "7", "--link", "good") as program:
        page = browser.new_page(color_scheme="light", viewport={"width": 1280, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(program.address)
        page.wait_for_selector("#live[data-state=live]")
        page.wait_for_selector("#leaders tr:nth-child(6)")
        page.wait_for_selector('.card[data-state="riding"]')
        page.wait_for_function("[...document.querySelectorAll('.area')].every((area) => area.getAttribute('d'))")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for name, scheme, width in (("surf", "light", 1280), ("surf-dark", "dark", 1280), ("surf-phone", "light", 390)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"
            serious = [each for each in axe.run(page).response["violations"] if each["impact"] in SERIOUS]
            assert not serious, [(each["id"], each["nodes"][0]["html"]) for each in serious]
        program.end()
    assert not complaints


def test_a_heat_that_is_over_says_so_on_the_page_and_in_the_terminal(tmp_path: Path, browser: Any) -> None:
    arguments = ["--pace", "60", "--minutes", "1", "--surfers", "3", "--seed", "7", "--link", "good"]
    with running(tmp_path, *arguments) as program:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(program.address)
        page.wait_for_selector("#live[data-state=final]")
        page.wait_for_function("document.querySelector('#headline').textContent.includes(' wins with ')")
        states = page.locator(".card .state").all_text_contents()
        assert (states, page.text_content("#water")) == (["ashore"] * 3, "0")
        assert page.locator("#lineup").is_hidden()
        page.reload()  # who comes later sees the same
        page.wait_for_selector("#live[data-state=final]")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "surf-over.png", full_page=True)
        told = program.end()
    assert "surf: the heat is over; Ctrl-C ends the page, and writes the report\n" in told


def test_a_port_that_is_taken_is_told_before_anything_is_written(tmp_path: Path) -> None:
    directory = tmp_path / "heat"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = CliRunner().invoke(surf, ["--directory", str(directory), "--port", str(port)])
    told = f"surf: port {port}: Address already in use; take another with --port, or any with 0\n"
    assert (result.exit_code, result.output) == (1, told)
    assert not directory.exists()


def test_a_wrong_option_is_told_in_one_line() -> None:
    result = CliRunner().invoke(surf, ["--minutes", "none"])
    assert result.exit_code == 2
    [line] = result.output.splitlines()
    assert line.startswith("surf: Invalid value for '--minutes'")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--url", "mqtt://localhost"], "--websocket for the page"),
        (["--url", "http://localhost", "--websocket", "ws://localhost"], "write mqtt://host:port"),
        (["--url", "mqtt://a", "--websocket", "ws://a", "--cloud", "mqtt://b"], "leave --url out"),
        (["boards", "--directory", "/nowhere"], "makes it"),
    ],
)
def test_what_cannot_be_held_is_refused_with_the_mend(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    if "--directory" not in arguments:
        arguments = ["--directory", str(tmp_path / "heat"), *arguments]
    failure = CliRunner().invoke(surf, arguments).exception
    assert isinstance(failure, HeatError)
    assert complaint in str(failure)
    assert "\n" not in str(failure)
