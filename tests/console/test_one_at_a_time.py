"""Does a page do the same work once at a time, also for a client that asks by hand?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("nicegui", reason="the extra console is not installed")

from tests.console.looking import Console
from tidewire.console.one_at_a_time import Latest, OneAtATime

BY_HAND = """() => {
  const emit = window.socket.emit;
  window.socket.emit = function (...what) {
    for (let time = 0; time < (what[0] === "event" ? 5 : 1); time++) emit.apply(this, structuredClone(what));
  };
}"""
"""Each event of the page goes out five times, whatever its button thinks of that."""


class Work:
    """Ends when it is told to."""

    def __init__(self) -> None:
        self.begun = self.done = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> None:
        self.begun += 1
        await self.may_end.wait()
        self.done += 1


def test_what_is_under_way_is_not_begun_again_until_it_has_ended_or_failed() -> None:
    async def check() -> None:
        at_a_time, work = OneAtATime(), Work()
        first, second = (asyncio.create_task(at_a_time.do(work)) for _ in range(2))
        await asyncio.sleep(0)
        assert second.done() and not first.done()
        work.may_end.set()
        await first
        assert work.begun == 1
        await at_a_time.do(work)
        assert (work.begun, work.done) == (2, 2)
        with pytest.raises(ZeroDivisionError):
            await at_a_time.do(lambda: asyncio.sleep(1 // 0))
        await at_a_time.do(work)
        assert work.done == 3

    asyncio.run(check())


def test_what_is_asked_anew_ends_what_was_asked_before() -> None:
    async def check() -> None:
        latest, work = Latest(), Work()
        asked = [asyncio.create_task(latest.do(work)) for _ in range(3)]
        await asyncio.sleep(0)
        work.may_end.set()
        await asyncio.wait(asked)
        assert [task.cancelled() for task in asked] == [True, True, False]
        assert work.done == 1
        await latest.do(work)
        assert work.done == 2 and not asked[2].cancelled()

    asyncio.run(check())


@pytest.mark.parametrize("path", ["/retained", "/topics"])
def test_a_client_that_sends_its_events_by_hand_gets_one_file_at_a_time(console: Console, path: str) -> None:
    page = console.open(path)
    page.get_by_role("button", name="Export").wait_for()
    page.evaluate(BY_HAND)
    files: list[Any] = []
    page.on("download", lambda file: files.append(file))  # noqa: PLW0108 (Playwright takes no method of a list)
    for count in (1, 2):
        with page.expect_download() as download:
            page.get_by_role("button", name="Export").click()
            if path == "/topics":
                page.get_by_role("menuitem", name="Topics as NDJSON").click()
        download.value.path()
        page.get_by_role("button", name="Export", disabled=False).first.wait_for()
        assert len(files) == count
    page.context.close()
