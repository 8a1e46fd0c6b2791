"""The load, the kills and the end of both: what a run consists of."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from typing import Final

from tests.faults.kills.broker import Mortal, Unwell
from tests.faults.kills.clients import Target, Wire
from tests.faults.kills.judge import History
from tests.faults.kills.publisher import Publisher
from tests.faults.kills.subscriber import ERRANDS, Subscriber, Visitor
from tests.faults.kills.wills import WILLS, leave_a_will
from tidewire.wire.codes import V5, V311
from tidewire.wire.packets import Connect, Pingreq, Pingresp, Publish, Subscribe, SubscriptionRequest

LIFE: Final = 600
"""Acknowledgements that publishers get in one life of the broker, at most."""
MOMENT_S: Final = 0.01
"""A kill comes up to so much later than an acknowledgement: commits take a part of that."""
FALSE_STARTS: Final = 0.2
"""How often the broker is killed while it starts."""
WILLS_A_LIFE: Final = 2
QUIET_S: Final = 10.0
"""With nothing coming for so long, what is missing is lost. More than the longest delay of a will and its tick."""


class Load:
    """Clients that work against a broker that is killed."""

    def __init__(self, broker: Mortal, chance: random.Random, quiet_s: float = QUIET_S) -> None:
        self.history = History()
        self._broker = broker
        self._chance = chance
        self._quiet_s = quiet_s
        self._target = Target()
        self._subscribers = [
            Subscriber(*self._client("always-1", V311), {"load/#": 1, f"{WILLS}/#": 2}),
            Subscriber(*self._client("always-2", V5), {"load/#": 2, f"{WILLS}/#": 2}),
            Visitor(*self._client("visitor-1", V5), {"load/+/0": 1, "load/shared": 2, f"{WILLS}/#": 2}, chance),
            Visitor(*self._client("visitor-2", V311), {"load/#": 2}, chance),
        ]
        self._retained = [f"state/{number}" for number in range(5)]
        self._publishers = [self._publisher("keeper", V5, 1, self._retained, retain=True)]
        for version, qos in itertools.product((V311, V5), (1, 2)):
            name = f"publisher-{version}-{qos}"
            self._publishers.append(
                self._publisher(name, version, qos, [f"load/{name}/0", f"load/{name}/1", "load/shared"])
            )

    async def run(self, kills: int) -> list[str]:
        """So many lives and one more, to the last message; the faults."""
        try:
            async with asyncio.TaskGroup() as clients:
                await self._run(kills, clients)
        except* Unwell as unwell:
            self.history.faults += [str(error) for error in unwell.exceptions]
        return self.history.judge()

    async def _run(self, kills: int, clients: asyncio.TaskGroup) -> None:
        await self._begin_life(clients)
        subscribers = [clients.create_task(subscriber.run()) for subscriber in self._subscribers]
        for subscriber in self._subscribers:
            await subscriber.subscribed.wait()
        publishers = [clients.create_task(publisher.run()) for publisher in self._publishers]
        for _ in range(kills):
            await self._target.after(self._chance.randrange(LIFE)).wait()
            await asyncio.sleep(self._chance.uniform(0, MOMENT_S))  # chance, not waiting for anything
            self._target.end()
            self._broker.kill()
            while self._chance.random() < FALSE_STARTS:
                await self._broker.start_falsely()
            await self._begin_life(clients)
        await self._target.after(LIFE).wait()
        self._target.end_load()
        await asyncio.gather(*publishers)
        await self._check_retained()
        await self._run_errands()
        await self._drain()
        for subscriber in self._subscribers:
            subscriber.finish()
        await asyncio.gather(*subscribers)
        self._target.end()
        self._broker.stop()

    async def _begin_life(self, clients: asyncio.TaskGroup) -> None:
        self._target.port = self._broker.start()
        await self._check_retained()
        self._target.begin()
        for number in range(WILLS_A_LIFE):
            name = f"testator-{self._broker.lives}-{number}"
            clients.create_task(leave_a_will(name, self._target, self.history, self._chance, LIFE))

    async def _check_retained(self) -> None:
        """Hold what a new subscriber is given against what was sent; what is owed is waited for."""
        owed = self.history.retained_owed(self._retained)
        found: dict[str, bytes] = {}
        wire, _ = await Wire.open(self._target.port, Connect("", V5))
        wire.send(Subscribe(1, [SubscriptionRequest(b"state/#", 0)]))
        wire.send(Pingreq())
        answered = False  # by then, what was cleared and is back has come as well
        with contextlib.suppress(TimeoutError):  # the judge will tell
            async with asyncio.timeout(self._quiet_s):
                while owed - found.keys() or not answered:
                    packet = await wire.receive()
                    answered = answered or isinstance(packet, Pingresp)
                    if isinstance(packet, Publish):
                        found[packet.topic.decode()] = packet.payload
        wire.leave()
        self.history.faults += self.history.retained_faults(self._retained, found)

    async def _run_errands(self) -> None:
        """Send to each subscription that was made on the way: it is to be there still, or to be gone."""
        filters = [one.topic_filter for reader in self.history.readers.values() for one in reader.subscriptions]
        errands = (topic for topic in filters if topic.startswith(f"{ERRANDS}/"))
        await Publisher("runner", V5, self._target, self.history, errands, qos=2).run()

    async def _drain(self) -> None:
        """Until all that is owed has come, or nothing comes any more."""
        for subscriber in self._subscribers:
            came = {(reception.topic, reception.payload) for reception in subscriber.reader.receptions}
            owed = self.history.owed(subscriber.reader)
            subscriber.awaited = {(name.topic, name.payload()) for name in owed} - came
        with contextlib.suppress(TimeoutError):  # the judge will tell
            while any(subscriber.awaited for subscriber in self._subscribers):
                self._target.arrival.clear()
                async with asyncio.timeout(self._quiet_s):
                    await self._target.arrival.wait()

    def _publisher(self, name: str, version: int, qos: int, topics: list[str], retain: bool = False) -> Publisher:
        lasting = itertools.takewhile(lambda _: not self._target.over, itertools.cycle(topics))
        return Publisher(*self._client(name, version), lasting, qos, retain)

    def _client(self, name: str, version: int) -> tuple[str, int, Target, History]:
        return name, version, self._target, self.history
