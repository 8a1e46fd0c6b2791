"""What does a payload say to a person? Decoded by the decoder that was chosen, or that it looks like, line by line."""

from __future__ import annotations

import base64
import math
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any, Final

import msgspec

from tidewire.console.cbor import Tagged, decode_cbor, plain
from tidewire.console.topics.sparkplug import decode_sparkplug

LINES: Final = 400
"""Of one payload: more is not read on a page, and a browser would slow down."""

LINE_CHARACTERS: Final = 1_000
"""Of one line."""

NESTED: Final = 32
"""Levels that are shown."""

KEY_LINES: Final = 10
"""Of a map or a list that is a key, written in one line."""

NUMBERS: Final = 200
"""Numeric fields of one payload that a chart can be made of."""

HEX_BYTES: Final = 4_096
"""Shown in hexadecimal."""

PREVIEW_CHARACTERS: Final = 120
"""Of a payload in one line of a list."""

GUESSED: Final = "guess"
DECODERS: Final = {
    GUESSED: "As it looks",
    "json": "JSON",
    "cbor": "CBOR",
    "msgpack": "MessagePack",
    "sparkplug": "Sparkplug B",
    "text": "Text",
    "hex": "Hex",
    "image": "Image",
}
"""Name → what a person calls it."""

_IMAGES: Final = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/svg+xml": (b"<svg", b"<?xml"),
}
"""Content type → how such a file begins; WebP has its own look in `_image_type`."""

_HEX_ROW: Final = 16

_Utf8: Final = getincrementaldecoder("utf-8")


class NotDecoded(ValueError):
    """A payload is not what it was taken for; the text says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a payload."""

    indent: int
    label: str
    """Before the value, as it is written: `"speed": `."""
    value: str
    kind: str = "text"
    """"text", "string", "number", "word" (true, false, null) or "mark" (brackets)."""
    path: str = ""
    """Of a numeric field, as in `motors[2].speed`; empty for others."""
    tail: str = ""
    """After the value: a comma."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A payload as it is shown."""

    decoder: str
    lines: list[Line] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    """Path → value of the numeric fields; true is 1."""
    image: str = ""
    """A data URL, only ever for the `src` of an `img`, where nothing in it runs."""
    note: str = ""
    """What is missing, in a sentence."""


def show(payload: bytes, decoder: str = GUESSED, *, size: int = -1, content_type: str = "", topic: str = "") -> Shown:
    """A payload by this decoder, in hexadecimal where that fails.

    `size` is what it had before it was cut; `content_type` and `topic` help to guess."""
    cut = size > len(payload)
    name = _guess(payload, cut, content_type.lower(), topic) if decoder == GUESSED else decoder
    note = f"Only the first {len(payload)} of {size} bytes are kept." if cut else ""
    try:
        if name == "image":
            return Shown(name, image=_image(payload, cut), note=note)
        if name == "text":
            text = payload.decode(errors="replace")
            return _bounded(name, (Line(0, "", line) for line in text.splitlines()), note)
        if name in _STRUCTURED:
            return _outlined(name, _STRUCTURED[name](payload), note)
    except NotDecoded as error:
        note = f"Not {DECODERS[name]}: {error}. {note}".strip()
    return _bounded("hex", _hex(payload), note)


def numbers(payload: bytes, decoder: str) -> dict[str, float]:
    """Path → value of the numeric fields, by a decoder that is not guessed; none where it does not fit."""
    try:
        return dict(_numbers(_STRUCTURED[decoder](payload))) if decoder in _STRUCTURED else {}
    except NotDecoded:
        return {}


def preview(payload: bytes, size: int, topic: str = "") -> str:
    """One line of it: its text, what a short one says that is CBOR or the like, or its first bytes."""
    begin = payload[: PREVIEW_CHARACTERS * 4]
    text = _text_of(begin, size > len(begin))
    if text is None:
        if image := _image_type(payload):
            return image
        text = _one_line(payload, topic) if size == len(begin) else ""
        if not text:
            return f"{begin[:16].hex(' ')}{' …' if size > 16 else ''}"
    line = " ".join(text[: PREVIEW_CHARACTERS * 2].split())
    return line if len(line) <= PREVIEW_CHARACTERS and size <= len(begin) else line[:PREVIEW_CHARACTERS] + " …"


