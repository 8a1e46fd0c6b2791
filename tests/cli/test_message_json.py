"""Is the JSON of a message JSON, whatever the message, and is nothing of it lost?"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.messages import message
from tidewire.cli.decoders import decoder
from tidewire.cli.message_json import MessageJSON, pretty_json
from tidewire.engine.received import Message
from tidewire.wire import properties as p
from tidewire.wire.properties import Properties

NOW_NS = 1_588_799_520_000_012_345


def as_json(pretty: bool = False, decode: str | None = None, identifier: int | None = None) -> MessageJSON:
    return MessageJSON(pretty, identifier, decoder(decode) if decode else None, pytest.fail)


def line(of: Message, decode: str | None = None) -> Any:
    return json.loads(as_json(decode=decode).line(of, NOW_NS))


def test_a_line_has_the_fields_of_mosquitto_s_json() -> None:
    read = line(message("a/b", b"hello", qos=1, retain=True, identifier=9))
    assert read.pop("tst").startswith("2020-05-0")
    assert read == {"topic": "a/b", "qos": 1, "retain": 1, "payloadlen": 5, "mid": 9, "payload": "hello"}


def test_properties_stand_under_their_names() -> None:
    properties = Properties()
    properties.integers = {p.PAYLOAD_FORMAT_INDICATOR: 1, p.MESSAGE_EXPIRY_INTERVAL: 60}
    properties.texts = {p.CONTENT_TYPE: "text/plain", p.RESPONSE_TOPIC: "re/ply"}
    properties.binaries = {p.CORRELATION_DATA: b"c"}
    properties.user_properties = [("a", "1"), ("b", "2"), ("a", "3")]
    properties.subscription_identifiers = [123_456]  # the client's own, which nobody asked for
    encoded = as_json(identifier=7).line(message(properties=properties), NOW_NS)
    assert json.loads(encoded)["properties"] == {
        "payload-format-indicator": 1,
        "message-expiry-interval": 60,
        "content-type": "text/plain",
        "response-topic": "re/ply",
        "correlation-data": "c",
        "subscription-identifier": 7,
        "user-properties": {"a": ["1", "3"], "b": "2"},
    }


def test_correlation_data_that_is_no_text_is_kept_in_base64() -> None:
    properties = Properties()
    properties.binaries = {p.CORRELATION_DATA: b"\xff"}
    assert line(message(properties=properties))["properties"] == {"correlation-data-base64": "/w=="}


@given(st.binary(max_size=40))
def test_no_payload_is_lost_in_a_line(payload: bytes) -> None:
    encoded = as_json().line(message(payload=payload), NOW_NS)
    assert b"\n" not in encoded
    read = json.loads(encoded)
    kept = base64.b64decode(read["payload_base64"]) if "payload_base64" in read else (read["payload"] or "").encode()
    assert kept == payload


@given(st.binary(max_size=40))
def test_the_escaped_form_is_json_for_every_payload(payload: bytes) -> None:
    read = json.loads(as_json().escaped(message(payload=payload), NOW_NS))
    assert read["payload"] == (payload.decode(errors="replace") or None)


def test_a_json_payload_is_embedded_with_its_numbers_and_names_as_they_are_spelled() -> None:
    payload = b' { "a" : 27.0, "b": [1e3, 12345678901234567890], "a": null } '
    encoded = as_json().embedded(message(payload=payload), NOW_NS)
    assert encoded.endswith(b'"payload":{"a":27.0,"b":[1e3,12345678901234567890],"a":null}}')


@pytest.mark.parametrize("payload", [b"{", b"NaN", b'"\xff"', b"1 2", b"'x'"])
def test_a_payload_that_is_no_json_is_complained_of_and_not_printed(payload: bytes) -> None:
    said: list[str] = []
    assert MessageJSON(False, None, None, said.append).embedded(message("a/b", payload), NOW_NS) == b""
    assert said == ["the payload is not valid JSON on topic a/b"]


def test_a_decoder_s_value_is_the_payload_of_a_line() -> None:
    assert line(message(payload=b'{"feet": 100}'), "json")["payload"] == {"feet": 100}
    assert line(message(payload=b"\x81\xa4feet\x64"), "msgpack")["payload"] == {"feet": 100}


def test_a_payload_that_cannot_be_decoded_is_kept_and_the_reason_told() -> None:
    read = line(message(payload=b"\xc1"), "msgpack")
    assert read["payload_base64"] == "wQ=="
    assert read["decode_error"].startswith("not MessagePack: ")


def test_pretty_json_is_laid_out_as_mosquitto_does() -> None:
    compact = '{"a":27.0,"l":[1,{"x":"é/"},[]],"e":{},"t":true,"q":"\\"\\n"}'.encode()
    assert pretty_json(compact).decode().split("\n") == [
        "{",
        '\t"a":\t27.0,',
        '\t"l":\t[1, {',
        '\t\t\t"x":\t"é/"',
        "\t\t}, []],",
        '\t"e":\t{',
        "\t},",
        '\t"t":\ttrue,',
        '\t"q":\t"\\"\\n"',
        "}",
    ]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_pretty_json_says_the_same(value: Any) -> None:
    assert json.loads(pretty_json(json.dumps(value).encode())) == value
