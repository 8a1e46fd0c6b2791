"""What does a benchmark do to a broker, and what does it count meanwhile?"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter_ns, process_time_ns
from typing import Final, Literal

from tidewire import Client, Message, Stream, TidewireError
from tidewire.cli.bench_pace import Pace, Window
from tidewire.cli.bench_report import BUSY_SHARE, Histogram, Latency, Report
from tidewire.cli.exits import Exit, status_of
from tidewire.cli.numbers import grouped

Benchmark = Literal["publish", "subscribe", "round-trip", "connect"]

STAMP_BYTES: Final = 8
"""What a payload begins with: the nanosecond, on this process's clock, at which it was due."""
CONNECTING: Final = 100
"""Clients that connect at a time before a measurement; most brokers have a longer listen queue."""
GRACE_S: Final = 5.0
"""How long after its duration a benchmark waits for the last answers."""
RATED_SENDERS: Final = 100
"""Messages that a client may have unacknowledged at a rate: more than a broker that keeps up leaves open."""
ON_TIME_SHARE: Final = 0.98
"""From this share of the rate asked for on, it is met."""


@dataclass(frozen=True)
class Load:
    """What is asked for. `topic` may hold {run}, different in each run, and {client}, the number of a publisher."""

    benchmark: Benchmark
    make_client: Callable[[], Client]
    url: str
    version: str
    run: str
    clients: int
    publishers: int
    duration_s: float
    messages: int | None
    """In all; None for as many as the duration allows."""
    rate: float
    """Messages or connections a second in all; 0 for as fast as it goes."""
    size_bytes: int
    qos: int
    topic: str
    in_flight: int
    """Messages under way per client (connections in all), where no rate is asked for."""
    hold_s: float

    def topic_of(self, client: int | str) -> str:
        return self.topic.replace("{run}", self.run).replace("{client}", str(client))


@dataclass
class Tally:
    """What was counted so far."""

    sent: int = 0
    """Attempts: what should have been counted in the end."""
    count: int = 0
    size_bytes: int = 0
    latency: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    status: int = 0
    """What the first error means as an exit status."""
    best_second: float = 0.0
    began_ns: int = 0
    last_ns: int = 0
    cpu_share: float = 0.0
    """Of one core, used by this process while there was something to do."""
    _cpu_began_ns: int = 0

    def begin(self) -> None:
        """From now on it counts."""
        self.began_ns = self.last_ns = perf_counter_ns()
        self._cpu_began_ns = process_time_ns()

    def end(self) -> None:
        """From now on it only waits for what is still under way."""
        if not self.cpu_share:
            self.cpu_share = (process_time_ns() - self._cpu_began_ns) / (perf_counter_ns() - self.began_ns)

    def add(self, size_bytes: int) -> None:
        """One more came to its end."""
        self.count += 1
        self.size_bytes += size_bytes

    def add_since(self, due_ns: int, size_bytes: int) -> None:
        """One more, and how long it took."""
        self.last_ns = perf_counter_ns()
        self.latency.add(self.last_ns - due_ns)
        self.add(size_bytes)

    def failed(self, error: TidewireError, count: int = 1) -> None:
        """So many did not come to a good end."""
        self.errors[str(error)] += count
        self.status = self.status or status_of(error) or Exit.CONNECTION_LOST

    def report(self, load: Load) -> Report:
        """All that was found."""
        seconds = max(self.last_ns - self.began_ns, 1) / 1e9
        per_second = self.count / seconds
        return Report(
            benchmark=load.benchmark,
            url=load.url,
            version=load.version,
            clients=load.clients,
            qos=load.qos,
            size_bytes=load.size_bytes,
            seconds=round(seconds, 4),
            unit="connections" if load.benchmark == "connect" else "messages",
            count=self.count,
            per_second=round(per_second, 1),
            best_second=round(max(self.best_second, per_second), 1),
            bytes_per_second=round(self.size_bytes / seconds, 1),
            sent=self.sent,
            missing=max(0, self.sent - self.count - self.errors.total()),
            latency_of={"publish": "acknowledged", "connect": "connected"}.get(load.benchmark, "round trip"),
            latency_ms=Latency.of(self.latency),
            cpu_share=round(self.cpu_share, 3),
            limited_by=limit(load, self.cpu_share, per_second),
            errors=dict(self.errors),
        )