def _one_line(payload: bytes, topic: str) -> str:
    name = _guess(payload, False, "", topic)
    if name == "hex":
        return ""
    return " ".join(f"{line.label}{line.value}{line.tail}" for line in show(payload, name).lines)


# -- decoders: each takes bytes, gives plain values and raises NotDecoded

_json_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)
_msgpack_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
    ext_hook=lambda code, data: Tagged(code, bytes(data))
)


def _json(payload: bytes) -> Any:
    try:
        return _json_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
        raise NotDecoded(_told(error)) from None


def _msgpack(payload: bytes) -> Any:
    try:
        return _msgpack_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
        raise NotDecoded(_told(error)) from None


def _cbor(payload: bytes) -> Any:
    try:
        return decode_cbor(payload)
    except ValueError as error:
        raise NotDecoded(_told(error)) from None


def _sparkplug(payload: bytes) -> Any:
    try:
        return decode_sparkplug(payload)
    except ValueError as error:
        raise NotDecoded(_told(error)) from None


def _told(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")[:200] or type(error).__name__


_STRUCTURED: Final[dict[str, Callable[[bytes], Any]]] = {
    "json": _json,
    "cbor": _cbor,
    "msgpack": _msgpack,
    "sparkplug": _sparkplug,
}


# -- which one it looks like


def _guess(payload: bytes, cut: bool, content_type: str, topic: str) -> str:
    if cut or not payload:
        return "hex" if _text_of(payload, cut) is None else "text"
    if _image_type(payload):
        return "image"
    told = next((name for name in _STRUCTURED if name in content_type), None)
    if told is not None and _fits(told, payload):
        return told
    if topic.startswith("spBv1.0/") and _fits("sparkplug", payload):
        return "sparkplug"
    if _text_of(payload, False) is not None:
        return "json" if _fits("json", payload) else "text"
    return next((name for name in _likely(payload) if _fits(name, payload)), "hex")


def _fits(name: str, payload: bytes) -> bool:
    try:
        _STRUCTURED[name](payload)
    except NotDecoded:
        return False
    return True


def _likely(payload: bytes) -> Iterator[str]:
    """By the first byte: what is no map or list of either is as likely noise."""
    first = payload[0]
    if 0x80 <= first <= 0x9F or 0xDC <= first <= 0xDF:
        yield "msgpack"
    if 0x80 <= first <= 0xBF or first == 0xD9:
        yield "cbor"


def _text_of(payload: bytes, cut: bool) -> str | None:
    """Of bytes that a person can read; the last character may be cut too."""
    try:
        text = _Utf8().decode(payload, final=not cut)
    except UnicodeDecodeError:
        return None
    return text if "".join(text.split()).isprintable() else None


def _image_type(payload: bytes) -> str:
    if payload.startswith(b"RIFF") and payload[8:12] == b"WEBP":
        return "image/webp"
    for content_type, beginnings in _IMAGES.items():
        if payload.startswith(beginnings):
            return content_type if content_type != "image/svg+xml" or b"<svg" in payload[:1000] else ""
    return ""


def _image(payload: bytes, cut: bool) -> str:
    content_type = _image_type(payload)
    if not content_type:
        raise NotDecoded("it begins like none of PNG, JPEG, GIF, WebP and SVG")
    if cut:
        raise NotDecoded("it is too long to be kept whole")
    return f"data:{content_type};base64,{base64.b64encode(payload).decode()}"


# -- as lines


def _bounded(decoder: str, lines: Iterator[Line], note: str, found: dict[str, float] | None = None) -> Shown:
    kept: list[Line] = []
    for line in lines:
        if len(kept) == LINES:
            note = f"{note} Only the first {LINES} lines are shown.".strip()
            break
        kept.append(line)
    return Shown(decoder, kept, found or {}, note=note)


def _outlined(decoder: str, value: Any, note: str) -> Shown:
    return _bounded(decoder, _outline(value, "", "", "", 0), note, dict(_numbers(value)))


def _outline(value: Any, label: str, path: str, tail: str, depth: int) -> Iterator[Line]:
    """As JSON, indented; what JSON has no form for as its text, and what is tagged as 1(…)."""
    while isinstance(value := plain(value), Tagged):
        label, tail, value = f"{label}{value.tag}(", f"){tail}", value.value
    marks = "{}" if isinstance(value, Mapping) else "[]" if isinstance(value, (list, tuple)) else ""
    if not marks:
        text, kind = _scalar(value)
        yield Line(depth, label, text, kind, (path or "value") if _number(value) is not None else "", tail)
    elif not value:
        yield Line(depth, label, marks, "mark", tail=tail)
    elif depth >= NESTED:
        yield Line(depth, label, f"{marks[0]} … {marks[1]}", "mark", tail=tail)
    else:
        yield Line(depth, label, marks[0], "mark")
        last = min(len(value), LINES) - 1
        for index, (name, its_path, each) in enumerate(_within(value, path)):
            its_label = f"{_quoted(name)}: " if marks == "{}" else ""
            yield from _outline(each, its_label, its_path, "," if index < last else "", depth + 1)
        yield Line(depth, "", marks[1], "mark", tail=tail)


def _numbers(value: Any) -> Iterator[tuple[str, float]]:
    """Path and value of the first numeric fields, in their order."""
    waiting: list[Iterator[tuple[str, str, Any]]] = [iter([("", "", value)])]
    left, visits = NUMBERS, LINES * 4
    while waiting and left and visits:
        found = next(waiting[-1], None)
        if found is None:
            waiting.pop()
            continue
        _, path, each = found
        while isinstance(each := plain(each), Tagged):
            each = each.value
        visits -= 1
        number = _number(each)
        if number is not None:
            left -= 1
            yield path or "value", number
        elif len(waiting) <= NESTED:
            waiting.append(_within(each, path))


def _within(value: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """What a map or a list at this path holds: the name of each in a map, its path, and itself."""
    if isinstance(value, Mapping):
        for key, each in islice(value.items(), LINES):
            name = _name(key)
            yield name, f"{path}.{name}" if path else name, each
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(islice(value, LINES)):
            yield "", f"{path}[{index}]", each


def _name(key: Any) -> str:
    """A key of a map; in CBOR that can be anything."""
    if isinstance(key, str):
        return _cut(key)
    lines = islice(_outline(key, "", "", "", 0), KEY_LINES)
    return _cut(" ".join(f"{line.label}{line.value}{line.tail}" for line in lines))


def _number(value: Any) -> float | None:
    if not isinstance(value, (int, float, Decimal)):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _scalar(value: Any) -> tuple[str, str]:
    """Text and kind."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value], "word"
    if isinstance(value, str):
        return _quoted(value), "string"
    if isinstance(value, (bytes, bytearray)):
        shown = bytes(value[: LINE_CHARACTERS // 4]).hex(" ")
        return f"h'{shown}{' …' if len(value) > LINE_CHARACTERS // 4 else ''}'", "string"
    if not isinstance(value, (int, float, Decimal, datetime)):
        return type(value).__name__, "text"  # the text of others may be any amount of work
    try:
        text = value.isoformat() if isinstance(value, datetime) else str(value)
    except ValueError:  # an integer of thousands of digits
        text = f"{type(value).__name__} that is too long to be written"
    return _cut(text), "text" if isinstance(value, datetime) else "number"


def _quoted(text: str) -> str:
    return msgspec.json.encode(_cut(text)).decode(errors="replace")


def _cut(text: str) -> str:
    return text if len(text) <= LINE_CHARACTERS else text[:LINE_CHARACTERS] + " …"


def _hex(payload: bytes) -> Iterator[Line]:
    """Offset, bytes and what of them is ASCII."""
    for start in range(0, min(len(payload), HEX_BYTES), _HEX_ROW):
        row = payload[start : start + _HEX_ROW]
        readable = "".join(chr(byte) if 0x20 <= byte < 0x7F else "·" for byte in row)
        yield Line(0, f"{start:04x}  ", f"{row.hex(' '):<{_HEX_ROW * 3}} {readable}")
    if len(payload) > HEX_BYTES:
        yield Line(0, "", f"… {len(payload) - HEX_BYTES} bytes more", "mark")
