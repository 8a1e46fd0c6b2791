"""Does the matrix notice what a client does wrong? The clients here are one line of Python each."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.interop.matrix.cases import compare
from tests.interop.matrix.clients import OtherClient
from tests.interop.matrix.program import Arrived, Cell, Failed, Program

MESSAGE = '{"event": "message", "topic": "a", "payload": "x", "qos": 1, "retain": true}'


def messages(code: str) -> list[Arrived]:
    """What a subscriber to the topic `a` tells that is this program."""
    client = OtherClient("line", "line 1", "line", (sys.executable, "-c", code))
    cell = Cell(client, Path.cwd(), "mqtt://localhost", Path("ca.pem"), "5.0")

    async def run() -> list[Arrived]:
        async with Program(cell, "subscribe", "a", 1, 1) as program:
            await program.ready()
            return await program.messages()

    return asyncio.run(run())


def telling(*lines: str) -> str:
    return f"print({chr(10).join(lines)!r})"


READY = '{"event": "ready"}'


def test_messages_are_what_was_told_until_the_end() -> None:
    assert messages(telling(READY, MESSAGE, MESSAGE)) == [Arrived("x", 1, True)] * 2


def test_a_message_of_another_topic_is_a_failure() -> None:
    with pytest.raises(Failed, match="subscribe: a message of b"):
        messages(telling(READY, MESSAGE.replace('"a"', '"b"')))


def test_who_is_not_ready_first_has_failed() -> None:
    with pytest.raises(Failed, match="where it should be ready"):
        messages(telling(MESSAGE))


def test_a_status_is_a_failure_with_the_last_complaint() -> None:
    with pytest.raises(Failed, match="subscribe: ended with status 1: refused"):
        messages(f"{telling(READY, MESSAGE)}; import sys; sys.exit('what is more\\nrefused')")


def test_a_missing_and_a_second_message_are_failures() -> None:
    one, two = Arrived("client 0", 1, False), Arrived("client 1", 1, False)
    compare("the client", [one, two], [one, two])
    with pytest.raises(Failed, match="got None as message 1, not Arrived"):
        compare("the client", [one], [one, two])
    with pytest.raises(Failed, match="as message 1, not Arrived"):
        compare("the client", [one, one, two], [one, two])
