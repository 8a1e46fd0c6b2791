"""What would a client save by another QoS, keep-alive, topic alias or by batches? Its meter, held against exchanges.

An advice is two lists of terms, so many times a stage of an exchange as it was measured, with the client's own payload
and topic in it: what it does now, and what it would do then. The difference is what it saves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from tidewire.overhead.costs import Direction, Exchange, Form, StageName
from tidewire.overhead.errors import MeasurementError
from tidewire.overhead.habits import Habits, Messages, around, habits
from tidewire.overhead.kernel import ETHERNET_MSS
from tidewire.overhead.mqtt import Message
from tidewire.overhead.schedule import MONTH_S, RADIO_SLEEPS_AFTER_S, Schedule
from tidewire.store.meter_rows import Metered

LEAST_SHARE: Final = 0.01
"""Of a client's bytes: what saves less is not worth a change, and lost among what the kernels choose."""

LARGEST_BATCH: Final = 10
"""Messages in one: more save little beside it, and make data wait."""

SHARED_BELOW: Final = 0.95
"""A layer that has a smaller share than this of what the exchanges say was shared by packets; else it is chance."""

LONGEST_KEEP_ALIVE_S: Final = 65_535
"""Two bytes (3.1.2.10)."""

Way = Literal["publish", "deliver"]


class Term(Struct, frozen=True):
    """So many times a stage."""

    count: int
    what: str
    each: Direction
    """Both ways."""


class Saving(Struct, frozen=True):
    """What is less; below 0, more."""

    bytes: int
    """Of all layers."""
    packets: int
    """Of MQTT."""
    wake_ups: int | None
    """Of the radio; None where it hardly sleeps now."""


class Advice(Struct, frozen=True):
    """One change, reckoned by itself."""

    change: str
    condition: str
    """What it takes, or costs."""
    now: list[Term]
    then: list[Term]
    less: Direction
    """What is saved of each layer, in the time that was metered."""
    metered: Saving
    """In the time that was metered …"""
    month: Saving
    """… and in 30 days."""
    share: float
    """Of all bytes of the client."""
    money: float | None
    """For the bytes, in 30 days."""


class ClientAdvice(Struct, frozen=True):
    """What can be said to one client. `--json` prints these fields."""

    client: str
    user: str | None
    period: str
    observed_s: float
    bytes: int
    """All that was metered."""
    month_bytes: int
    """The same in 30 days."""
    habits: Habits
    explained: float
    """What the exchanges come to for all that it did, as a share of what was metered."""
    shared: dict[str, float]
    """Layers with less than the exchanges say, as packets shared segments or records, and the share that they have.

    Savings there are the least: what is left would be shared no more."""
    advice: list[Advice]
    """What saves most first."""


def forms_for(client: Habits) -> list[Form]:
    """The exchanges that are needed to advise it."""
    return [Form(client.transport, client.version), Form(client.transport, "5.0", True)]


def advise(
    row: Metered, observed_s: float, message: Message, exchanges: Sequence[Exchange], price_per_mb: float | None = None
) -> ClientAdvice:
    """What would save at least `LEAST_SHARE` of what a client has cost in `observed_s` seconds.

    `exchanges` were performed with `message`. Raises MeasurementError where one of `forms_for` is missing."""
    client = habits(row)
    plain, aliased = (_Stages(form, message, exchanges) for form in forms_for(client))
    done = list(_done(client, plain))
    reckoned = _sum(done)
    metered = _layers(row)
    found = _Reckoning(row.total, observed_s, price_per_mb, _shared(metered, reckoned))
    changes = [
        *_other_qos(client, plain),
        *_longer_keep_alive(client, plain, observed_s),
        *_aliases(client, plain, aliased),
        *_batches(client, plain, observed_s),
        *_one_connection(client, plain, observed_s),
    ]
    is_asleep = observed_s > RADIO_SLEEPS_AFTER_S * max(1, client.published.count + client.delivered.count)
    advice = [found.advice(change, is_asleep) for change in changes]
    worthwhile = [each for each in advice if each.metered.bytes > 0 and each.share >= LEAST_SHARE]
    worthwhile.sort(key=lambda each: each.metered.bytes, reverse=True)
    return ClientAdvice(
        row.name,
        row.user,
        row.period,
        observed_s,
        row.total,
        found.in_a_month(row.total),
        client,
        reckoned.total / row.total if row.total else 0.0,
        found.shared,
        worthwhile,
    )


class _Change(Struct, frozen=True):
    change: str
    condition: str
    now: list[Term]
    then: list[Term]
    wake_ups: int = 0
    """Fewer."""


