"""Does a file get to its browser once, whole, and to nobody without its link?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("nicegui", reason="the extra console is not installed")

import httpx
from starlette.applications import Starlette
from starlette.routing import Route

from tidewire.console import handing_over
from tidewire.console.handing_over import hand_over

DATA = bytes(range(256)) * 1000


class Browser:
    """In the place of NiceGUI: it is told of a link, and fetches it, or leaves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.context = self.client = self
        self.links: asyncio.Queue[str] = asyncio.Queue()
        self.left = asyncio.Event()
        app = Starlette(routes=[Route(handing_over._LINK + "{secret}", handing_over._fetch)])
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a")
        monkeypatch.setattr(handing_over, "ui", self)

    def download(self, link: str, name: str) -> None:
        self.links.put_nowait(link)

    async def disconnected(self) -> None:
        await self.left.wait()


def test_it_is_fetched_whole_and_once_as_a_file_and_never_as_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        browser = Browser(monkeypatch)
        handed = asyncio.create_task(hand_over(DATA, "a.svg", "image/svg+xml"))
        link = await browser.links.get()
        assert (await browser.http.get(link[:-1])).status_code == 404 and not handed.done()
        answer = await browser.http.get(link)
        assert answer.content == DATA
        assert (answer.headers["content-disposition"], answer.headers["content-type"]) == (
            "attachment",
            "image/svg+xml",
        )
        await handed
        assert (await browser.http.get(link)).status_code == 404

    asyncio.run(check())


@pytest.mark.parametrize("why", ["left", "late"])
def test_it_is_forgotten_when_the_browser_has_left_or_does_not_come(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    async def check() -> None:
        browser: Any = Browser(monkeypatch)
        if why == "late":
            monkeypatch.setattr(handing_over, "FETCHED_S", 0.01)
        else:
            browser.left.set()
        await hand_over(DATA, "a.csv", "text/csv")
        assert (await browser.http.get(await browser.links.get())).status_code == 404
        assert not handing_over._OFFERED

    asyncio.run(check())
