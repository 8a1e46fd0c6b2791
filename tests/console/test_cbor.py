"""Do numbers, times and texts of CBOR come back as what they were, and does none cost more than its line?"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.console import cbor
from tidewire.console.cbor import EXPONENT, NUMBER_BYTES, decode_cbor, plain
from tidewire.console.payloads import LINE_CHARACTERS, LINES, numbers, preview, show

LARGEST = 256**NUMBER_BYTES
MINUTES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
DECIMALS = st.builds(
    lambda mantissa, exponent: Decimal(f"{mantissa}E{exponent}"),
    st.integers(-LARGEST, LARGEST - 1),
    st.integers(-EXPONENT, EXPONENT),
)


def tagged(tag: int, value: Any) -> bytes:
    return cbor2.dumps(cbor2.CBORTag(tag, value))


def text_of(payload: bytes) -> str:
    shown = show(payload, "cbor")
    assert shown.decoder == "cbor"
    return "".join(f"{line.label}{line.value}{line.tail}" for line in shown.lines)


@given(st.integers(-LARGEST, LARGEST - 1))
def test_an_integer_comes_back(number: int) -> None:
    assert int(text_of(cbor2.dumps(number))) == number


@given(DECIMALS | st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_comes_back_with_all_its_digits(number: Decimal) -> None:
    assert Decimal(text_of(cbor2.dumps(number))) == number


@given(st.datetimes(timezones=MINUTES))
def test_a_time_comes_back(time: datetime) -> None:
    assert datetime.fromisoformat(json.loads(text_of(cbor2.dumps(time)))) == time


@given(st.datetimes(datetime(1840, 1, 1), datetime(2100, 1, 1), timezones=MINUTES))
def test_a_time_in_seconds_comes_back(time: datetime) -> None:
    """In the years whose microseconds a double can tell apart."""
    payload = cbor2.dumps(time, datetime_as_timestamp=True)
    assert datetime.fromisoformat(text_of(payload)) == time


@given(st.integers(-(2**64), 2**64), st.integers(-EXPONENT, EXPONENT))
def test_a_bigfloat_is_the_nearest_double_or_stays_as_it_is(mantissa: int, exponent: int) -> None:
    payload = tagged(5, [exponent, mantissa])
    shown = numbers(payload, "cbor")
    try:
        nearest = float(mantissa * Fraction(2) ** exponent)
    except OverflowError:
        nearest = 0.0
    if nearest or not mantissa:
        assert shown == {"value": nearest}
        assert float(text_of(payload)) == nearest
    else:
        assert text_of(payload).startswith("5([")


@pytest.mark.parametrize(
    ("tag", "value", "text"),
    [
        (0, "2026-11-21T08:30:00.123456789Z", '"2026-11-21T08:30:00.123456789Z"'),
        (1, 0, "1970-01-01T00:00:00+00:00"),
        (1, -1.5, "1969-12-31T23:59:58.500000+00:00"),
        (2, b"", "0"),
        (3, b"", "-1"),
        (4, [-2, 27315], "273.15"),
        (4, [-20, cbor2.CBORTag(3, b"\x01" + bytes(8))], "-0.18446744073709551617"),
        (5, [-1, 3], "1.5"),
        (5, [-70, 2**70], "1.0"),
        (32, "mqtt://plant", '"mqtt://plant"'),
        (55799, [1, "a"], '[1,"a"]'),
        (55799, None, "null"),
        (55799, cbor2.CBORTag(55799, 2**70), str(2**70)),
        (9, cbor2.CBORTag(4, [1, 2]), "9(2E+1)"),
    ],
)
def test_a_tag_of_a_number_or_a_text_is_followed(tag: int, value: Any, text: str) -> None:
    assert text_of(tagged(tag, value)) == text


@pytest.mark.parametrize(
    ("tag", "value", "text"),
    [
        (0, 1, "0(1)"),
        (1, "now", '1("now")'),
        (1, True, "1(true)"),
        (1, math.inf, "1(inf)"),
        (1, math.nan, "1(nan)"),
        (1, 2**63, "1(9223372036854775808)"),
        (2, "text", '2("text")'),
        (2, cbor2.CBORTag(2, b"\x01"), "2(1)"),
        (4, [1], "4([1])"),
        (4, [True, 1], "4([true,1])"),
        (4, [1.0, 1], "4([1.0,1])"),
        (4, cbor2.CBORTag(9, 5), "4(9(5))"),
        (4, [1, cbor2.CBORTag(4, [1, 1])], "4([1,1E+1])"),
        (5, [0, "x"], '5([0,"x"])'),
        (32, [1], "32([1])"),
    ],
)
def test_a_tag_that_does_not_fit_is_shown(tag: int, value: Any, text: str) -> None:
    assert text_of(tagged(tag, value)) == text


def test_what_was_written_as_a_tag_can_be_charted() -> None:
    reading = {"count": 2**64, "level": Decimal("21.50"), "axes": [cbor2.CBORTag(5, [-2, 7])], "at": datetime.now(UTC)}
    assert numbers(cbor2.dumps(reading), "cbor") == {"count": 2.0**64, "level": 21.5, "axes[0]": 1.75}


def test_an_extension_of_message_pack_is_no_tag_of_cbor() -> None:
    assert "".join(line.label + line.value + line.tail for line in show(b"\xd4\x02\x07", "msgpack").lines) == "2(h'07')"


# -- what is made to hurt


@pytest.mark.parametrize("tag", [4, 5])
@pytest.mark.parametrize("exponent", [EXPONENT + 1, -EXPONENT - 1, 1_000_000, -1_000_000, 2**63, -(2**63), 2**80])
def test_an_exponent_beyond_its_bound_is_shown_and_not_worked_out(tag: int, exponent: int) -> None:
    payload = tagged(tag, [exponent, 3])
    assert text_of(payload) == f"{tag}([{exponent},3])"


@pytest.mark.parametrize("tag", [2, 3])
def test_an_integer_beyond_its_bound_is_shown_as_bytes(tag: int) -> None:
    for size in (NUMBER_BYTES + 1, 65_000):
        assert text_of(tagged(tag, b"\xff" * size)).startswith(f"{tag}(h'ff ff ")
        assert numbers(tagged(tag, b"\xff" * size), "cbor") == {}
    assert len(text_of(tagged(tag, b"\xff" * NUMBER_BYTES))) < LINE_CHARACTERS


def test_integers_that_have_one_hash_are_no_keys_of_one_map() -> None:
    """A map of them would take the square of their number."""
    modulus = 2**61 - 1
    pairs = b"".join(tagged(2, (2**64 + -(2**64) % modulus + n * modulus).to_bytes(9, "big")) + b"\0" for n in range(9))
    decoded = decode_cbor(b"\xa9" + pairs)
    assert {hash(plain(key)) for key in decoded} == {0}
    assert len({hash(key) for key in decoded}) == 9


def nested(head: bytes, tail: bytes = b"", levels: int = 30, core: bytes = b"\x01") -> bytes:
    return head * levels + core + tail * levels


def shared(head: bytes) -> bytes:
    """A list of a list and that list again, and so on."""
    payload = b"\x01"
    for number in range(20):
        payload = head + b"\xd8\x1c\x82" + payload + b"\xd8\x1d" + bytes([number])
    return payload


@pytest.mark.parametrize(
    "payload",
    [
        nested(b"\xd9\xd9\xf7"),
        nested(b"\xd9\xd9\xf7", levels=20_000),
        nested(b"\xc2"),
        nested(b"\xc4\x82\x01", levels=20),
        nested(b"\xc4\x82", b"\x01", levels=20),
        nested(b"\xc5\x82\xc4\x82\x01\x02", levels=15),
        nested(b"\xd9\xd9\xf7\xc4\x81", levels=15, core=b"\xc2\x59\xff\xff" + b"\xff" * 0xFFFF),
        b"\x99\x10\x00" + 0x1000 * (b"\xc4\x82\x19\x0f\xff\xc2\x41\xff"),
        b"\x98\xff" + 0xFF * (b"\xc2\x58\xff" + b"\xff" * 0xFF),
        shared(b""),
        shared(b"\xd9\xd9\xf7"),
        shared(b"\xc4"),
        b"\xa1" + shared(b"\xd9\xd9\xf7") + b"\x01",
    ],
    ids=range(13),
)
def test_a_tag_is_followed_a_few_times_at_most(payload: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    followed = 0

    def counted(follow: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def count(value: Any) -> Any:
            nonlocal followed
            followed += 1
            return follow(value)

        return count

    for tags in (cbor._PLAIN, cbor._BIGNUMS):
        for tag, follow in tags.items():
            monkeypatch.setitem(tags, tag, counted(follow))
    shown = show(payload, "cbor")
    assert 0 < len(shown.lines) <= LINES
    preview(payload, len(payload))
    numbers(payload, "cbor")
    assert followed <= min(4 * len(payload), 40 * LINES)
