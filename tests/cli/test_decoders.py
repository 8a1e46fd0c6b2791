"""Does a decoder say what a payload says, and refuse in words what it is not?"""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.cli.decoders import DecodeError, DecoderMissing, decoder

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, width=64) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def finite(value: Any) -> Any:
    """As JSON has it: no infinity."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    if isinstance(value, list):
        return [finite(item) for item in value]
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    return value


@given(VALUES)
def test_messagepack_is_told_as_json(value: Any) -> None:
    assert json.loads(decoder("msgpack")(msgspec.msgpack.encode(value))) == finite(value)


@given(VALUES)
def test_cbor_is_told_as_json(value: Any) -> None:
    cbor2 = pytest.importorskip("cbor2")
    assert json.loads(decoder("cbor")(cbor2.dumps(value))) == finite(value)


def test_json_loses_its_white_space_only() -> None:
    assert decoder("json")(b' {"b": 1.50, "a" : [ 1 ] }\n') == b'{"b":1.50,"a":[1]}'


def test_bytes_are_told_in_base64_and_map_keys_as_text() -> None:
    assert decoder("msgpack")(b"\xc4\x02\x00\xff") == b'"AP8="'
    assert decoder("msgpack")(b"\x81\x01\x02") == b'{"1":2}'
    assert decoder("msgpack")(b"\x81\x91\x01\x02") == b'{"(1,)":2}'


@pytest.mark.parametrize(
    ("name", "payload", "said"),
    [
        ("json", b"{", "not JSON: "),
        ("json", b"\xff", "not JSON: "),
        ("json", b"[" * 100_000, "not JSON: "),
        ("msgpack", b"\xc1", "not MessagePack: "),
        ("msgpack", b"\x01\x02", "not MessagePack: "),
        ("msgpack", b"\xa1\xff", "not MessagePack: "),
        ("msgpack", b"\x91" * 100_000, "not MessagePack: "),
    ],
)
def test_a_payload_of_another_kind_is_refused(name: str, payload: bytes, said: str) -> None:
    with pytest.raises(DecodeError, match=f"^{said}"):
        decoder(name)(payload)


@pytest.mark.parametrize("payload", [b"", b"\x18", b"\x01\x02", b"\xff", b"\x81" * 100_000])
def test_a_payload_that_is_not_cbor_is_refused(payload: bytes) -> None:
    pytest.importorskip("cbor2")
    with pytest.raises(DecodeError):
        decoder("cbor")(payload)


@pytest.mark.parametrize(("payload", "tag"), [(bytes.fromhex("d81c82d81d0001"), 28), (b"\xd8\x23\x63a+a", 35)])
def test_cbor_that_costs_more_than_it_weighs_is_refused(payload: bytes, tag: int) -> None:
    pytest.importorskip("cbor2")
    with pytest.raises(DecodeError, match=f"tag {tag} is not followed|not CBOR"):
        decoder("cbor")(payload)


def test_without_cbor2_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cbor2", None)
    with pytest.raises(DecoderMissing, match=r"pip install 'tidewire\[cbor\]'"):
        decoder("cbor")
