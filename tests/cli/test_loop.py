"""Does a command run on the fastest loop, and end on a signal as it should?"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from importlib.util import find_spec

import pytest

from tidewire.cli import loop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")


async def hit_by(number: signal.Signals, *, heeds: bool) -> str:
    """Get a signal while waiting; what is returned when it is taken as a good end."""
    os.kill(os.getpid(), number)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if not heeds:
            raise
    return "ended"


def test_it_returns_what_the_coroutine_returns_and_runs_on_uvloop_where_there_is_one() -> None:
    async def name_of_loop() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert loop.run(name_of_loop()).startswith("uvloop" if find_spec("uvloop") else "asyncio")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_coroutine_may_take_a_signal_as_its_good_end(number: signal.Signals) -> None:
    assert loop.run(hit_by(number, heeds=True)) == "ended"


def test_an_interrupt_is_raised_as_ever() -> None:
    with pytest.raises(KeyboardInterrupt):
        loop.run(hit_by(signal.SIGINT, heeds=False))


def test_a_termination_ends_with_its_status() -> None:
    with pytest.raises(SystemExit) as raised:
        loop.run(hit_by(signal.SIGTERM, heeds=False))
    assert raised.value.code == 143
