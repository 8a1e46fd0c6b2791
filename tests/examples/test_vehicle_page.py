"""Does the whole thing start by one command, move on a page, live through a killed broker, and end on Ctrl-C?"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.process import PATIENCE_S

ROOT: Final = Path(__file__).parent.parent.parent
SCREENSHOT: Final = ROOT / "build" / "screenshots" / "vehicle.png"
MOVED: Final = "before => document.querySelector('.place').getAttribute('style') !== before"
"""In the browser: a vehicle is drawn somewhere else than before."""


class Fleet:
    """`python -m examples.vehicle`, from its readiness on; `said` is what it has printed up to the page's address."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.vehicle", "--page-port", "0", "--directory", directory],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name != "TIDEWIRE_DURABILITY"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "http://" in line:
                return
        raise AssertionError(self.said)

    @property
    def url(self) -> str:
        return self.said.split()[-1]

    @property
    def children(self) -> dict[str, int]:
        return {name: int(number) for name, number in re.findall(r"^(\S+) +process (\d+)$", self.said, re.MULTILINE)}

    @property
    def broker_port(self) -> int:
        found = re.search(r"mqtts://127\.0\.0\.1:(\d+)", self.said)
        assert found
        return int(found.group(1))

    def end(self) -> int:
        """Ctrl-C, and once more when the first of its processes has ended: the others must not be left behind."""
        first = os.pidfd_open(self.children["page"])
        self.process.send_signal(signal.SIGINT)
        select.select([first], [], [], PATIENCE_S)
        os.close(first)
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode

    def by_hand(self) -> str:
        """What the command prints that it offers, pasted where it was started, by a shell that has no Python."""
        found = re.search(r"^One vehicle by hand:\n +(.*)$", self.said, re.MULTILINE)
        assert found
        environment = os.environ | {"PATH": "/nowhere"}
        return subprocess.run(
            found.group(1), shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        ).stdout


@contextmanager
def fleet(directory: Path) -> Iterator[Fleet]:
    running = Fleet(directory)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end()


def test_a_person_can_watch_and_drive_though_the_broker_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("nicegui", reason="the page needs NiceGUI; pip install 'tidewire[console]'")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser; pip install it")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; on Debian: apt install chromium")
    with fleet(tmp_path) as running, playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="dark")
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(running.url)

        def see_it_move() -> None:
            before = page.locator(".place").first.get_attribute("style")
            page.wait_for_function(MOVED, arg=before)

        def press(name: str, result: str) -> None:
            """Press a button, and wait for a new line of the log that ends like this."""
            page.get_by_role("button", name=re.compile(name)).click()
            page.locator(".log-line", has_text=re.compile(result)).first.wait_for()

        page.locator(".tab").nth(2).wait_for()
        see_it_move()
        page.locator(".tab", has_text="raspberry-pi").click()
        page.locator(".log-line", has_text="speed").first.wait_for()

        assert running.by_hand().startswith('{"do":"speed","metres_per_second":5.0}  ')
        press("Parking brake", "raspberry-pi *parking brake on.*holds a standing vehicle only")
        press("STOP", "raspberry-pi *stop *done")
        os.kill(running.children["broker"], signal.SIGKILL)
        page.get_by_text("broker away").wait_for()
        press("Lock", "raspberry-pi *doors lock *done")
        page.get_by_text("broker connected").wait_for()
        page.locator(".tab", has_text="dragonboard").click()
        see_it_move()
        SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOT)

        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        [name] = [name for name in page.locator(".map-name").all() if name.is_visible()]
        assert name.text_content() == "dragonboard", "of vehicles that meet, the names would cover each other"
        page.get_by_text("Speed, m/s").wait_for()
        page.locator(".latency-scale", has_text=re.compile(r"\d\.\d ms")).wait_for()
        browser.close()
        assert faults == []
        assert running.end() == 0, "make would call it an error"
        for name, number in running.children.items():
            with pytest.raises(ProcessLookupError):
                os.kill(number, 0)
                raise AssertionError(f"{name} still runs")
        with pytest.raises(ConnectionRefusedError):  # nor does the broker that was started again
            socket.create_connection(("127.0.0.1", running.broker_port))
