"""What does `-F FORMAT` print of a message? mosquitto_sub's escapes: % for the message, @ for the time, \\ for bytes.

The manual page of mosquitto_sub, "Output format", is the specification; docs/cli.md names what differs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tidewire.wire import properties as p

if TYPE_CHECKING:
    from tidewire.cli.message_json import MessageJSON
    from tidewire.engine.received import Message

Part = Callable[["Message", int], bytes]
"""From a message and the time it came, in ns since 1970, to what is printed."""

ESCAPES: Final = {
    "\\": b"\\",
    "0": b"\0",
    "a": b"\a",
    "e": b"\x1b",
    "n": b"\n",
    "r": b"\r",
    "t": b"\t",
    "v": b"\v",
}
_PIECE: Final = re.compile(
    r"%(?P<left>-?)(?P<zero>0?)(?P<width>\d*)(?:\.(?P<most>\d*))?(?P<letter>.?)"
    r"|@(?P<time>.?)|\\(?P<escape>.?)|(?P<text>[^%@\\]+)",
    re.DOTALL,
)


class FormatError(ValueError):
    """A format cannot be understood; the text says where."""


def compile_format(text: str, json: MessageJSON, payload_of: Callable[[Message], bytes]) -> Part:
    """What prints a message in this format. Raises FormatError."""
    parts = [_part(match, json, payload_of) for match in _PIECE.finditer(text)]

    def print_message(message: Message, now_ns: int) -> bytes:
        return b"".join([part(message, now_ns) for part in parts])

    return print_message


def _part(match: re.Match[str], json: MessageJSON, payload_of: Callable[[Message], bytes]) -> Part:
    if match["text"] is not None:
        return _always(match["text"].encode(errors="surrogateescape"))
    if match["escape"] is not None:
        if match["escape"] not in ESCAPES:
            known = ", ".join(f"\\{letter}" for letter in ESCAPES)
            raise FormatError(f"{match[0]!r} is no escape; there are {known}")
        return _always(ESCAPES[match["escape"]])
    if match["time"] is not None:
        return _time(match["time"])
    return _Field(match).part(match["letter"], json, payload_of)


def _always(text: bytes) -> Part:
    return lambda message, now_ns: text


def _time(letter: str) -> Part:
    if not letter:
        raise FormatError("'@' at the end; write @@ for a literal @")
    if letter == "@":
        return _always(b"@")
    if letter == "N":
        return lambda message, now_ns: b"%09d" % (now_ns % 1_000_000_000)
    return lambda message, now_ns: local_time("%" + letter, now_ns).encode(errors="surrogateescape")


def local_time(form: str, now_ns: int) -> str:
    """strftime of a time in ns since 1970, in this machine's zone."""
    return time.strftime(form, time.localtime(now_ns // 1_000_000_000))


class _Field:
    """The part between % and the letter: alignment, padding, width and the longest length."""

    def __init__(self, match: re.Match[str]) -> None:
        self.written = match[0]
        self.left = bool(match["left"])
        self.pad = b"0" if match["zero"] and not self.left else b" "
        self.width = int(match["width"] or 0)
        self.most = None if match["most"] is None else int(match["most"] or 0)

    def part(self, letter: str, json: MessageJSON, payload_of: Callable[[Message], bytes]) -> Part:
        """What prints the field of this letter. Raises FormatError."""
        integers = {"A": p.TOPIC_ALIAS, "E": p.MESSAGE_EXPIRY_INTERVAL, "F": p.PAYLOAD_FORMAT_INDICATOR}
        if letter in integers:
            identifier = integers[letter]
            return lambda message, now_ns: self._number(message.properties.integers.get(identifier))
        parts: dict[str, Part] = {
            "%": _always(b"%"),
            "C": lambda message, now_ns: self._text(message.content_type or ""),
            "D": lambda message, now_ns: message.correlation_data or b"",
            "I": lambda message, now_ns: self._text(local_time("%Y-%m-%dT%H:%M:%S%z", now_ns)),
            "j": json.escaped,
            "J": json.embedded,
            "l": lambda message, now_ns: self._number(len(message.payload)),
            "m": lambda message, now_ns: self._number(message.packet_identifier),
            "P": lambda message, now_ns: " ".join(":".join(pair) for pair in message.user_properties).encode(),
            "p": lambda message, now_ns: self._payload(payload_of(message)),
            "q": lambda message, now_ns: b"%d" % message.qos,
            "R": lambda message, now_ns: self._text(message.response_topic) if message.response_topic else b"",
            "r": lambda message, now_ns: b"1" if message.retain else b"0",
            "S": lambda message, now_ns: self._number(json.subscription_identifier),
            "t": lambda message, now_ns: self._text(message.topic),
            "U": lambda message, now_ns: b"%d.%09d" % divmod(now_ns, 1_000_000_000),
            "X": lambda message, now_ns: self._payload(message.payload.hex().upper().encode(), pair=2),
            "x": lambda message, now_ns: self._payload(message.payload.hex().encode(), pair=2),
        }
        if letter not in parts:
            known = " ".join(sorted((*parts, *integers), key=str.lower))
            raise FormatError(f"{self.written!r} is no field; after % may stand one of {known}")
        return parts[letter]

    def _number(self, value: int | None) -> bytes:
        if value is None:
            return self.pad * self.width
        return self._aligned(b"%d" % value, self.pad)

    def _text(self, text: str) -> bytes:
        return self._aligned(text.encode()[: self.most], b" ")

    def _payload(self, payload: bytes, pair: int = 1) -> bytes:
        """Of a payload the width is the longest length as well; a byte's two digits stay together."""
        if self.width and len(payload) > self.width:
            payload = payload[: self.width - self.width % pair]
        return self._aligned(payload, self.pad)

    def _aligned(self, text: bytes, pad: bytes) -> bytes:
        return text.ljust(self.width) if self.left else text.rjust(self.width, pad)
