"""Where are a client's packets kept for later? In a file of JSON lines, until it is full or nobody looks any more."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

import msgspec

from tidewire.server.admin import Admin
from tidewire.server.admin_types import PacketSeen

RECORDED_PACKETS: Final = 200_000
"""Of one recording: minutes of a busy client, days of a sensor."""

RECORDED_BYTES: Final = 64 * 1024 * 1024
"""Of one file: what a browser fetches in a moment."""

TURN_S: Final = 0.2
"""Between two looks, each at some hundred packets: showing them all takes the loop's time from the broker.
What comes faster than this gives way, and its numbers are missing in the file."""

_ENCODER: Final = msgspec.json.Encoder()


class Recording:
    """Every packet of a client from now on; `stop` it, and `close` it in the end. Needs a running event loop."""

    def __init__(self, admin: Admin, client: str) -> None:
        """Raises AdminFault for a client that cannot be watched, OSError where there is no room for the file."""
        self.packets = 0
        """In the file, …"""
        self.left_out = 0
        """… and those that came too fast for it."""
        self.bytes = 0
        self.fault = ""
        """Why it has ended before it was stopped."""
        self._feed = admin.watch_packets(client)
        try:
            self._directory = TemporaryDirectory(prefix="tidewire-recording-", ignore_cleanup_errors=True)
        except OSError:
            self._feed.close()
            raise
        self.path = Path(self._directory.name) / f"{file_name(client)}.ndjson"
        """One `PacketSeen` a line."""
        self._stopped = asyncio.Event()
        self._writer = asyncio.create_task(self._write())

    @property
    def running(self) -> bool:
        return not self._writer.done()

    async def stop(self) -> None:
        """Write what has come until now, and no more."""
        self._feed.close()
        self._stopped.set()
        await self.ended()

    async def ended(self) -> None:
        """Wait until no more is written."""
        await asyncio.wait([self._writer])

    def close(self) -> None:
        """Forget it, file and all."""
        self._feed.close()
        self._writer.cancel()
        self._directory.cleanup()

    async def _write(self) -> None:
        try:
            with self.path.open("wb") as file:
                while not self.fault:
                    seen = self._feed.take()
                    if seen.packets:
                        self.left_out = seen.dropped
                        self.bytes += await asyncio.to_thread(_append, file, seen.packets)
                        self.packets += len(seen.packets)
                    elif self._stopped.is_set():
                        return
                    self.fault = self._full()
                    await asyncio.sleep(TURN_S if not self._stopped.is_set() else 0)
        except OSError as error:
            self.fault = f"the recording cannot be written: {error.strerror}"
        finally:
            self._feed.close()

    def _full(self) -> str:
        if self.packets >= RECORDED_PACKETS:
            return f"the recording is full: it has {self.packets} packets"
        if self.bytes >= RECORDED_BYTES:
            return f"the recording is full: it has {RECORDED_BYTES // 1024 // 1024} MiB"
        return ""


def file_name(client: str) -> str:
    """A name for files about a client, whatever its identifier contains."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", client).strip("-.")[:60] or "client"


def _append(file: BinaryIO, packets: list[PacketSeen]) -> int:
    return file.write(_ENCODER.encode_lines(packets))