def limit(load: Load, cpu_share: float, per_second: float) -> str:
    """What kept the result from being higher, as far as this side can see."""
    if cpu_share >= BUSY_SHARE:
        return "this process: its core was busy, and the broker may well do more; run several at once"
    if load.rate and per_second >= load.rate * ON_TIME_SHARE:
        return "the rate asked for"
    if load.benchmark == "subscribe" and not load.publishers:
        return "what others published"
    if not load.rate and (load.benchmark != "publish" or load.qos):
        whose = "" if load.benchmark == "connect" else " per client"
        return f"the broker or the network, or {grouped(load.in_flight)} in flight{whose} are too few: see --in-flight"
    return "the broker or the network"


async def measure(load: Load, say: Callable[[str], None]) -> Tally:
    """Run one benchmark; `say` gets a line a second. Cancelled, it returns what it has by then.

    Raises TidewireError where a client cannot connect or subscribe before the measurement.
    """
    tally = Tally()
    try:
        async with _BENCHMARKS[load.benchmark](load, tally) as act:
            tally.begin()
            watching = asyncio.create_task(_watch(tally, say))
            try:
                async with asyncio.timeout(load.duration_s + load.hold_s + GRACE_S):
                    await act()
            except TimeoutError:
                pass  # the report says how many are missing
            finally:
                tally.end()
                watching.cancel()
    except asyncio.CancelledError:
        if not tally.began_ns:
            raise
    return tally


async def _watch(tally: Tally, say: Callable[[str], None]) -> None:
    count, then_ns = 0, tally.began_ns
    while True:
        await asyncio.sleep(1.0)
        now_ns = perf_counter_ns()
        per_second = (tally.count - count) / (now_ns - then_ns) * 1e9
        tally.best_second = max(tally.best_second, per_second)
        failed = f"   {grouped(tally.errors.total())} failed" if tally.errors else ""
        say(f"{(now_ns - tally.began_ns) / 1e9:6.1f} s {grouped(per_second):>12}/s{failed}")
        count, then_ns = tally.count, now_ns


Act = Callable[[], Awaitable[None]]


@asynccontextmanager
async def _publish(load: Load, tally: Tally) -> AsyncIterator[Act]:
    """Every client publishes; a message counts when the broker has acknowledged it, at QoS 0 when it has left."""
    async with _connected(load, load.clients) as clients:

        async def act() -> None:
            try:
                await _publish_all(load, tally, clients, [Window(math.inf)] * len(clients), 1)
                await asyncio.gather(*(client.drain(GRACE_S) for client in clients))
            finally:
                tally.last_ns = perf_counter_ns()

        yield act


@asynccontextmanager
async def _subscribe(load: Load, tally: Tally) -> AsyncIterator[Act]:
    """Every client gets what all publishers publish; without any, what others do, up to the duration."""
    async with _connected(load, load.clients) as subscribers, _connected(load, load.publishers) as publishers:
        streams = [await _subscribed(client, load.topic_of("+"), load) for client in subscribers]

        async def act() -> None:
            window = Window(math.inf if load.rate else load.in_flight * load.clients)
            async with _readers(_read(stream, tally, window, timed=False) for stream in streams):
                if publishers:
                    await _publish_all(load, tally, publishers, [window] * load.publishers, load.clients)
                    await window.empty()
                    return
                try:
                    await asyncio.sleep(load.duration_s)
                finally:
                    tally.sent, tally.last_ns = tally.count, perf_counter_ns()

        yield act


@asynccontextmanager
async def _round_trip(load: Load, tally: Tally) -> AsyncIterator[Act]:
    """Every client gets what it publishes itself; a message counts when it is back."""
    async with _connected(load, load.clients) as clients:
        streams = [await _subscribed(client, load.topic_of(i), load) for i, client in enumerate(clients)]

        async def act() -> None:
            windows = [Window(math.inf if load.rate else load.in_flight) for _ in clients]
            reads = [_read(stream, tally, window, timed=True) for stream, window in zip(streams, windows, strict=True)]
            async with _readers(reads):
                await _publish_all(load, tally, clients, windows, 1)
                await asyncio.gather(*(window.empty() for window in windows))

        yield act


