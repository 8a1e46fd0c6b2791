"""How does a person read an advice? The change, what it saves, and the arithmetic line by line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tidewire.overhead.advice import LEAST_SHARE, Advice, ClientAdvice, Term, duration
from tidewire.overhead.costs import LAYERS
from tidewire.overhead.habits import Messages
from tidewire.overhead.schedule import MONTH_S, RADIO_SLEEPS_AFTER_S
from tidewire.overhead.tables import LAYER_NAMES, grouped

ASSUMPTIONS: Final = (
    "each change is reckoned by itself: two of them together save less than their sum",
    "a month has 30 days, and goes on as the time that was metered; a client that came in the midst of its first day "
    "will cost more than that",
    f"the radio wakes for each message or ping that comes more than {RADIO_SLEEPS_AFTER_S:g} s after the last",
    "payloads and topics are those of the mean message; messages come apart from each other, as in the exchanges, "
    "unless the meter has clearly fewer bytes of a layer than that takes",
)

_NAMES: Final = LAYER_NAMES | {"protocol": "MQTT"}


def text(told: ClientAdvice) -> str:
    """All that is said to one client."""
    return "\n".join([*_head(told), *(line for advice in told.advice for line in _advice(told, advice))])


def _head(told: ClientAdvice) -> Iterator[str]:
    client = told.habits
    user = f", user {told.user}" if told.user is not None else ""
    version = client.version if client.is_version_known else f"{client.version} (no CONNACK was metered that says so)"
    yield f"{told.client}{user}: MQTT {version}, {_NAMED[client.transport]}"
    yield (
        f"  {told.period}: {grouped(told.bytes)} B in {duration(told.observed_s)}, "
        f"which is {grouped(told.month_bytes)} B a month"
    )
    for verb, messages in (("published", client.published), ("was sent", client.delivered)):
        if messages.count:
            yield f"  it {verb} {_messages(messages)}"
    yield f"  and connected {grouped(client.connects)} ×, pinged {grouped(client.pings)} ×"
    yield f"  by the exchanges all that comes to {told.explained:.1%} of what was metered"
    for name, share in told.shared.items():
        why = (
            "as packets shared it; of that the least is saved"
            if share
            else "as on a Unix socket; nothing of it is saved"
        )
        yield f"  {_NAMES[name]}: {share:.1%} of what they say, {why}"
    if not told.advice:
        yield f"  There is nothing to save: no change would bring {LEAST_SHARE:.0%} of its bytes."


def _messages(messages: Messages) -> str:
    counts = [f"{grouped(count)} at QoS {qos}" for qos, count in enumerate(messages.by_qos) if count]
    return f"{', '.join(counts)}: payload {grouped(messages.payload_bytes)} B, topic about {messages.topic_bytes} B"


def _advice(told: ClientAdvice, advice: Advice) -> Iterator[str]:
    month = advice.month
    counts = [(month.bytes, "B"), (month.packets, "packets")]
    counts += [(month.wake_ups, "wake-ups")] if month.wake_ups is not None else []
    money = "" if advice.money is None else f", {advice.money:.2f} in money"
    yield ""
    yield f"  {advice.change}"
    yield f"    saves {advice.share:.1%}; a month has {', '.join(_less(*each) for each in counts)}{money}"
    yield f"    but {advice.condition}"
    yield from (f"    {word}{line}" for word, line in _terms("now   ", advice.now))
    yield from (f"    {word}{line}" for word, line in _terms("then  ", advice.then))
    yield from _difference(told, advice)


def _terms(word: str, terms: list[Term]) -> Iterator[tuple[str, str]]:
    for term in terms:
        layers = ", ".join(f"{_NAMES[name]} {getattr(term.each, name)}" for name in LAYERS if getattr(term.each, name))
        total = term.each.total
        yield word, f"{grouped(term.count)} × {total} B = {grouped(term.count * total)} B  ({term.what}: {layers})"
        word = " " * len(word)
    if not terms:
        yield word, "0 B"


def _difference(told: ClientAdvice, advice: Advice) -> Iterator[str]:
    parts = []
    for name in LAYERS:
        if amount := getattr(advice.less, name):
            share = told.shared.get(name)
            how = "" if share is None else f", of which there is {share:.1%} now"
            parts.append(f"{grouped(amount)} ({_NAMES[name]}{how})")
    count = grouped(advice.metered.bytes)
    yield f"    less  {' + '.join(parts)} = {count} B"
    days, month_days = told.observed_s / 86_400, MONTH_S // 86_400
    yield f"    month {count} B × {month_days} d / {days:.3f} d = {grouped(advice.month.bytes)} B"


def _less(amount: int, what: str) -> str:
    if not amount:
        return f"as many {what}"
    return f"{grouped(abs(amount))} {what} {'less' if amount > 0 else 'more'}"


_NAMED: Final = {"tcp": "TCP", "tls": "TLS", "ws": "WebSocket", "wss": "WSS"}
