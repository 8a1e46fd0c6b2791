"""Does a solution end in its own order, however often Ctrl-C is pressed?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

PROGRAM: Final = """
import asyncio, signal
from examples.ending import until_told

async def work():
    signal.raise_signal({number})
    signal.raise_signal({number})
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)  # what takes time to end
        signal.raise_signal({number})
        await asyncio.sleep(0)

try:
    asyncio.run(until_told(work()))
except asyncio.CancelledError:
    signal.raise_signal({number})  # the loop and its handlers are gone
    print("ended in order")
"""


@pytest.mark.parametrize("number", ["signal.SIGINT", "signal.SIGTERM"])
def test_what_ends_is_not_disturbed_by_being_told_again(number: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(number=number)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ended in order\n", "")
