"""Do scripts and styles travel compressed to who can read that, made once, and as they are to everybody else?"""

from __future__ import annotations

import asyncio
import gzip
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nicegui", reason="the extra console is not installed")

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from tests.console.looking import Console
from tidewire.console import compressed
from tidewire.console.compressed import Compressed

SCRIPT = b"let tide = 'high';\n" * 10_000


class Site:
    """Files behind it, and what was compressed of them."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.zipped: list[str] = []
        for name in ("a.js", "b.css", "c.woff2"):
            (directory / name).write_bytes(SCRIPT)
        app = Starlette(routes=[Mount(path, StaticFiles(directory=directory)) for path in ("/static", "/other")])
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(Compressed(app, "/static/")), base_url="http://a"
        )
        zipped = compressed._zipped

        def counted(path: str) -> bytes:
            assert threading.current_thread() is not threading.main_thread()
            self.zipped.append(Path(path).name)
            return zipped(path)

        monkeypatch.setattr(compressed, "_zipped", counted)

    async def get(
        self, path: str, accepts: str = "br, gzip;q=0.8", method: str = "GET", **headers: str
    ) -> httpx.Response:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return await self._client.request(method, path, headers={"Accept-Encoding": accepts, **named})


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def test_a_file_comes_compressed_and_says_so(site: Site) -> None:
    answer = asyncio.run(site.get("/static/a.js"))
    assert answer.content == SCRIPT
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert int(answer.headers["content-length"]) == answer.num_bytes_downloaded < len(SCRIPT) // 10
    assert answer.headers["etag"].startswith('W/"')
    assert "accept-ranges" not in answer.headers


@pytest.mark.parametrize("accepts", ["", "identity", "br", "gzip;q=0", "gzip; q=0.000, br"])
def test_who_does_not_take_it_gets_the_file_as_it_is(site: Site, accepts: str) -> None:
    answer = asyncio.run(site.get("/static/a.js", accepts))
    assert answer.content == SCRIPT and not site.zipped
    assert answer.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in answer.headers and answer.headers["etag"].startswith('"')


def test_a_file_is_compressed_once_also_when_many_ask_at_once(site: Site) -> None:
    async def check() -> None:
        answers = await asyncio.gather(*(site.get(path) for path in ("/static/a.js", "/static/x/../a.js") * 5))
        assert all(answer.content == SCRIPT for answer in answers)
        assert site.zipped == ["a.js"]

    asyncio.run(check())


def test_a_file_that_has_changed_is_compressed_anew(site: Site) -> None:
    async def check() -> None:
        before = await site.get("/static/a.js")
        (site.directory / "a.js").write_bytes(b"let tide = 'low';\n")
        after = await site.get("/static/a.js")
        assert after.content == b"let tide = 'low';\n" and after.headers["etag"] != before.headers["etag"]

    asyncio.run(check())


def test_who_has_it_still_is_not_sent_it_again(site: Site) -> None:
    async def check() -> None:
        tag = (await site.get("/static/a.js")).headers["etag"]
        answer = await site.get("/static/a.js", If_None_Match=tag)
        assert (answer.status_code, answer.content, answer.headers["vary"]) == (304, b"", "Accept-Encoding")

    asyncio.run(check())


def test_only_so_much_is_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "KEPT_BYTES", len(gzip.compress(SCRIPT, 6)) * 3 // 2)
    site.zipped.clear()

    async def check() -> None:
        for name in ("a.js", "a.js", "b.css", "b.css", "a.js"):
            assert (await site.get(f"/static/{name}")).content == SCRIPT
        assert site.zipped == ["a.js", "b.css", "a.js"]

    asyncio.run(check())


def test_everything_else_is_left_as_it_is(site: Site) -> None:
    async def check() -> None:
        for path, method, headers, status in (
            ("/static/c.woff2", "GET", {}, 200),
            ("/other/a.js", "GET", {}, 200),
            ("/static/a.js", "HEAD", {}, 200),
            ("/static/a.js", "GET", {"Range": "bytes=0-9"}, 206),
            ("/static/none.js", "GET", {}, 404),
        ):
            answer = await site.get(path, method=method, **headers)
            assert (answer.status_code, "content-encoding" in answer.headers) == (status, False), path

    asyncio.run(check())
    assert not site.zipped


def test_a_first_visit_fetches_scripts_and_styles_compressed(console: Console) -> None:
    context = console._browser.new_context()
    fetched: list[Any] = []
    context.on("response", lambda answer: fetched.append(answer))  # noqa: PLW0108 (Playwright takes no method of a list)
    page = console.open(context=context)
    page.get_by_role("heading", name="Overview", level=1).wait_for()
    encodings = {
        answer.url: answer.headers.get("content-encoding")
        for answer in fetched
        if "/_nicegui/" in answer.url and answer.request.resource_type in ("script", "stylesheet")
    }
    assert len(encodings) > 10 and set(encodings.values()) == {"gzip"}
    context.close()
