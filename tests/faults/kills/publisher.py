"""A publisher of the load: numbered messages, each sent until it is acknowledged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.faults.kills.broker import Unwell
from tests.faults.kills.clients import Client, Target, Wire
from tests.faults.kills.judge import History, Name, Sent
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import Acknowledgement, Publish

WINDOW: Final = 20
"""Messages under way at a time."""
CLEARS: Final = 5
"""Of retained messages of a topic, one in so many is empty, and clears it."""


@dataclass
class Flight:
    """A message under way, from PUBLISH to PUBACK or PUBCOMP."""

    name: Name
    received: bool = False
    """PUBREC came."""


class Publisher(Client):
    """Sends at one QoS to the topics in turn, for as long as there are topics."""

    def __init__(
        self,
        name: str,
        version: int,
        target: Target,
        history: History,
        topics: Iterator[str],
        qos: int,
        retain: bool = False,
    ) -> None:
        super().__init__(name, version, target, history)
        self._topics = topics
        self._qos = qos
        self._retain = retain
        self._numbers: Counter[str] = Counter()
        self._flights: dict[int, Flight] = {}

    async def live(self, wire: Wire) -> None:
        for identifier, flight in self._flights.items():  # [MQTT-4.4.0-1], in the order of 4.6
            if flight.received:
                wire.send(Acknowledgement(PUBREL, identifier))
            else:
                wire.send(self._publish(flight.name, identifier, dup=True))
        while True:
            while len(self._flights) < WINDOW and (topic := next(self._topics, None)):
                wire.send(self._first_publish(topic))
            if not self._flights:
                self.done = True
                wire.leave()
                return
            packet = await wire.receive()
            known = self._flights.get(packet.packet_identifier) if isinstance(packet, Acknowledgement) else None
            if not isinstance(packet, Acknowledgement) or known is None:
                raise Unwell(f"{self.name} got {packet}, with {self._flights} under way")
            self._take(wire, packet, known)
            self.target.count()

    def forget(self) -> None:
        """What was received needs no PUBREL any more; the rest is sent again."""
        self._flights = {one: flight for one, flight in self._flights.items() if not flight.received}

    def _first_publish(self, topic: str) -> Publish:
        self._numbers[topic] += 1
        name = Name(topic, self.name, self._numbers[topic])
        # The lowest that is free: anything that the broker still holds against an identifier shows at once.
        identifier = next(one for one in range(1, WINDOW + 1) if one not in self._flights)
        self._flights[identifier] = Flight(name)
        self.history.sent[name] = Sent(self._qos, self.history.now(), clears=self._clears(name))
        return self._publish(name, identifier)

    def _publish(self, name: Name, identifier: int, dup: bool = False) -> Publish:
        payload = b"" if self._clears(name) else name.payload()
        return Publish(name.topic.encode(), payload, self._qos, self._retain, dup, identifier)

    def _clears(self, name: Name) -> bool:
        return self._retain and name.number % CLEARS == 0

    def _take(self, wire: Wire, packet: Acknowledgement, flight: Flight) -> None:
        identifier = packet.packet_identifier
        if packet.packet_type != (PUBACK if self._qos == 1 else PUBCOMP if flight.received else PUBREC):
            raise Unwell(f"{self.name} got {packet} for {flight}")
        if packet.packet_type != PUBCOMP:
            if packet.reason_code >= 0x80:
                self.history.faults.append(f"{self.name}: {flight.name} was refused with {packet.reason_code:#x}")
            else:
                self.history.sent[flight.name].owed = True
        if packet.packet_type == PUBREC and packet.reason_code < 0x80:
            flight.received = True
            wire.send(Acknowledgement(PUBREL, identifier))
        else:
            del self._flights[identifier]