class _Stages:
    """The stages of one exchange, with a client's messages in place of those that were measured."""

    def __init__(self, form: Form, message: Message, exchanges: Sequence[Exchange]) -> None:
        found = [exchange for exchange in exchanges if exchange.form == form]
        if not found:
            command = f"tidewire overhead --only costs --transport {form.transport} --json"
            raise MeasurementError(f"there is no exchange of {form} to reckon with; measure it: {command}")
        self.keep_alive_s = message.keep_alive_s
        self._exchange = found[0]
        self._message = message

    def stage(self, name: StageName, qos: int | None = None) -> Direction:
        """As it was measured, both ways. Raises MeasurementError."""
        try:
            return self._exchange.stage(name, qos).traffic.both
        except KeyError:
            wanted = name if qos is None else f"{name} QoS {qos}"
            raise MeasurementError(
                f"the exchange of {self._exchange.form} has no {wanted}; measure all: leave out --qos"
            ) from None

    def rare(self, count: int, name: StageName) -> Term:
        return Term(count, name, self.stage(name))

    def messages(self, count: int, way: Way, qos: int, sample: Messages, batch: int = 1) -> Term:
        """So many messages as in `sample`, or batches of them."""
        form, measured = self._exchange.form, self._message
        payload = sample.payload_bytes * batch
        has_topic = not form.alias
        topics = (sample.topic_bytes, len(measured.topic.encode())) if has_topic else (0, 0)
        own = around(payload, topics[0], qos, form.version, alias=form.alias)
        theirs = around(measured.payload_bytes, topics[1], qos, form.version, alias=form.alias)
        both = self.stage(way, qos)
        each = replace(both, payload=payload, protocol=both.protocol + own - theirs)
        what = f"{way} QoS {qos}" + (", alias" if form.alias else "") + (f", {batch} in one" if batch > 1 else "")
        return Term(count, what, each)

    def greeting(self, count: int) -> Term:
        """CONNECT and CONNACK alone: what an alias changes of a connection."""
        both = self.stage("connect")
        return Term(count, "CONNECT and CONNACK", Direction(protocol=both.protocol))

    def naming(self, count: int, sample: Messages) -> Term:
        """The topic beside its alias, in the first message of a connection."""
        version = self._exchange.form.version
        payload = sample.payload_bytes
        longer = around(payload, sample.topic_bytes, 0, version, alias=True) - around(
            payload, 0, 0, version, alias=True
        )
        return Term(count, "topic beside the alias", Direction(protocol=longer))


class _Reckoning:
    """From changes to what they save."""

    def __init__(
        self, total_bytes: int, observed_s: float, price_per_mb: float | None, shared: dict[str, float]
    ) -> None:
        self.shared = shared
        self._total_bytes = total_bytes
        self._observed_s = observed_s
        self._price_per_mb = price_per_mb

    def in_a_month(self, amount: int) -> int:
        return round(amount * MONTH_S / self._observed_s)

    def advice(self, change: _Change, is_asleep: bool) -> Advice:
        now, then = _sum(change.now), _sum(change.then)
        less = replace(now - then, **{name: self._least(name, now, then) for name in self.shared})
        count = less.total
        wake_ups = change.wake_ups if is_asleep else None
        month = Saving(
            self.in_a_month(count),
            self.in_a_month(less.packets),
            None if wake_ups is None else self.in_a_month(wake_ups),
        )
        return Advice(
            change.change,
            change.condition,
            change.now,
            change.then,
            less,
            Saving(count, less.packets, wake_ups),
            month,
            count / self._total_bytes if self._total_bytes else 0.0,
            None if self._price_per_mb is None else month.bytes / 1e6 * self._price_per_mb,
        )

    def _least(self, name: str, now: Direction, then: Direction) -> int:
        """What is saved of a layer that packets share now, if then they did not."""
        before, after = int(getattr(now, name)), int(getattr(then, name))
        return min(before - after, max(0, round(before * self.shared[name]) - after))


# -- what a client has done


def _done(client: Habits, stages: _Stages) -> Iterator[Term]:
    """All of it that exchanges were performed of."""
    for way, messages in _ways(client):
        for qos, count in enumerate(messages.by_qos):
            if count:
                yield stages.messages(count, way, qos, messages)
    yield stages.rare(client.pings, "keep-alive")
    yield stages.rare(client.connects, "connect")
    yield stages.rare(client.connects, "disconnect")
    yield stages.rare(client.subscribes, "subscribe")


def _ways(client: Habits) -> list[tuple[Way, Messages]]:
    return [("publish", client.published), ("deliver", client.delivered)]


def _sum(terms: Iterable[Term]) -> Direction:
    total = Direction()
    for term in terms:
        total += Direction(*(getattr(term.each, name) * term.count for name in Direction.__struct_fields__))
    return total


def _layers(row: Metered) -> Direction:
    """What was metered, both ways."""
    flows = row.received, row.sent
    payload = sum(flow.payload for flow in flows)
    return Direction(
        payload,
        sum(flow.mqtt for flow in flows) - payload,
        *(sum(getattr(flow, name) for flow in flows) for name in ("websocket", "tls", "tcp_ip")),
    )


def _shared(metered: Direction, reckoned: Direction) -> dict[str, float]:
    """Of the layers below MQTT, those that the meter has clearly less of than the exchanges say."""
    shares = {
        name: getattr(metered, name) / getattr(reckoned, name)
        for name in ("websocket", "tls", "tcp_ip")
        if getattr(reckoned, name)
    }
    return {name: share for name, share in shares.items() if share < SHARED_BELOW}