@asynccontextmanager
async def _connect(load: Load, tally: Tally) -> AsyncIterator[Act]:
    """All clients connect, so many at a time, stay for a while and leave."""
    clients = [load.make_client() for _ in range(load.clients)]
    waiting = iter(clients)

    async def worker(pace: Pace) -> None:
        for client in waiting:
            if (due_ns := await pace.slot()) is None:
                return
            try:
                await client.connect()
            except TidewireError as error:
                tally.failed(error)
            else:
                tally.add_since(due_ns, 0)

    async def act() -> None:
        tally.sent = load.clients
        pace = Pace(load.rate, load.clients, load.duration_s)
        await asyncio.gather(*(worker(pace) for _ in range(min(load.in_flight, load.clients))))
        tally.end()
        await asyncio.sleep(load.hold_s)

    try:
        yield act
    finally:
        await _disconnect(clients)


_BENCHMARKS: Final[dict[Benchmark, Callable[[Load, Tally], AbstractAsyncContextManager[Act]]]] = {
    "publish": _publish,
    "subscribe": _subscribe,
    "round-trip": _round_trip,
    "connect": _connect,
}


@asynccontextmanager
async def _connected(load: Load, count: int) -> AsyncIterator[list[Client]]:
    """So many clients, all connected."""
    clients = [load.make_client() for _ in range(count)]
    gate = asyncio.Semaphore(CONNECTING)

    async def connect(client: Client) -> None:
        async with gate:
            await client.connect()

    try:
        await asyncio.gather(*map(connect, clients))
        yield clients
    finally:
        await _disconnect(clients)


async def _disconnect(clients: Iterable[Client]) -> None:
    await asyncio.gather(*(client.disconnect() for client in clients), return_exceptions=True)


async def _subscribed(client: Client, topic_filter: str, load: Load) -> Stream:
    """A stream that ends with its client."""
    return await client.subscribe(topic_filter, qos=load.qos).__aenter__()


async def _publish_all(
    load: Load, tally: Tally, clients: Sequence[Client], windows: Sequence[Window], copies: int
) -> None:
    """Publish through all clients until the pace ends; each message is to come back `copies` times."""
    pace = Pace(load.rate, load.messages, load.duration_s)
    filler = bytes(max(0, load.size_bytes - STAMP_BYTES))

    async def sender(client: Client, topic: str, window: Window) -> None:
        while True:
            await window.room()
            if (due_ns := await pace.slot()) is None:
                return
            tally.sent += copies
            window.under_way += copies
            try:
                payload = (due_ns.to_bytes(STAMP_BYTES) + filler)[: load.size_bytes]
                await client.publish(topic, payload, qos=load.qos)
            except TidewireError as error:
                tally.failed(error, copies)
                window.came(copies)
                if not client.connected:
                    return
            else:
                if load.benchmark != "publish":
                    continue
                if load.qos:
                    tally.add_since(due_ns, load.size_bytes)
                else:
                    tally.add(load.size_bytes)

    senders = 1  # at QoS 0 `publish` waits for nobody
    if load.qos:
        senders = max(load.in_flight, RATED_SENDERS) if load.rate else load.in_flight
    await asyncio.gather(
        *(
            sender(client, load.topic_of(number), window)
            for number, (client, window) in enumerate(zip(clients, windows, strict=True))
            for _ in range(senders)
        )
    )
    tally.end()


@asynccontextmanager
async def _readers(reads: Iterable[Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Let them read meanwhile."""
    tasks = [asyncio.create_task(read) for read in reads]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def _read(stream: Stream, tally: Tally, window: Window, *, timed: bool) -> None:
    try:
        async for first in stream:
            message: Message | None = first
            arrived = 0
            while message is not None:
                arrived += 1
                if timed:
                    tally.add_since(int.from_bytes(message.payload[:STAMP_BYTES]), len(message.payload))
                else:
                    tally.add(len(message.payload))
                message = stream.get_nowait() if len(stream) else None
            tally.last_ns = perf_counter_ns()
            window.came(arrived)
    except TidewireError as error:
        tally.failed(error)
