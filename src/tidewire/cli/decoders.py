"""What does a payload say? JSON, CBOR and MessagePack, each as one line of JSON."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from io import BytesIO
from typing import Any, Final

import msgspec

Decoder = Callable[[bytes], bytes]

NAMES: Final = ("json", "cbor", "msgpack")


class DecodeError(ValueError):
    """A payload is not what it was said to be."""


class DecoderMissing(Exception):
    """A package is not installed; the text is one line with the mend."""


def decoder(name: str) -> Decoder:
    """The decoder of that name: payload to JSON, raising DecodeError. Raises DecoderMissing."""
    return {"json": compact_json, "cbor": _cbor, "msgpack": _msgpack}[name]()


def compact_json() -> Decoder:
    """JSON without its white space; names, numbers and strings stay as they are spelled."""
    check: msgspec.json.Decoder[Any] = msgspec.json.Decoder()

    def decode(payload: bytes) -> bytes:
        try:
            check.decode(payload)
            return msgspec.json.format(payload, indent=-1)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"not JSON: {error}") from None

    return decode


def _msgpack() -> Decoder:
    decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder()

    def decode(payload: bytes) -> bytes:
        try:
            value = decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
            raise DecodeError(f"not MessagePack: {error}") from None
        return _as_json(value)

    return decode


def _refused(tag: int, _value: Any, _immutable: bool) -> Any:
    raise ValueError(f"tag {tag} is not followed")


_REFUSED_TAGS: Final = {tag: partial(_refused, tag) for tag in (28, 29, 35)}
"""Shared values, by which a few bytes can mean gigabytes, and regular expressions, which take as long as they like."""


def _cbor() -> Decoder:
    try:
        cbor2 = import_module("cbor2")
    except ImportError:
        raise DecoderMissing("--decode cbor needs cbor2: pip install 'tidewire[cbor]'") from None

    def decode(payload: bytes) -> bytes:
        stream = BytesIO(payload)
        try:
            value = cbor2.CBORDecoder(stream, semantic_decoders=_REFUSED_TAGS).decode()
        except Exception as error:  # some tags are read by other packages, which raise their own
            raise DecodeError(f"not CBOR: {error or type(error).__name__}") from None
        if stream.read(1):
            raise DecodeError("not CBOR: something follows the first value")
        return _as_json(None if value is cbor2.undefined else value)

    return decode


def _as_json(value: Any) -> bytes:
    """Bytes become Base64, and what JSON has no form for becomes text."""
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DecodeError(f"no JSON can hold it: {error}") from None
