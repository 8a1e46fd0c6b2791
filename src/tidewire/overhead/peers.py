"""What does a family of protocols have to bring, so that its message can be measured?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Protocol

from msgspec import Struct

from tidewire.overhead.mqtt import Message


def named(*distributions: str) -> str:
    """Libraries with their versions, for people."""
    return ", ".join(f"{name} {version(name)}" for name in distributions)


class Unavailable(Exception):
    """A server is not there; the text says what brings it."""


class Peer(Protocol):
    """A client of one of the libraries."""

    async def open(self, port: int) -> None:
        """Connect, as far as the library does that before the first message."""

    async def send(self, message: Message) -> None:
        """Send it, and return when it has arrived."""

    async def close(self) -> None:
        """Leave in order."""


class Way(Struct, frozen=True):
    """One way of sending the message."""

    name: str
    make_peer: Callable[[], Peer]
    implementation: str
    """The libraries of client and server, with their versions."""
    keeps_connection: bool = True
    datagrams: bool = False


class Served(Struct, frozen=True):
    """A server that runs, and the ways of reaching it."""

    port: int
    ways: Sequence[Way]
