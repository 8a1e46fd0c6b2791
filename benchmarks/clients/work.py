"""What a client program is told to do, and how it says what it found."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic_ns, process_time
from typing import Final

from benchmarks.load.tape import Tape, payload

HOST: Final = "127.0.0.1"
TOPIC: Final = "bench/clients/reading"
PAYLOAD_BYTES: Final = 64
READY: Final = "ready"  # the line that lets the flood begin
SETTLE_S: Final = 0.05  # between warm-up and the time that counts: what is still buffered leaves meanwhile


class Unsupported(Exception):
    """The client cannot do this kind of work; the text says why."""


class Work:
    """`warm_up` and `payloads` are what is to be published, or what will come, in this order."""

    def __init__(self, port: int, warm_up: int, messages: int) -> None:
        tape = make_tape()
        different = [tape.packet(number)[-PAYLOAD_BYTES:] for number in range(tape.messages)]
        self.port = port
        self.warm_up = [different[number % tape.messages] for number in range(warm_up)]
        self.payloads = [different[number % tape.messages] for number in range(warm_up, warm_up + messages)]
        self.messages_in_all = warm_up + messages
        self.figures: dict[str, float | str] = {}

    def start(self) -> None:
        """The time that counts begins."""
        gc.collect()
        self.figures |= {"started_ns": monotonic_ns(), "cpu_s": -process_time()}

    def stop(self) -> None:
        """It ends, as far as the client is concerned."""
        self.figures |= {"stopped_ns": monotonic_ns(), "cpu_s": process_time() + float(self.figures["cpu_s"])}

    @contextmanager
    def timed(self) -> Iterator[None]:
        self.start()
        yield
        self.stop()

    def ready(self) -> None:
        """The client is subscribed."""
        print(READY, flush=True)

    def came(self, last: bytes) -> None:
        """All has come, and `last` was the last. Raises AssertionError if it was not."""
        assert last == self.payloads[-1], "another message came last than was published last"

    def fresh_payloads(self) -> Iterator[bytes]:
        """As many payloads as are to be queued, each an object that nobody else holds."""
        for number in range(len(self.payloads)):
            yield payload(number, PAYLOAD_BYTES)

    @contextmanager
    def queueing(self) -> Iterator[Callable[[], None]]:
        """Measures what a queue grows by; what it gives is called once for each message that was queued."""
        queued = 0

        def count() -> None:
            nonlocal queued
            queued += 1

        gc.collect()
        before = resident_bytes()
        yield count
        gc.collect()
        self.figures |= {"queued": queued, "resident_bytes": resident_bytes() - before}


def make_tape() -> Tape:
    """All packets that a subscriber at QoS 0 is sent, in a circle."""
    return Tape([TOPIC.encode()], [PAYLOAD_BYTES], 0)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
