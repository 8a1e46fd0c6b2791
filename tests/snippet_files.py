"""What must be there before a page's commands can show anything? `python -m tests.snippet_files`, in a block that
readers do not see, writes it into the folder of the page."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import Final

from tests.cli.test_store import mosquitto_db
from tests.overhead.meters import row
from tests.store.stores import batch_of
from tidewire.store.meter_rows import Metered, encoded
from tidewire.store.sqlite import StoreFile

MONTH: Final = "2026-03"
DAYS: Final = (f"{MONTH}-12", f"{MONTH}-31")
"""The first and the last on which the sensors were there: twenty days, in a month that is over."""

MESSAGES: Final = 20 * 24 * 12
"""Of a sensor: one every five minutes."""

PUBLISH_TCP_IP: Final = 156
"""Three segments of 52 bytes: PUBLISH, PUBACK and the acknowledgement of that."""

CONNECTION_TCP_IP: Final = 800
"""Of opening and closing one: about fifteen segments."""


def meter(directory: Path) -> None:
    """A store that has metered two sensors."""
    directory.mkdir()
    file = StoreFile(directory / "broker.db")
    file.open()
    sensors, tcp_ip = ("sensor-17", "sensor-18"), MESSAGES * PUBLISH_TCP_IP + 3 * CONNECTION_TCP_IP
    each = row("5.0", {1: MESSAGES}, pings=1, connects=3, tcp_ip=tcp_ip)
    both = row("5.0", {1: 2 * MESSAGES}, pings=2, connects=6, tcp_ip=2 * tcp_ip)
    periods = (MONTH, *DAYS)
    rows = [("client", period, name, "anna", _figures(each)) for name in sensors for period in periods]
    file.write(batch_of(metered=[*rows, ("total", MONTH, "", None, _figures(both))]))
    file.close()


def mosquitto(file: Path) -> None:
    """What Mosquitto writes when it is stopped and has one retained message."""
    kept = bytes([1]) + bytes(15) + struct.pack("!IHHHHHBB", 4, 0, 0, 0, 9, 0, 1, 1) + b"sensors/117.5"
    file.write_bytes(mosquitto_db((2, kept), (4, bytes([1]) + bytes(7))))


def _figures(told: Metered) -> str:
    return encoded(told).decode()


if __name__ == "__main__":
    if sys.argv[1] == "meter":
        meter(Path(os.environ["STATE_DIRECTORY"]))
    else:
        mosquitto(Path("mosquitto.db"))
