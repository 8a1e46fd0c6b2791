"""Did the broker keep its promises? What was sent, subscribed to and received, and the faults that show in it.

Nothing here knows the broker: topics are matched by a few lines of its own. Time is a count of events (`History.now`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

NEVER: Final = -1


@dataclass(frozen=True)
class Name:
    """What a payload says of itself: its author numbers the messages of each of its topics, from 1."""

    topic: str
    author: str
    number: int

    def payload(self) -> bytes:
        """Between some bytes and more than a page of the store, the same for each name."""
        filler = self.number * 7919 % 97
        return f"{self.author} {self.number} ".encode() + b"." * (filler if filler < 90 else 60 * filler)

    @classmethod
    def read(cls, topic: str, payload: bytes) -> Name:
        """Raises ValueError where the payload is not one of these, whole."""
        author, number, _ = payload.split(b" ", 2)
        name = cls(topic, author.decode(), int(number))
        if name.payload() != payload:
            raise ValueError(f"{topic}: {payload[:30]!r} is damaged")
        return name

    def __str__(self) -> str:
        return f"{self.topic} {self.number} of {self.author}"


@dataclass
class Sent:
    """A message, from its first PUBLISH on; a will from its CONNECT on."""

    qos: int
    at: int
    owed: bool = False
    """It was acknowledged (PUBACK, PUBREC); a will: its client was cut off."""
    clears: bool = False
    """It is empty, and to be retained: so nothing is."""


@dataclass
class Subscription:
    """One filter of one session."""

    topic_filter: str
    qos: int
    since: int = NEVER
    """When SUBACK came."""
    leaving: int = NEVER
    """When UNSUBSCRIBE was sent."""
    left: int = NEVER
    """When UNSUBACK came."""


@dataclass
class Reception:
    """A message that a subscriber took over: at QoS 2, as often as the specification counts it."""

    topic: str
    payload: bytes
    qos: int

    def name(self) -> Name:
        """Raises ValueError as `Name.read`."""
        return Name.read(self.topic, self.payload)


@dataclass
class Reader:
    """A persistent session that subscribes; its filters do not overlap."""

    subscriptions: list[Subscription] = field(default_factory=list)
    receptions: list[Reception] = field(default_factory=list)

    def routes(self, topics: set[str]) -> dict[str, Subscription]:
        """What brings it each of the topics that it gets."""
        return {topic: one for topic in topics for one in self.subscriptions if matches(one.topic_filter, topic)}


class History:
    """All that happened, as the clients saw it."""

    def __init__(self) -> None:
        self.sent: dict[Name, Sent] = {}
        self.readers: dict[str, Reader] = {}
        self.faults: list[str] = []
        """What a client saw at once: a session that was gone, a refusal."""
        self._clock = itertools.count()

    def now(self) -> int:
        return next(self._clock)

    def judge(self) -> list[str]:
        """One line a fault; none when every promise was kept."""
        return [*self.faults, *itertools.chain.from_iterable(map(self._judge_reader, self.readers))]

    def owed(self, reader: Reader) -> Iterator[Name]:
        """What has to reach it: acknowledged, and sent while it was subscribed."""
        routes = reader.routes(self._topics())
        for name, sent in self.sent.items():
            subscription = routes.get(name.topic)
            if subscription and sent.owed and NEVER < subscription.since < sent.at and subscription.leaving == NEVER:
                yield name

    def retained_owed(self, topics: list[str]) -> set[str]:
        """The topics that must have a retained message now."""
        return {topic for topic in topics if not any(sent.clears for _, sent in self._may_be_retained(topic))}

    def retained_faults(self, topics: list[str], found: dict[str, bytes]) -> list[str]:
        """Hold what a new subscriber was given against what was sent.

        It has to be the last acknowledged message or a later one; nothing, if one of these clears the topic.
        """
        faults = [f"{topic}: its retained message is lost" for topic in self.retained_owed(topics) - found.keys()]
        for topic, payload in found.items():
            may_be = [name.payload() for name, sent in self._may_be_retained(topic) if name and not sent.clears]
            if payload not in may_be:
                faults.append(f"{topic}: {payload[:30]!r} is retained, not one of {[one[:30] for one in may_be]}")
        return faults

    def _may_be_retained(self, topic: str) -> list[tuple[Name | None, Sent]]:
        """The last acknowledged message and the later ones; without one, nothing may be retained either."""
        messages: list[tuple[Name | None, Sent]] = [(None, Sent(1, NEVER, clears=True))]
        for name, sent in self.sent.items():
            if name.topic == topic:
                messages = [*([] if sent.owed else messages), (name, sent)]
        return messages

    def _topics(self) -> set[str]:
        return {name.topic for name in self.sent}

    def _judge_reader(self, session: str) -> Iterator[str]:
        reader = self.readers[session]
        routes = reader.routes(self._topics())
        received: Counter[Name] = Counter()
        last: dict[tuple[str, str], int] = {}
        for reception in reader.receptions:
            try:
                name = reception.name()
                sent = self.sent[name]
            except (ValueError, KeyError) as error:
                yield f"{session} got what nobody sent: {error}"
                continue
            subscription = routes.get(name.topic)
            if subscription is None or NEVER < subscription.left < sent.at:
                yield f"{session} got {name} without a subscription"
                continue
            qos = min(sent.qos, subscription.qos)
            if reception.qos != qos:
                yield f"{session} got {name} at QoS {reception.qos} instead of {qos}"
            received[name] += 1
            if received[name] == 2 and qos == 2:
                yield f"{session} got {name} twice at QoS 2"
            stream = name.topic, name.author
            if received[name] == 1:
                if name.number < last.get(stream, 0):
                    yield f"{session} got {name} after {last[stream]}"
                last[stream] = max(name.number, last.get(stream, 0))
        for name in self.owed(reader):
            if not received[name]:
                yield f"{session} never got {name}, which was acknowledged"


def matches(topic_filter: str, topic: str) -> bool:
    """Sections 4.7.1.2 and 4.7.1.3, without shared subscriptions and `$` topics."""
    levels = topic.split("/")
    wanted = topic_filter.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(one in ("+", level) for one, level in zip(wanted, levels, strict=True))
