"""Is a payload shown as what it is, whatever a peer has sent? Is its history kept, compared and exported in bounds?"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import struct
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.console import payloads
from tidewire.console.payloads import DECODERS, LINE_CHARACTERS, LINES, Shown, numbers, preview, show
from tidewire.console.topics import export as topic_export
from tidewire.console.topics import history as topic_history
from tidewire.console.topics import sparkplug
from tidewire.console.topics.export import exported
from tidewire.console.topics.history import CHARTED, Chart, History, difference
from tidewire.console.topics.sparkplug import NotSparkplug, decode_sparkplug
from tidewire.server.admin_types import MessageProperties, TopicChanges, TopicSeen

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip

READING = {"speed": 12.5, "motors": [{"on": True, "rpm": 900}], "name": "pump"}


def text_of(shown: Shown) -> str:
    return "\n".join(f"{'  ' * line.indent}{line.label}{line.value}{line.tail}" for line in shown.lines)


def seen(payload: bytes = b"", topic: str = "a/b", at: float = 0.0, **others: Any) -> TopicSeen:
    known: dict[str, Any] = {
        "payload_bytes": len(payload),
        "retain": False,
        "properties": MessageProperties(),
        "messages": 1,
    }
    return TopicSeen(topic=topic, payload=payload, at=at, total_bytes=0, rate=0.0, **(known | others))


@pytest.mark.parametrize(
    ("payload", "decoder"),
    [
        (b'{"on": true}', "json"),
        (b"-21.5e3", "json"),
        (b"on", "text"),
        ("schön\t!\n".encode(), "text"),
        (b"", "text"),
        (cbor2.dumps(READING), "cbor"),
        (msgspec.msgpack.encode(READING), "msgpack"),
        (b"\x00\x01\x02", "hex"),
        (b"\xff\xfe", "hex"),
        (b"\x89PNG\r\n\x1a\n....", "image"),
        (b"\xff\xd8\xff\xe0", "image"),
        (b"GIF89a....", "image"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image"),
        (b"<?xml version='1.0'?><note/>", "text"),
    ],
)
def test_it_is_seen_what_a_payload_is(payload: bytes, decoder: str) -> None:
    assert show(payload).decoder == decoder


def test_the_content_type_and_the_topic_say_what_the_bytes_leave_open() -> None:
    payload = msgspec.msgpack.encode([1, 2])
    assert show(payload).decoder == "msgpack"
    assert show(cbor2.dumps([1, 2]), content_type="application/cbor").decoder == "cbor"
    assert show(b"\x18\x01", topic="spBv1.0/plant/NDATA/edge").decoder == "sparkplug"
    assert show(b'{"online":true}', topic="spBv1.0/STATE/host").decoder == "json"


@given(PLAIN)
def test_what_is_shown_of_json_is_the_same_json(value: Any) -> None:
    for payload, decoder in ((json.dumps(value).encode(), "json"), (cbor2.dumps(value), "cbor")):
        shown = show(payload, decoder)
        assert shown.decoder == decoder
        assert json.loads(text_of(shown)) == value


@given(st.binary(max_size=200), st.sampled_from(list(DECODERS)), st.integers(0, 300))
def test_nothing_that_a_peer_sends_is_too_much(payload: bytes, decoder: str, more: int) -> None:
    shown = show(payload, decoder, size=len(payload) + more)
    assert len(shown.lines) <= LINES
    assert "\n" not in preview(payload, len(payload) + more)
    numbers(payload, shown.decoder)


@pytest.mark.parametrize(
    ("payload", "decoder"),
    [
        (b"[" * 60_000, "json"),
        (b"[" * 500 + b"]" * 500, "json"),
        (b"[" + b"1," * 30_000 + b"1]", "json"),
        (b"\x91" * 60_000 + b"\x00", "msgpack"),
        (b"\x81" * 300 + b"\x00", "cbor"),
        (b"\xd8\x1c\x81\xd8\x1d\x00", "cbor"),  # a list that holds itself
        (b"\xc2\x59\x20\x00" + b"\xff" * 0x2000, "cbor"),  # a number of twenty thousand digits
        (b"\xc4\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01", "cbor"),  # 1 E 9 223 372 036 854 775 807
        (b"\x12\x02" * 5 + b"\x12\x7f", "sparkplug"),
        (b"\x00" * 65_536, "hex"),
        (b"\n" * 65_536, "text"),
        (b"x" * 65_536, "text"),
    ],
)
def test_a_payload_made_to_hurt_is_a_few_lines(payload: bytes, decoder: str) -> None:
    shown = show(payload, decoder)
    assert 0 < len(shown.lines) <= LINES
    preview(payload, len(payload))
    numbers(payload, decoder)


def test_what_is_shared_is_not_written_again_and_again() -> None:
    shared = b"\x01"
    for number in range(24):
        shared = b"\xd8\x1c\x82" + shared + b"\xd8\x1d" + bytes([number])
    for payload in (b"\x81\xd9\x03\xe8" + shared, b"\xa1\xd9\x03\xe8" + shared + b"\x01"):
        shown = show(payload, "cbor")
        assert shown.decoder == "cbor"
        assert len(text_of(shown)) < 3 * LINE_CHARACTERS
        assert preview(payload, len(payload)).replace('{ "', "[ ").startswith("[ 1000(28([ 28([")


def test_of_a_tag_that_is_no_number_and_no_text_is_nothing_made() -> None:
    for tag in {*range(1_100), 43_000} - {0, 1, 2, 3, 4, 5, 32}:
        for value in ("[1, 2]", '"(a+)+"', "1"):
            payload = cbor2.dumps(cbor2.CBORTag(tag, json.loads(value)))
            assert "".join(text_of(show(payload, "cbor")).split()) == f"{tag}({value})".replace(" ", "")
    assert text_of(show(msgspec.msgpack.encode(msgspec.msgpack.Ext(5, b"x")), "msgpack")) == "5(h'78')"


def test_keys_may_be_anything() -> None:
    shown = show(cbor2.dumps({(1, 2): 3, b"x": 4, None: 5, cbor2.CBORTag(9, 1): 6}), "cbor")
    assert shown.numbers == {"[ 1, 2 ]": 3.0, "h'78'": 4.0, "null": 5.0, "9(1)": 6.0}
    assert [line.label for line in shown.lines[1:-1]] == ['"[ 1, 2 ]": ', "\"h'78'\": ", '"null": ', '"9(1)": ']


def test_numeric_fields_have_a_path_and_true_is_one() -> None:
    payload = json.dumps(READING).encode()
    assert show(payload).numbers == {"speed": 12.5, "motors[0].on": 1.0, "motors[0].rpm": 900.0}
    assert numbers(payload, "json") == show(payload).numbers
    assert [line.path for line in show(payload).lines if line.path] == list(show(payload).numbers)
    assert show(b"21.50").numbers == {"value": 21.5}
    assert text_of(show(b"21.50")) == "21.50"


def test_a_decoder_that_does_not_fit_says_why_and_shows_the_bytes() -> None:
    shown = show(b"\x00A", "json")
    assert shown.decoder == "hex"
    assert shown.note.startswith("Not JSON: ")
    assert text_of(shown).startswith("0000  00 41") and text_of(shown).endswith("·A")
    assert show(b"hello", "image").note.startswith("Not Image: it begins like none of PNG")


def test_a_payload_that_was_cut_is_said_to_be() -> None:
    assert show(b'{"a": 1', size=100).note == "Only the first 7 of 100 bytes are kept."
    assert "too long" in show(b"\x89PNG\r\n\x1a\n", "image", size=100_000).note


def test_an_image_is_a_data_url_and_never_markup() -> None:
    shown = show(b"<svg onload='alert(1)'></svg>")
    assert shown.image.startswith("data:image/svg+xml;base64,")
    assert not shown.lines


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (b"on", "on"),
        (b"a\n  b\tc", "a b c"),
        (b"", ""),
        (cbor2.dumps({"on": True}), '{ "on": true }'),
        (b"\xff\x00", "ff 00"),
        (b"\x89PNG\r\n\x1a\n\x00", "image/png"),
    ],
)
def test_a_row_shows_one_line_of_it(payload: bytes, line: str) -> None:
    assert preview(payload, len(payload)) == line


def test_a_long_row_is_cut_and_says_so() -> None:
    assert preview(b"x" * 5000, 5000) == "x" * payloads.PREVIEW_CHARACTERS + " …"
    assert preview("ü".encode() * 5000, 10_000).endswith("ü …")


# -- Sparkplug B


def varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def field(number: int, value: int | bytes | float) -> bytes:
    """A field of a protocol buffer: varint, bytes or double by its type."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def metric(name: bytes, datatype: int, value: bytes) -> bytes:
    return field(2, field(1, name) + field(4, datatype) + value)


