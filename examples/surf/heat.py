"""What do all parts of one heat have to know? Where the broker is, who may say what, and when the heat began."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from tidewire import Backoff, Client

LinkName = Literal["good", "flaky", "satellite"]

NAMES: Final = ("kai", "leilani", "mick", "stephanie", "gabriel", "carissa", "duke", "bethany")
SURFERS_MAXIMUM: Final = 100
"""Of one heat: the page shows each with a chart of its own."""
FILE: Final = "heat.json"


class HeatError(Exception):
    """A heat that cannot be held; one line with the mend in it."""


class Heat(Struct):
    """One heat, as it lies in its directory in `heat.json`, readable by its owner only."""

    id: str
    url: str
    """The broker's; user name and password in it hold for all parts, in place of `passwords`."""
    websocket: str
    """Where spectators read."""
    surfers: list[str]
    seed: int
    link: LinkName
    began: float
    """Seconds since 1970."""
    length_s: float
    """Of the heat, in its own seconds."""
    pace: float
    """Seconds of the heat in one of the clock."""
    passwords: dict[str, str]
    """By user name; empty where the broker asks for none."""

    @classmethod
    def read(cls, directory: Path) -> Self:
        """The heat of a directory. Raises HeatError."""
        try:
            return msgspec.json.decode((directory / FILE).read_bytes(), type=cls)
        except OSError as error:
            raise HeatError(f"{error.filename}: {error.strerror}; `make surf` makes it") from None
        except msgspec.DecodeError as error:
            raise HeatError(f"{directory / FILE} is damaged ({error}); take another --directory") from None

    def write(self, directory: Path) -> None:
        """Keep it there, for the other parts and for the next run."""
        write_private(directory / FILE, msgspec.json.format(msgspec.json.encode(self)))

    def now(self) -> float:
        """Seconds of the heat, by the clock of the machine; they end with the heat."""
        return min((time.time() - self.began) * self.pace, self.length_s)

    @property
    def address(self) -> tuple[str, int, bool]:
        """Host and port of the broker, and whether TLS is spoken there. Raises HeatError."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("mqtt", "mqtts") or parts.hostname is None:
            raise HeatError(f"{self.url!r} is no address of a broker; write mqtt://host:port or mqtts://host:port")
        tls = parts.scheme == "mqtts"
        return parts.hostname, parts.port or (8883 if tls else 1883), tls

    def client(self, user: str, url: str = "", **options: Any) -> Client:
        """A client of one part, not yet connected; `url` in place of the broker's. It waits for one that is away."""
        parts = urlsplit(self.url)
        if parts.username is not None:
            user, password = parts.username, parts.password
        else:
            password = self.passwords.get(user)
        options = {"session_expiry": 3600, "retry_first_connect": True, "keep_alive": 20} | options
        return Client(
            url or self.url,
            user_name=user if password is not None else None,
            password=password,
            reconnect=Backoff(first=0.5 / self.pace, maximum=5.0 / self.pace),
            **options,
        )


def write_private(file: Path, data: bytes) -> None:
    """Write a file that nobody else may read."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(data)
