"""What does CBOR say [RFC 8949]? Nothing is made of its tags as it is read; `plain` follows those of numbers and texts.

It is read in the broker's process, and a peer has written it. Other tags have a regular expression compiled, or a list
hold itself. Integers can be chosen that have one hash, of which a map takes ages: so keys stay as they came, and a
number is worked out when a page has a line for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from importlib import import_module
from typing import Any, Final, NamedTuple

LEVELS: Final = 64
"""That are decoded: a map within the key of a map is hashed once for each level that it is in."""

NUMBER_BYTES: Final = 256
"""Of an integer: 617 digits, which go into a line."""

EXPONENT: Final = 4_096
"""Of 10 or 2, up or down: beyond every double, and still worked out in microseconds."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Tagged(NamedTuple):
    """A value with a number that says what it means, as in CBOR and MessagePack."""

    tag: int
    value: Any


class _PlainTagged(Tagged):
    """One of CBOR with a tag of `_PLAIN`."""


def decode_cbor(payload: bytes) -> Any:
    """Plain values, and Tagged. Raises ValueError."""
    try:
        cbor2 = import_module("cbor2")
    except ImportError:
        raise ValueError("cbor2 is not installed: pip install 'tidewire[cbor]'") from None
    try:
        return cbor2.loads(
            payload,
            semantic_decoders=_AS_THEY_CAME,
            tag_hook=lambda tagged, immutable: _tagged(tagged.tag, tagged.value, immutable),
            max_depth=LEVELS,
        )
    except Exception as error:  # of cbor2, of a key that cannot be one, or of a version that knows no such options
        raise ValueError(str(error) or type(error).__name__) from None


def plain(value: Any) -> Any:
    """The number, text or time that CBOR's tags make of a value; what they make no such thing of as it is."""
    while isinstance(value, _PlainTagged):
        try:
            value = _PLAIN[value.tag](value.value)
        except (ValueError, OverflowError):
            break
    return value


# -- tags (3.4): each takes what is tagged, and raises ValueError or OverflowError for what it does not fit


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def _time(value: Any) -> datetime:
    if type(value) not in (int, float):
        raise ValueError("no seconds")
    return _EPOCH + timedelta(seconds=value)


def _bignum(value: Any) -> int:
    if not isinstance(value, bytes) or len(value) > NUMBER_BYTES:
        raise ValueError("no bytes, or too many")
    return int.from_bytes(value, "big")


def _negative_bignum(value: Any) -> int:
    return -1 - _bignum(value)


def _decimal_fraction(value: Any) -> Decimal:
    exponent, mantissa = _parts(value)
    return Decimal(f"{mantissa}E{exponent}")


def _bigfloat(value: Any) -> float:
    """The double that is nearest."""
    exponent, mantissa = _parts(value)
    number = math.ldexp(mantissa, exponent)
    if mantissa and not number:
        raise OverflowError("too small")
    return number


def _parts(value: Any) -> tuple[int, int]:
    """Exponent and mantissa."""
    if not isinstance(value, (list, tuple)) or isinstance(value, Tagged) or len(value) != 2:
        raise ValueError("no pair")
    exponent, mantissa = value
    if isinstance(mantissa, _PlainTagged) and mantissa.tag in _BIGNUMS:
        mantissa = _BIGNUMS[mantissa.tag](mantissa.value)
    if type(exponent) is not int or abs(exponent) > EXPONENT or type(mantissa) is not int:
        raise ValueError("no integers, or too large ones")
    return exponent, mantissa


def _itself(value: Any) -> Any:
    return value


_BIGNUMS: Final[dict[int, Callable[[Any], int]]] = {2: _bignum, 3: _negative_bignum}
_PLAIN: Final[dict[int, Callable[[Any], Any]]] = {
    0: _text,  # a time as text
    1: _time,
    **_BIGNUMS,
    4: _decimal_fraction,
    5: _bigfloat,
    32: _text,  # a URI
    55799: _itself,  # it is CBOR
}


def _tagged(tag: int, value: Any, _immutable: bool) -> Tagged:
    return _PlainTagged(tag, value) if tag in _PLAIN else Tagged(tag, value)


_CBOR2_TAGS: Final = (*range(6), 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
"""What cbor2 would make something of."""

_AS_THEY_CAME: Final = {tag: partial(_tagged, tag) for tag in _CBOR2_TAGS}
