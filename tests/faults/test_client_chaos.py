"""Does the client keep its promises while its connections are cut and its program is killed, at random moments?

Whatever it said is delivered arrives; at QoS 2 exactly once and in order, at QoS 1 in order but for repetitions.
`make chaos` runs the long form. The seed of a run is printed, and TIDEWIRE_CHAOS_SEED repeats it.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.client.helpers import SOON, run
from tests.client.proxy import Proxy
from tests.faults.programs import publisher
from tests.process import PATIENCE_S, BrokerProcess
from tidewire import Client, Publication, Stream

PUBLISHES: Final = int(os.environ.get("TIDEWIRE_CHAOS_PUBLISHES", "5000"))
CUTS: Final = int(os.environ.get("TIDEWIRE_CHAOS_CUTS", "10"))
KILLS: Final = int(os.environ.get("TIDEWIRE_CHAOS_KILLS", "3"))
SEED: Final = int(os.environ.get("TIDEWIRE_CHAOS_SEED", "1"))
PATIENCE: Final = max(PATIENCE_S, PUBLISHES / 100)

LASTING: Final[dict[str, Any]] = {
    "session_expiry": 3600,
    "reconnect": SOON,
    "retry_first_connect": True,
    "inflight_maximum": 100,
}

BYTES_A_PUBLISH: Final = 12
"""Fewer than a publish moves, both ways together: so all cuts come before the end."""
UNDER_WAY: Final = 100
PUBLISHES_A_LIFE: Final = 400
"""Messages that arrive between two kills, at most."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """With queues that hold all: a reader that is cut off may fall behind."""
    config = tmp_path_factory.mktemp("broker") / "tidewire.toml"
    config.write_text(f'bind = ["127.0.0.1"]\nport = 0\n[limits]\nqueue_messages = {2 * PUBLISHES}\n')
    with BrokerProcess("--config", config) as process:
        yield process
        assert "internal error" not in process.log


@pytest.fixture
def chance() -> random.Random:
    print(f"TIDEWIRE_CHAOS_SEED={SEED}")
    return random.Random(SEED)


def test_cut_at_random_bytes_nothing_is_lost_and_qos_2_arrives_once(
    broker: BrokerProcess, chance: random.Random
) -> None:
    async def test() -> None:
        async with Proxy(broker.port) as outgoing, Proxy(broker.port) as incoming:
            for proxy, cuts in ((outgoing, CUTS - CUTS // 2), (incoming, CUTS // 2)):
                average = PUBLISHES * BYTES_A_PUBLISH // cuts
                proxy.cut_after = [chance.randrange(1, average) for _ in range(cuts)]
            reader = Client(incoming.url, client_id="chaos-reader", **LASTING)
            writer = Client(outgoing.url, client_id="chaos-publisher", **LASTING)
            async with (
                reader,
                reader.subscribe("chaos/1", qos=1) as once,
                reader.subscribe("chaos/2", qos=2) as exactly,
            ):
                reading = asyncio.gather(numbers(once), numbers(exactly))
                async with writer:
                    under_way: deque[Publication] = deque()
                    for number in range(PUBLISHES):
                        qos = 1 + (number + 1) % 2
                        under_way.append(writer.publish_nowait(f"chaos/{qos}", str(number), qos=qos))
                        if len(under_way) >= UNDER_WAY:
                            await under_way.popleft()
                    await writer.drain()
                    for qos in (1, 2):
                        await writer.publish(f"chaos/{qos}", b"end", qos=qos)
                at_least_once, exactly_once = await reading
            assert exactly_once == list(range(0, PUBLISHES, 2))
            assert list(dict.fromkeys(at_least_once)) == list(range(1, PUBLISHES, 2))
            assert outgoing.cuts + incoming.cuts == CUTS

    run(test(), patience_s=PATIENCE)


def test_killed_at_random_moments_the_outbox_keeps_the_same_promises(
    broker: BrokerProcess, chance: random.Random, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    journal.touch()
    count = KILLS * PUBLISHES_A_LIFE + 1_000
    command = [
        sys.executable,
        publisher.__file__,
        f"mqtt://127.0.0.1:{broker.port}",
        str(tmp_path / "outbox"),
        str(journal),
    ]

    async def test() -> None:
        async with (
            Client(f"mqtt://127.0.0.1:{broker.port}") as reader,
            reader.subscribe("killed/1", qos=1) as once,
            reader.subscribe("killed/2", qos=2) as exactly,
        ):
            reading = asyncio.gather(numbers(once), numbers(exactly, arrivals := Arrivals()))
            for _ in range(KILLS):
                program = subprocess.Popen([*command, str(count)])
                await arrivals.more(chance.randrange(1, PUBLISHES_A_LIFE // 2))
                program.kill()
                program.wait(PATIENCE)
            program = subprocess.Popen([*command, str(count)])
            assert await asyncio.to_thread(program.wait, PATIENCE) == 0
            for qos in (1, 2):
                await reader.publish(f"killed/{qos}", b"end", qos=qos)
            at_least_once, exactly_once = await reading

        handed, delivered = journalled(journal)
        assert handed == list(range(count))
        assert exactly_once == sorted(set(exactly_once))
        assert list(dict.fromkeys(at_least_once)) == sorted(set(at_least_once))
        arrived = {*at_least_once, *exactly_once}
        assert set(delivered) <= arrived <= set(handed)
        # What a life had handed over and not yet committed is all that may be missing.
        assert len(handed) - len(arrived) <= KILLS * publisher.UNDER_WAY

    run(test(), patience_s=PATIENCE)


class Arrivals:
    """Counts, for whoever waits for a number of messages to have arrived."""

    def __init__(self) -> None:
        self._left = 0
        self._enough = asyncio.Event()

    def one(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._enough.set()

    async def more(self, number: int) -> None:
        self._left = number
        self._enough.clear()
        await self._enough.wait()


async def numbers(stream: Stream, arrivals: Arrivals | None = None) -> list[int]:
    """What arrives before the end, in order of arrival."""
    found: list[int] = []
    async for message in stream:
        if message.payload == b"end":
            break
        found.append(int(message.payload))
        if arrivals is not None:
            arrivals.one()
    return found


def journalled(journal: Path) -> tuple[list[int], list[int]]:
    """The numbers that the program handed over, and those that it was told are delivered."""
    lines = journal.read_text().splitlines()
    return (
        [int(line[1:]) for line in lines if line[0] == "+"],
        [int(line[1:]) for line in lines if line[0] == "="],
    )