def test_metrics_stand_by_name_with_their_type_and_sign() -> None:
    payload = (
        field(1, 1_700_000_000_000)
        + metric(b"speed", 10, field(13, 12.5))
        + metric(b"offset", 3, field(10, 2**32 - 7))
        + metric(b"far", 4, field(11, 2**64 - 7))
        + metric(b"tiny", 1, field(10, 2**32 - 7))
        + metric(b"on", 11, field(14, 1))
        + field(2, field(2, 5) + field(15, b"by alias"))
        + field(2, field(1, b"none") + field(7, 1))
        + field(3, 255)
    )
    decoded = decode_sparkplug(payload)
    assert (decoded["timestamp"], decoded["seq"]) == (1_700_000_000_000, 255)
    assert decoded["metrics"] == {
        "speed": {"value": 12.5, "type": "Double"},
        "offset": {"value": -7, "type": "Int32"},
        "far": {"value": -7, "type": "Int64"},
        "tiny": {"value": -7, "type": "Int8"},
        "on": {"value": True, "type": "Boolean"},
        "alias 5": {"value": "by alias", "alias": 5},
        "none": {"value": None, "is_null": True},
    }
    assert show(payload, "sparkplug").numbers["metrics.speed.value"] == 12.5


def test_metrics_of_the_same_name_are_numbered() -> None:
    names = (b"a", b"a", b"a (2)", b"a")
    decoded = decode_sparkplug(b"".join(metric(name, 11, field(14, 1)) for name in names))
    assert list(decoded["metrics"]) == ["a", "a (2)", "a (2) (2)", "a (3)"]


