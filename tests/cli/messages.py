"""Messages as the client hands them to a command, without a client."""

from __future__ import annotations

from tidewire.engine.client_session import ClientSession, Host
from tidewire.engine.limits import Limits
from tidewire.engine.received import Message
from tidewire.wire.properties import Properties

NOBODY = ClientSession(Limits(), Host())
"""Only acknowledging needs the session."""


def message(
    topic: str = "a/b",
    payload: bytes = b"",
    *,
    qos: int = 0,
    retain: bool = False,
    identifier: int = 0,
    properties: Properties | None = None,
) -> Message:
    number = identifier.to_bytes(2, "big") if qos else b""
    return Message(topic, payload, qos << 1 | retain, properties or Properties(), number, NOBODY)
