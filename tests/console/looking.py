"""A broker with its page, and Debian's Chromium before it.

    with Console() as console:
        page = console.open("/topics", phone=True)
        console.shot(page, "topics-phone")
        console.check_accessibility(page)

Nothing sleeps: Playwright waits for what a person would see.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any, Final, Self

import pytest

from tests.process import BrokerProcess

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENSHOTS: Final = Path(__file__).parents[2] / "build" / "screenshots"
"""What the pages looked like when they were tested last."""

PATIENCE_MS: Final = 30_000
DESKTOP: Final = {"width": 1280, "height": 800}
PHONE: Final = {"width": 390, "height": 844}

SERIOUS: Final = {"serious", "critical"}


class Console:
    """`tidewire serve` with its page, and a browser."""

    def __init__(self, *arguments: str | Path) -> None:
        """Arguments of `tidewire serve` beside those that choose free ports."""
        if CHROMIUM is None:
            pytest.skip("there is no Chromium; on Debian: apt install chromium")
        pytest.importorskip("nicegui", reason="the extra console is not installed")
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
        playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
        self._axe = axe.Axe()
        with contextlib.ExitStack() as stack:
            self.broker = stack.enter_context(BrokerProcess("--port", "0", "--console-port", "0", *arguments))
            self.url = self.broker.wait_for(r"console: (\S+)").group(1)
            """`http://127.0.0.1:40123`"""
            self._playwright = stack.enter_context(playwright.sync_playwright())
            self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            stack.callback(self._browser.close)
            self._open = stack.pop_all()
        self._complaints: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def mqtt_port(self) -> int:
        return self.broker.port

    def open(self, path: str = "/", *, dark: bool = False, phone: bool = False, context: Any = None) -> Any:
        """A page in a browser that knows nothing of the others; what it complains of is an error of ours."""
        if context is None:
            context = self._browser.new_context(
                color_scheme="dark" if dark else "light",
                viewport=PHONE if phone else DESKTOP,
                reduced_motion="reduce",  # what is half faded in has too little contrast
                accept_downloads=True,
            )
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        page.on("console", self._heard)
        page.goto(self.url + path)
        return page

    def shot(self, page: Any, name: str) -> None:
        """Keep what it looks like."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def check_accessibility(self, page: Any) -> None:
        """Raises AssertionError for what axe-core calls serious or critical, and for a page that scrolls sideways."""
        page.get_by_role("progressbar").wait_for(state="hidden")  # NiceGUI's, while it loads: it has no name
        found = self._axe.run(page).response["violations"]
        serious = [
            f"{each['id']}: {each['help']}\n" + "\n".join(f"    {node['html'][:200]}" for node in each["nodes"][:5])
            for each in found
            if each["impact"] in SERIOUS
        ]
        assert not serious, "\n".join(serious)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"

    def check_quiet(self) -> None:
        """Raises AssertionError for what the browser, or the broker's log, complained of since this was asked last."""
        complaints = self.taken_complaints()
        assert not complaints, complaints
        assert "Traceback" not in self.broker.log, self.broker.log

    def taken_complaints(self) -> list[str]:
        """What the browser complained of since this was asked last."""
        complaints, self._complaints = self._complaints, []
        return complaints

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self._complaints.append(f"{message.text} ({message.location.get('url', '')})")