def test_fields_beyond_the_bound_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparkplug, "FIELDS", 8)
    assert len(decode_sparkplug(metric(b"a", 11, field(14, 1)) * 10 + field(3, 1))["metrics"]) == 2


def test_data_sets_properties_arrays_and_templates_are_read() -> None:
    cells = field(1, field(1, 4)) + field(1, field(6, b"x"))
    data_set = field(1, 2) + field(2, b"a") + field(2, b"b") + field(3, 7) + field(3, 12) + field(4, cells)
    unit = field(1, b"unit") + field(2, field(1, 12) + field(8, b"bar"))
    template = field(2, field(1, b"inner") + field(10, 1)) + field(4, b"Motor")
    payload = (
        metric(b"table", 16, field(17, data_set))
        + field(2, field(1, b"p") + field(9, unit) + field(10, 3))
        + metric(b"list", 23, field(16, struct.pack("<3h", 1, -2, 3)))
        + metric(b"made", 19, field(18, template))
    )
    metrics = decode_sparkplug(payload)["metrics"]
    assert metrics["table"]["value"] == {"columns": ["a", "b"], "rows": [[4, "x"]]}
    assert metrics["p"] == {"value": 3, "properties": {"unit": "bar"}}
    assert metrics["list"]["value"] == [1, -2, 3]
    assert metrics["made"]["value"] == {"metrics": {"inner": {"value": 1}}, "template_ref": "Motor"}


@given(st.floats(width=32, allow_nan=False))
def test_a_short_float_has_no_more_digits_than_it_needs(number: float) -> None:
    payload = field(2, field(1, b"v") + varint(12 << 3 | 5) + struct.pack("<f", number))
    value = decode_sparkplug(payload)["metrics"]["v"]["value"]
    assert struct.pack("<f", value) == struct.pack("<f", number)
    assert len(repr(value)) <= len(repr(number))
    assert decode_sparkplug(payload[:-4] + struct.pack("<f", 21.3))["metrics"]["v"]["value"] == 21.3


def test_what_is_no_sparkplug_is_said_to_be_none() -> None:
    deep = b""
    for _ in range(40):
        deep = field(2, field(18, deep))
    for payload in (b"\x0a\x01x", b"\x12\x05", b"\x08", b"\x0b", b"\xff" * 12, field(4, b"\xff"), deep[:4000]):
        with pytest.raises(NotSparkplug):
            decode_sparkplug(payload)


@given(st.binary(max_size=100))
def test_any_bytes_are_sparkplug_or_are_not(payload: bytes) -> None:
    try:
        decode_sparkplug(payload)
    except NotSparkplug as error:
        assert "byte" in str(error)


# -- what came before


def test_a_history_keeps_so_many_values_and_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_history, "VALUES", 3)
    monkeypatch.setattr(topic_history, "VALUES_BYTES", 10)
    history = History()
    for payload in (b"1", b"2", b"3", b"4"):
        history.add(seen(payload))
    assert [value.number for value in history.values] == [2, 3, 4]
    history.add(seen(b"x" * 9))
    assert [value.number for value in history.values] == [4, 5]
    history.add(seen(b"y" * 99))
    assert [value.number for value in history.values] == [6]
    assert history.find(5) is None and history.find(6) is history.values[0]


