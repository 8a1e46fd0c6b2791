"""Does reading and writing beside the loop bring all bytes, in order, with their errors?"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from tidewire.cli.blocking import BLOCK_BYTES, Worker, read_all, read_lines, write_all


def lines_of(*written: bytes) -> list[bytes]:
    """What `read_lines` makes of what another task writes, piece by piece."""

    async def both() -> list[bytes]:
        reading, writing = os.pipe()
        writer = Worker()

        async def write() -> None:
            for piece in written:
                await writer.call(write_all, writing, piece)
            os.close(writing)

        writes = asyncio.create_task(write())
        lines = [line async for batch in read_lines(reading) for line in batch]
        await writes
        os.close(reading)
        return lines

    return asyncio.run(both())


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        ([], []),
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a\nb"], [b"a", b"b"]),
        ([b"\n\n"], [b"", b""]),
        ([b"a\r\n\0\n"], [b"a\r", b"\0"]),
        ([b"a", b"b\nc", b"\n"], [b"ab", b"c"]),
    ],
)
def test_lines_are_what_stands_between_line_ends(written: list[bytes], lines: list[bytes]) -> None:
    assert lines_of(*written) == lines


def test_a_line_may_be_longer_than_a_block() -> None:
    long = b"x" * (3 * BLOCK_BYTES)
    assert lines_of(long, long + b"\nend") == [long + long, b"end"]


def test_a_whole_file_is_read() -> None:
    async def read() -> bytes:
        reading, writing = os.pipe()
        os.write(writing, b"a\nb")
        os.close(writing)
        try:
            return await read_all(reading)
        finally:
            os.close(reading)

    assert asyncio.run(read()) == b"a\nb"


def test_an_error_of_the_call_reaches_the_caller() -> None:
    async def write() -> None:
        reading, writing = os.pipe()
        os.close(reading)
        try:
            await Worker().call(write_all, writing, b"x")
        finally:
            os.close(writing)

    with pytest.raises(BrokenPipeError):
        asyncio.run(write())


def test_the_loop_goes_on_while_a_call_blocks_and_ends_without_it() -> None:
    async def wait_for_a_line_that_never_comes() -> Any:
        reading, writing = os.pipe()
        call = asyncio.create_task(Worker().call(os.read, reading, 1))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        os.close(writing)  # now the read ends
        return call.cancelled()

    assert asyncio.run(wait_for_a_line_that_never_comes())
