"""The subscribers of the load: one that is always there, one that comes and goes."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final

from tests.faults.kills.broker import Unwell
from tests.faults.kills.clients import Client, Target, Wire
from tests.faults.kills.judge import NEVER, History, Reader, Reception, Subscription
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import (
    Acknowledgement,
    Packet,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
)

HELD: Final = 5
"""Acknowledgements held back, so that something is always unfinished; fewer than clients.RECEIVE_MAXIMUM_ASKED."""
ERRANDS: Final = "errand"
"""Topics that visitors subscribe to on the way begin so."""
STAYS: Final = 400
"""Acknowledgements that a visitor stays for, or stays away for, at most."""


class Subscriber(Client):
    """Takes over what comes, and acknowledges it a little later."""

    def __init__(self, name: str, version: int, target: Target, history: History, filters: dict[str, int]) -> None:
        super().__init__(name, version, target, history)
        self.reader = history.readers[name] = Reader([Subscription(*one) for one in filters.items()])
        self.subscribed = asyncio.Event()
        self.awaited: set[tuple[str, bytes]] = set()
        """Topics and payloads that are still to come, at the end of the load."""
        self._wire: Wire | None = None
        self._finishing = False
        self._received: set[int] = set()
        self._held: deque[Acknowledgement] = deque()
        self._requests: dict[int, Callable[[int], None]] = {}

    async def live(self, wire: Wire) -> None:
        self._wire = wire
        self._held.clear()
        self._requests.clear()
        if not self.subscribed.is_set():
            for subscription in self.reader.subscriptions:
                self._subscribe(wire, subscription)
        self.arrive(wire)
        if self._finishing:
            wire.send(Pingreq())
        while not self.done and not self.has_stayed():
            packet = await wire.receive()
            self._take(wire, packet)
            while len(self._held) > (0 if self.target.over else HELD):
                wire.send(self._held.popleft())

    def finish(self) -> None:
        """All has come: leave when the broker has answered, so that one message more would be seen."""
        self._finishing = True
        if self._wire is not None:
            self._wire.send(Pingreq())

    def arrive(self, wire: Wire) -> None:
        """What else to do when connected."""

    def has_stayed(self) -> bool:
        """Whether to leave now."""
        return False

    def forget(self) -> None:
        self._received.clear()

    def _take(self, wire: Wire, packet: Packet) -> None:
        if isinstance(packet, Publish):
            self._take_publish(packet)
        elif isinstance(packet, Acknowledgement) and packet.packet_type == PUBREL:
            self._received.discard(packet.packet_identifier)
            self._held.append(Acknowledgement(PUBCOMP, packet.packet_identifier))
        elif isinstance(packet, Suback | Unsuback) and packet.packet_identifier in self._requests:
            self._requests.pop(packet.packet_identifier)(max(packet.reason_codes, default=0))
        elif isinstance(packet, Pingresp):
            self.done = True
            wire.leave()
        else:
            raise Unwell(f"{self.name} got {packet}")

    def _take_publish(self, packet: Publish) -> None:
        """Figure 4.3: at QoS 2 a message is handed on when its identifier is new [MQTT-4.3.3-10]."""
        identifier = packet.packet_identifier
        if packet.qos < 2 or identifier not in self._received:
            topic = packet.topic.decode()
            self.reader.receptions.append(Reception(topic, packet.payload, packet.qos))
            self.awaited.discard((topic, packet.payload))
            self.target.arrival.set()
        if packet.qos == 1:
            self._held.append(Acknowledgement(PUBACK, identifier))
        elif packet.qos == 2:
            self._received.add(identifier)
            self._held.append(Acknowledgement(PUBREC, identifier))

    def _subscribe(self, wire: Wire, subscription: Subscription) -> None:
        def answered(reason_code: int) -> None:
            if reason_code != subscription.qos:
                self.history.faults.append(f"{self.name}: {subscription} was answered by {reason_code:#x}")
            subscription.since = self.history.now()
            if all(one.since != NEVER for one in self.reader.subscriptions):
                self.subscribed.set()

        request = SubscriptionRequest(subscription.topic_filter.encode(), subscription.qos)
        wire.send(Subscribe(self._request(answered), [request]))

    def _unsubscribe(self, wire: Wire, subscription: Subscription) -> None:
        def answered(_: int) -> None:
            subscription.left = self.history.now()

        subscription.leaving = self.history.now()
        wire.send(Unsubscribe(self._request(answered), [subscription.topic_filter.encode()]))

    def _request(self, answered: Callable[[int], None]) -> int:
        identifier = next(one for one in range(1, 65_536) if one not in self._requests)
        self._requests[identifier] = answered
        return identifier


class Visitor(Subscriber):
    """Comes and goes, and has one subscription more each time, and sometimes one less."""

    def __init__(
        self,
        name: str,
        version: int,
        target: Target,
        history: History,
        filters: dict[str, int],
        chance: random.Random,
    ) -> None:
        super().__init__(name, version, target, history, filters)
        self._chance = chance
        self._leave = asyncio.Event()
        self._visits = 0

    async def wait(self) -> None:
        if self.subscribed.is_set():
            await self._random_while().wait()

    async def live(self, wire: Wire) -> None:
        self._leave = self._random_while()
        await super().live(wire)
        wire.leave(in_peace=self._chance.random() < 0.5)

    def has_stayed(self) -> bool:
        return self._leave.is_set() and self.subscribed.is_set() and not self.target.over

    def arrive(self, wire: Wire) -> None:
        if not self.subscribed.is_set() or self.target.over:
            return
        self._visits += 1
        before = self.reader.subscriptions[-1]
        if self._visits % 3 == 0 and before.since != NEVER:
            self._unsubscribe(wire, before)
        errand = Subscription(f"{ERRANDS}/{self.name}/{self._visits}", 1 + self._visits % 2)
        self.reader.subscriptions.append(errand)
        self._subscribe(wire, errand)

    def _random_while(self) -> asyncio.Event:
        return self.target.after(self._chance.randrange(STAYS))