# -- what it might do


def _other_qos(client: Habits, stages: _Stages) -> Iterator[_Change]:
    lost = {
        0: "a message may be lost with its connection, and comes once at most",
        1: "a message may come twice after a connection was lost",
    }
    for way, messages in _ways(client):
        for qos, count in enumerate(messages.by_qos):
            for less in range(qos) if count else ():
                verb = "publish" if way == "publish" else "subscribe"
                yield _Change(
                    f"{verb} at QoS {less} in place of {qos}",
                    lost[less],
                    [stages.messages(count, way, qos, messages)],
                    [stages.messages(count, way, less, messages)],
                )


def _longer_keep_alive(client: Habits, stages: _Stages, observed_s: float) -> Iterator[_Change]:
    """Where r pings stand between two messages, a keep-alive of twice the time leaves r/2 of them, or fewer."""
    if not client.pings:
        return
    idle = "the network between must keep a connection that is idle for so long, and a loss is noticed later"
    left = client.pings // 2
    now = [stages.rare(client.pings, "keep-alive")]
    about = observed_s / (client.pings + client.published.count)
    yield _Change(
        f"double the keep-alive, now about {duration(about)} if it was always connected",
        idle,
        now,
        [stages.rare(left, "keep-alive")],
        client.pings - left,
    )
    every_s = observed_s / max(1, client.published.count)
    if client.published.count and every_s < LONGEST_KEEP_ALIVE_S:
        yield _Change(
            f"a keep-alive longer than the {duration(every_s)} between its messages", idle, now, [], client.pings
        )


def _aliases(client: Habits, plain: _Stages, aliased: _Stages) -> Iterator[_Change]:
    upgrade = "" if client.version == "5.0" else "MQTT 5.0 and "
    for way, messages in _ways(client):
        if not messages.topic_bytes:
            continue
        used = [(qos, count) for qos, count in enumerate(messages.by_qos) if count]
        greetings = [stages.greeting(client.connects) for stages in (plain, aliased)]
        named = min(messages.count, max(1, client.connects))
        who = "publish with" if way == "publish" else "let the broker use"
        yield _Change(
            f"{who} {upgrade}a topic alias",
            f"reckoned with one topic in each connection, of {messages.topic_bytes} bytes: that is estimated, from the "
            "bytes of PUBLISH that are not payload, and has their properties in it",
            [*(plain.messages(count, way, qos, messages) for qos, count in used), greetings[0]],
            [
                *(aliased.messages(count, way, qos, messages) for qos, count in used),
                aliased.naming(named, messages),
                greetings[1],
            ],
        )


def _batches(client: Habits, stages: _Stages, observed_s: float) -> Iterator[_Change]:
    """As many as fit in one segment, so that there is no other to pay for."""
    messages = client.published
    if not messages.payload_bytes:
        return
    around_it = stages.messages(1, "publish", 0, messages).each.stream - messages.payload_bytes
    batch = min(LARGEST_BATCH, (ETHERNET_MSS - around_it) // messages.payload_bytes)
    used = [(qos, count) for qos, count in enumerate(messages.by_qos) if count >= batch]
    if batch < 2 or not used:
        return
    then = []
    for qos, count in used:
        whole, rest = divmod(count, batch)
        then.append(stages.messages(whole, "publish", qos, messages, batch))
        then += [stages.messages(1, "publish", qos, messages, rest)] if rest else []
    waits = duration(observed_s / messages.count * batch)
    yield _Change(
        f"publish {batch} payloads in one message",
        f"data wait up to {waits}, and the keep-alive must be longer than that",
        [stages.messages(count, "publish", qos, messages) for qos, count in used],
        then,
        sum(count for _, count in used) - sum(term.count for term in then),
    )


def _one_connection(client: Habits, stages: _Stages, observed_s: float) -> Iterator[_Change]:
    """With the keep-alive of the exchanges, all the time."""
    if client.connects < 2:
        return
    keep_alive_s = stages.keep_alive_s
    published = client.published.count
    every_s = min(observed_s / published, MONTH_S) if published else MONTH_S
    pings = round(Schedule(every_s, keep_alive_s).pings * observed_s / MONTH_S)
    yield _Change(
        f"stay connected, with a keep-alive of {keep_alive_s} s",
        "the radio wakes for each ping as well; reckoned as if its messages came at even intervals",
        [*(stages.rare(client.connects, name) for name in _OF_A_CONNECTION), stages.rare(client.pings, "keep-alive")],
        [*(stages.rare(1, name) for name in _OF_A_CONNECTION), stages.rare(pings, "keep-alive")],
        max(client.connects, published) + client.pings - published - pings,
    )


_OF_A_CONNECTION: Final[tuple[StageName, ...]] = ("connect", "disconnect")


def duration(seconds: float) -> str:
    """About so long: 45 s, 5 min, 2.5 h."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length * 1.5:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