def test_a_history_counts_properties_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_history, "VALUES_BYTES", 5_000)
    history = History()
    for _ in range(3):
        history.add(seen(properties=MessageProperties(content_type="x" * 1_000, user_properties=[("y" * 999, "z")])))
    assert [value.number for value in history.values] == [2, 3]


def test_what_was_retained_is_not_a_second_value() -> None:
    history = History()
    history.add(seen(b"on", at=5.0))
    changes = TopicChanges(topics=[seen(b"on", at=5.0, retain=True)], messages=0, unseen=0, rate=0.0, sampling=False,
                           topics_full=False)  # fmt: skip
    assert history.take(changes) == []
    changes = msgspec.structs.replace(changes, topics=[seen(b"on", at=6.0)], messages=40)
    assert [value.number for value in history.take(changes)] == [2]
    assert (history.added, history.messages) == (2, 40)


def test_a_chart_begins_with_what_is_known_and_goes_on() -> None:
    history, chart = History(), Chart()
    for number in range(3):
        history.add(seen(b'{"v": %d}' % number, at=float(number)))
    assert chart.toggle("v", history, "json")
    assert list(chart.lines["v"]) == [(0.0, 0.0), (1000.0, 1.0), (2000.0, 2.0)]
    assert chart.add(history.add(seen(b'{"v": 9}', at=3.0)), "json")
    assert chart.lines["v"][-1] == (3000.0, 9.0)
    assert chart.toggle("v", history, "json") and not chart.lines
    assert [chart.toggle(f"v{number}", history, "json") for number in range(CHARTED + 1)] == [True] * CHARTED + [False]


def test_a_difference_names_the_lines_that_are_others() -> None:
    older, newer = (seen(json.dumps({"a": 1, "b": b, "c": 3}).encode()) for b in (2, 5))
    assert difference(older, newer, "json") == [
        (" ", "{"), (" ", '  "a": 1,'), ("-", '  "b": 2,'), ("+", '  "b": 5,'), (" ", '  "c": 3'), (" ", "}"),
    ]  # fmt: skip
    assert difference(older, older, "json") == []


def test_a_difference_far_down_says_that_it_is() -> None:
    older, newer = (seen(json.dumps([*range(9), last]).encode()) for last in (2, 5))
    assert difference(older, newer, "json")[0] == ("…", "")


@given(st.lists(st.sampled_from("ab"), max_size=12), st.lists(st.sampled_from("ab"), max_size=12))
def test_a_difference_leads_from_one_to_the_other(before: list[str], after: list[str]) -> None:
    lines = difference(seen("\n".join(before).encode()), seen("\n".join(after).encode()), "text")
    gone = sum(sign == "-" for sign, _ in lines)
    come = sum(sign == "+" for sign, _ in lines)
    assert len("\n".join(after).splitlines()) - len("\n".join(before).splitlines()) == come - gone
    assert bool(lines) is (before != after)


# -- what leaves the page


def export(kind: str, *values: TopicSeen) -> str:
    data, count, whole = asyncio.run(exported(values, kind))
    assert whole and count == len(values)
    return data.decode()


def test_lines_of_json_hold_everything() -> None:
    properties = MessageProperties(content_type="text/plain", user_properties=[("unit", "C")])
    text = export("ndjson", seen(b"=1\n", topic="a/b", at=1.5, properties=properties), seen(b"\xff"))
    first, second = map(json.loads, text.splitlines())
    assert first == {
        "topic": "a/b", "at": "1970-01-01T00:00:01.500+00:00", "bytes": 3, "retained": False, "messages": 1,
        "text": "=1\n", "properties": {"content_type": "text/plain", "user_properties": [["unit", "C"]]},
    }  # fmt: skip
    assert (second["base64"], "text" in second) == ("/w==", False)


def test_a_table_runs_no_formula_and_leaves_numbers_alone() -> None:
    values = [seen(payload, topic="=cmd()") for payload in (b"=1+1", b"-21.5", b"@x", b'say "hi", twice')]
    rows = list(csv.DictReader(io.StringIO(export("csv", *values))))
    assert [row["text"] for row in rows] == ["'=1+1", "-21.5", "'@x", 'say "hi", twice']
    assert {row["topic"] for row in rows} == {"'=cmd()"}


def test_a_file_ends_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_export, "ROWS", 2)
    data, count, whole = asyncio.run(exported([seen(b"x")] * 3, "ndjson"))
    assert (len(data.splitlines()), count, whole) == (2, 2, False)
    monkeypatch.setattr(topic_export, "ROWS", 100)
    monkeypatch.setattr(topic_export, "FILE_BYTES", 150)
    assert asyncio.run(exported([seen(b"x")] * 9, "ndjson"))[1:] == (2, False)
