"""A publisher that may be killed at any moment: it numbers its messages and goes on where its last life ended.

Arguments: URL, outbox file, journal file, and how many numbers there are. Even numbers go out at QoS 2, odd ones at
QoS 1. The journal gets `+N` when number N was handed to the client, and `=N` when the client said that it is delivered.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from pathlib import Path
from typing import Final

from tidewire import Client, Publication, SQLiteOutbox

UNDER_WAY: Final = 200
"""Messages that wait for their acknowledgement before the next one is handed over."""


async def main(url: str, outbox: str, journal_file: str, count: int) -> None:
    known = Path(journal_file)
    first = 1 + max((int(line[1:]) for line in known.read_text().splitlines() if line[0] == "+"), default=-1)
    journal = os.open(known, os.O_WRONLY | os.O_APPEND)
    under_way: deque[tuple[int, Publication]] = deque()

    async def wait_for_oldest() -> None:
        number, publication = under_way.popleft()
        await publication
        os.write(journal, f"={number}\n".encode())

    async with Client(url, outbox=SQLiteOutbox(outbox), session_expiry=3600, retry_first_connect=True) as client:
        for number in range(first, count):
            qos = 1 + (number + 1) % 2
            under_way.append((number, client.publish_nowait(f"killed/{qos}", str(number), qos=qos)))
            os.write(journal, f"+{number}\n".encode())
            if len(under_way) >= UNDER_WAY:
                await wait_for_oldest()
        while under_way:
            await wait_for_oldest()
        await client.drain()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
