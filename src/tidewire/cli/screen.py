"""How does a person see a message? Text as text, bytes as a hex dump, colour where it helps; nothing that would command
the terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Final

from tidewire.cli.decoders import DecodeError, Decoder
from tidewire.cli.message_json import pretty_json

if TYPE_CHECKING:
    from tidewire.engine.received import Message

DUMP_BYTES: Final = 512
"""Bytes of a payload that a dump shows: a screen full."""

_ROW_BYTES: Final = 16


class Screen:
    """Shows messages on a terminal."""

    def __init__(self, with_topic: bool, decode: Decoder | None, colour: bool | None = None) -> None:
        """`colour` None: unless the environment has NO_COLOR or a terminal that has none."""
        if colour is None:
            colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._with_topic = with_topic
        self._decode = decode
        self._colour = colour

    def show(self, message: Message) -> bytes:
        """The lines of a message."""
        body, remark = self._body(message.payload)
        marks = [*(["retained"] if message.retain else []), *([f"QoS {message.qos}"] if message.qos else []), *remark]
        head = self._styled(printable(message.topic), "36") if self._with_topic else ""
        if marks and (self._with_topic or remark):
            head += self._styled(f" [{', '.join(marks)}]" if head else f"[{', '.join(marks)}]", "2")
        separator = "\n" if "\n" in body and head else " " if head else ""
        return f"{head}{separator}{body}\n".encode()

    def _body(self, payload: bytes) -> tuple[str, list[str]]:
        if not payload:
            return self._styled("(empty)", "2"), []
        remark: list[str] = []
        if self._decode is not None:
            try:
                return self._styled(pretty_json(self._decode(payload)).decode(), "32"), []
            except DecodeError as error:
                remark = [printable(str(error))]
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            text = "\0"
        if all(character.isprintable() or character in "\n\t" for character in text):
            return text, remark
        return self._styled(hex_dump(payload), "33"), remark

    def _styled(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


class Watch:
    """Shows the newest message of each topic on a line of its own: for a few topics with short payloads."""

    def __init__(self, printer: Callable[[Message], bytes], height: int | None = None) -> None:
        self._print = printer
        self._height = height or get_terminal_size().lines
        self._lines: dict[str, int] = {}

    def show(self, message: Message) -> bytes:
        """The message on the line of its topic; nothing of a topic for which there is no line left."""
        clear = b"" if self._lines else b"\x1b[2J"
        if message.topic not in self._lines:
            if len(self._lines) == self._height - 1:  # the last line is the shell's
                return b""
            self._lines[message.topic] = len(self._lines) + 1
        text = b" ".join(self._print(message).splitlines())
        return clear + b"\x1b[%d;1H%b\x1b[K\x1b[%d;1H" % (self._lines[message.topic], text, len(self._lines) + 1)


def printable(text: str) -> str:
    """Text without what a terminal would obey, each such character as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def hex_dump(payload: bytes) -> str:
    """Rows of 16 bytes with their offset and their characters; a short payload is one row without the offset."""
    rows = [payload[start : start + _ROW_BYTES] for start in range(0, min(len(payload), DUMP_BYTES), _ROW_BYTES)]
    if len(rows) == 1:
        return f"{rows[0].hex(' ')}  |{_characters(rows[0])}|"
    width = 3 * _ROW_BYTES - 1
    lines = [
        f"{index * _ROW_BYTES:08x}  {row.hex(' '):<{width}}  |{_characters(row)}|" for index, row in enumerate(rows)
    ]
    if len(payload) > DUMP_BYTES:
        lines.append(f"… {len(payload) - DUMP_BYTES} more bytes; -F %x prints all")
    return "\n".join(lines)


def _characters(row: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
