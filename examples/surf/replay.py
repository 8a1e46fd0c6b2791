"""How is a recorded heat played again? Message by message, from the lines of JSON that docs/recording.md describes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from examples.surf.heat import Heat, HeatError
from examples.surf.messages import BILLS, BOARDS, END, ride_topic

PLAYED: Final = (f"{BOARDS}/", ride_topic(""), BILLS)
"""What boards and links have said; scores, leader board and end are found anew."""


class Line(Struct):
    """A line of a recording: a message, or without a topic the beginning of a part."""

    at_ns: int = 0
    topic: str = ""
    payload: str | None = None
    payload_base64: bytes = b""
    qos: Literal[0, 1, 2] = 0
    retain: bool = False

    @property
    def body(self) -> bytes:
        return self.payload.encode() if self.payload is not None else self.payload_base64


def read(file: Path) -> Iterator[Line]:
    """The messages of a recording of `tidewire record`. Raises HeatError."""
    try:
        with file.open("rb") as lines:
            for number, text in enumerate(lines, 1):
                try:
                    line = msgspec.json.decode(text, type=Line)
                except ValueError as error:
                    raise HeatError(f"{file}, line {number} is none of a recording: {error}") from None
                if line.topic.startswith(PLAYED):
                    yield line
    except OSError as error:
        raise HeatError(f"{file}: {error.strerror}; make one with: tidewire record FILE 'surf/#'") from None


async def replay(heat: Heat, file: Path) -> None:
    """Play it at the pace of the heat, from its beginning to its end."""
    async with heat.client("operator", session_expiry=0) as client:
        start = asyncio.get_running_loop().time()
        for line in read(file):
            due = start + line.at_ns / 1e9 / heat.pace
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            await client.publish(line.topic, line.body, qos=line.qos, retain=line.retain)
        await client.publish(END, heat.id, qos=1, retain=True)
