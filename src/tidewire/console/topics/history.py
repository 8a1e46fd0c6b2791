"""What were the last values of a topic, how do two of them differ, and how did a number go? Bounded in every way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from difflib import SequenceMatcher
from hashlib import sha256
from typing import Final

from tidewire.console.payloads import Line, numbers, show
from tidewire.server.admin_messages import kept_bytes
from tidewire.server.admin_types import TopicChanges, TopicSeen

VALUES: Final = 200
"""Of one topic: what a person scrolls through."""

VALUES_BYTES: Final = 1024 * 1024
"""Of their payloads and properties, together; the last one stays however long it is."""

POINTS: Final = 600
"""Of one line of a chart: about its width in pixels."""

CHARTED: Final = 4
"""Lines of one chart that can still be told apart."""

COMPARED_LINES: Final = 200
"""Of each of two payloads: what compares them takes the product of both."""

_UNCHANGED_AROUND: Final = 2
"""Lines that are the same, shown on either side of those that are not."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value that a topic had."""

    number: int
    """From 1, in the order they came."""
    seen: TopicSeen


class History:
    """The last values of one topic that were looked at; a sample, where more came between two looks."""

    def __init__(self) -> None:
        self.values: deque[Value] = deque()
        self.added = 0
        """Values in all, those that have gone included."""
        self.looked = 0
        """Messages that were looked at while this was kept, of …"""
        self.messages = 0
        """… all that came."""
        self._bytes = 0

    def add(self, seen: TopicSeen) -> Value:
        """The newest."""
        self.added += 1
        value = Value(self.added, seen)
        self.values.append(value)
        self._bytes += kept_bytes(seen)
        while len(self.values) > 1 and (len(self.values) > VALUES or self._bytes > VALUES_BYTES):
            self._bytes -= kept_bytes(self.values.popleft().seen)
        return value

    def take(self, changes: TopicChanges) -> list[Value]:
        """What a feed of this topic alone has brought."""
        self.messages = changes.messages
        added = [self.add(seen) for seen in changes.topics if not self._is_last(seen)]
        self.looked += len(added)
        return added

    def find(self, number: int) -> Value | None:
        """The value of that number, as long as it is kept."""
        index = number - self.values[0].number if self.values else -1
        return self.values[index] if 0 <= index < len(self.values) else None

    def _is_last(self, seen: TopicSeen) -> bool:
        """The feed begins with what is retained, which may be what was known already."""
        if not (seen.retain and self.values):
            return False
        last = self.values[-1].seen
        return last.payload == seen.payload or last.at > seen.at


class Chart:
    """Numeric fields of a topic over time."""

    def __init__(self) -> None:
        self.lines: dict[str, deque[tuple[float, float]]] = {}
        """Path → milliseconds since 1970, and number."""

    def toggle(self, path: str, history: History, decoder: str) -> bool:
        """Draw a field, or draw it no longer. False: there are too many already."""
        if path in self.lines:
            del self.lines[path]
            return True
        if len(self.lines) >= CHARTED:
            return False
        points = self.lines[path] = deque(maxlen=POINTS)
        for value in history.values:
            number = numbers(value.seen.payload, decoder).get(path)
            if number is not None:
                points.append((value.seen.at * 1000, number))
        return True

    def add(self, value: Value, decoder: str) -> bool:
        """A new value. Whether it changes anything."""
        if not self.lines:
            return False
        found = numbers(value.seen.payload, decoder)
        for path, points in self.lines.items():
            if path in found:
                points.append((value.seen.at * 1000, found[path]))
        return True


def difference(older: TopicSeen, newer: TopicSeen, decoder: str) -> list[tuple[str, str]]:
    """Lines of both as they are decoded: ("-", what is gone), ("+", what has come), (" ", what stays) or ("…", "")."""
    before, after = (_texts(seen, decoder) for seen in (older, newer))
    lines: list[tuple[str, str]] = []
    for group in SequenceMatcher(None, before, after).get_grouped_opcodes(_UNCHANGED_AROUND):
        if lines or group[0][1] > 0:
            lines.append(("…", ""))
        for tag, old_begin, old_end, new_begin, new_end in group:
            if tag == "equal":
                lines += [(" ", text) for text in before[old_begin:old_end]]
            else:
                lines += [("-", text) for text in before[old_begin:old_end]]
                lines += [("+", text) for text in after[new_begin:new_end]]
    return lines


def _texts(seen: TopicSeen, decoder: str) -> list[str]:
    shown = show(seen.payload, decoder, size=seen.payload_bytes)
    if shown.image:
        return [f"{seen.payload_bytes} bytes, of which the SHA-256 is {sha256(seen.payload).hexdigest()}"]
    return [_text(line) for line in shown.lines[:COMPARED_LINES]]


def _text(line: Line) -> str:
    return f"{'  ' * line.indent}{line.label}{line.value}{line.tail}"
