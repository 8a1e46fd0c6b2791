"""Packets become rows, drawings and lines of a file: which belong together, and how long did that take?"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any, cast
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nicegui", reason="the extra console is not installed")

from tidewire.console.flow import record as flow_record
from tidewire.console.flow.diagram import (
    COLOURS,
    GROUPS,
    LANES,
    OPEN_EXCHANGES,
    SAID_CHARACTERS,
    Bracket,
    Row,
    Sequence,
    elapsed,
)
from tidewire.console.flow.drawing import draw
from tidewire.console.flow.packet import facts, lines, payload_forms
from tidewire.console.flow.record import Recording, file_name
from tidewire.server.admin import Admin
from tidewire.server.admin_types import PacketSeen, PacketsSeen
from tidewire.wire.codes import PACKET_NAMES

PACKET = PacketSeen(number=1, connection=1, at=0, direction="in", packet="PINGREQ", size_bytes=2)
SVG = "{http://www.w3.org/2000/svg}"


class Talk:
    """A client's packets, a millisecond after each other."""

    def __init__(self) -> None:
        self.sequence = Sequence()
        self._numbers = count(1)
        self.connection = 1

    def passes(self, direction: str, packet: str, identifier: int = 0, **more: Any) -> Row:
        """One packet; its row."""
        return self.all_rows(direction, packet, identifier, **more)[-1]

    def all_rows(self, direction: str, packet: str, identifier: int = 0, **more: Any) -> list[Row]:
        number = next(self._numbers)
        more = {"size_bytes": 10, "at": number / 1000, "connection": self.connection} | more
        seen = PacketSeen(number=number, direction=direction, packet=packet, packet_identifier=identifier, **more)
        return self.sequence.rows([seen])

    def misses(self, packets: int) -> None:
        for _ in range(packets):
            next(self._numbers)


@pytest.fixture
def talk() -> Talk:
    return Talk()


def parts(row: Row) -> list[str]:
    return [bracket.part for bracket in row.brackets]


def test_a_qos_1_handshake_is_a_bracket_with_its_duration(talk: Talk) -> None:
    publish = talk.passes("in", "PUBLISH", 7, qos=1, topic="a/b")
    puback = talk.passes("out", "PUBACK", 7, reason="success")
    assert (publish.said, publish.marks, publish.took, parts(publish)) == ("a/b", ["QoS 1"], "", ["begin"])
    assert (puback.took, puback.said, parts(puback)) == ("1.0 ms", "", ["end"])
    assert publish.colour == puback.colour == publish.brackets[0].colour
    assert talk.sequence.handshake_s() == pytest.approx(0.001)


def test_a_qos_2_handshake_ends_with_pubcomp(talk: Talk) -> None:
    rows = [
        talk.passes("out", "PUBLISH", 3, qos=2, dup=True, retain=True),
        talk.passes("in", "PUBREC", 3),
        talk.passes("out", "PUBREL", 3),
        talk.passes("in", "PUBCOMP", 3),
    ]
    assert [parts(row) for row in rows] == [["begin"], ["join"], ["join"], ["end"]]
    assert [row.took for row in rows] == ["", "", "", "3.0 ms"]
    assert rows[0].marks == ["QoS 2", "DUP", "RETAIN"]


def test_a_refusal_in_pubrec_ends_the_handshake(talk: Talk) -> None:
    talk.passes("in", "PUBLISH", 3, qos=2)
    row = talk.passes("out", "PUBREC", 3, reason_code=0x97, reason="quota exceeded")
    assert (row.took, row.refused, row.said) == ("1.0 ms", True, "quota exceeded (0x97)")


def test_both_sides_may_use_the_same_identifier(talk: Talk) -> None:
    talk.passes("in", "PUBLISH", 1, qos=1)
    talk.passes("out", "PUBLISH", 1, qos=1)
    assert talk.passes("in", "PUBACK", 1).took == "1.0 ms"
    assert talk.passes("out", "PUBACK", 1).took == "3.0 ms"


def test_handshakes_that_overlap_stand_side_by_side(talk: Talk) -> None:
    talk.passes("in", "PUBLISH", 1, qos=1)
    second = talk.passes("in", "PUBLISH", 2, qos=1)
    assert second.brackets == [Bracket(0, 0, "pass"), Bracket(1, 1, "begin")]
    assert talk.passes("out", "PUBACK", 1).brackets == [Bracket(1, 1, "pass"), Bracket(0, 0, "end")]
    assert talk.passes("in", "PUBLISH", 9, qos=1).brackets[-1].lane == 0  # the lane that came free


def test_what_is_sent_again_after_a_reconnect_is_the_same_handshake(talk: Talk) -> None:
    talk.passes("out", "PUBLISH", 1, qos=1)
    assert parts(talk.passes("out", "closed", reason="the network is down")) == ["pass"]
    talk.connection = 2
    talk.passes("in", "CONNECT", fields={"version": "5.0", "keep_alive": 5, "clean_start": False, "user_name": None})
    talk.passes("out", "CONNACK", reason="success", fields={"session_present": True})
    assert parts(talk.passes("out", "PUBLISH", 1, qos=1, dup=True)) == ["join"]
    assert talk.passes("in", "PUBACK", 1).took == "5.0 ms"


def test_a_new_session_knows_of_no_handshake(talk: Talk) -> None:
    talk.passes("out", "PUBLISH", 1, qos=1)
    talk.connection = 2
    row = talk.passes("out", "CONNACK", reason="success", fields={"session_present": False})
    assert (row.said, row.brackets) == ("success · new session", [])


def test_a_ping_and_a_subscription_are_answered_too(talk: Talk) -> None:
    requests = [{"topic_filter": f"f/{each}", "qos": 1} for each in range(5)]
    assert talk.passes("in", "SUBSCRIBE", 4, fields={"requests": requests}).said == (
        "f/0 (QoS 1), f/1 (QoS 1), f/2 (QoS 1), and 2 more"
    )
    codes = [{"reason_code": 1, "reason": "granted qos 1"}, {"reason_code": 0x87, "reason": "not authorized"}]
    suback = talk.passes("out", "SUBACK", 4, fields={"reason_codes": codes})
    assert (suback.said, suback.refused, suback.took) == ("QoS 1 granted, not authorized", True, "1.0 ms")
    talk.passes("in", "PINGREQ")
    assert talk.passes("out", "PINGRESP").took == "1.0 ms"
    assert talk.sequence.handshake_s() is None  # none of these is one of QoS


def test_a_connection_that_ends_takes_its_requests_along(talk: Talk) -> None:
    talk.passes("in", "PINGREQ")
    assert talk.passes("out", "closed").brackets == []


def test_what_was_missed_is_said_and_breaks_the_brackets(talk: Talk) -> None:
    talk.passes("in", "PUBLISH", 1, qos=1)
    talk.misses(1234)
    gap, puback = talk.all_rows("out", "PUBACK", 1)
    assert (gap.kind, gap.name, gap.number) == ("gap", "1 234 packets left out", 0)
    assert (puback.took, puback.brackets) == ("", [])
    assert (talk.sequence.left_out, talk.sequence.packets) == (1234, 1236)


def test_what_never_ends_is_bounded(talk: Talk) -> None:
    for identifier in range(1, OPEN_EXCHANGES + LANES + 2):
        row = talk.passes("out", "PUBLISH", identifier, qos=1)
    assert len(row.brackets) <= LANES
    assert talk.passes("in", "PUBACK", 1).took == ""  # given up for later ones


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["in", "out"]),
            st.sampled_from([*PACKET_NAMES[1:], "closed", "malformed"]),
            st.integers(0, 5),
            st.booleans(),
            st.sampled_from([0, 0, 0x87]),
            st.integers(0, 3),
        ),
        max_size=60,
    )
)
def test_lanes_are_whole_whatever_passes(packets: list[tuple[str, str, int, bool, int, int]]) -> None:
    """A bracket that goes on beyond a row goes on in the next: or the next row gives it up, for a reason."""
    talk = Talk()
    before: set[int] = set()
    rows: list[Row] = []
    for direction, packet, identifier, dup, reason_code, missed in packets:
        talk.misses(missed)
        rows += talk.all_rows(direction, packet, identifier, dup=dup, reason_code=reason_code)
    for row in rows:
        lanes = [bracket.lane for bracket in row.brackets]
        assert len(lanes) == len(set(lanes))
        assert all(0 <= bracket.lane < LANES and -1 <= bracket.colour < COLOURS for bracket in row.brackets)
        begun = {bracket.lane for bracket in row.brackets if bracket.part == "begin"}
        assert set(lanes) - begun <= before
        before = {bracket.lane for bracket in row.brackets if bracket.part != "end"}
    ElementTree.fromstring(draw("c", rows))


@given(st.text(), st.text(), st.text())
def test_a_drawing_is_xml_whatever_was_sent(client: str, topic: str, reason: str) -> None:
    rows = Sequence().rows(
        [
            PacketSeen(number=1, connection=1, at=0, direction="in", packet="PUBLISH", size_bytes=5, topic=topic),
            PacketSeen(number=2, connection=1, at=0, direction="in", packet="closed", size_bytes=0, reason=reason),
        ]
    )
    root = ElementTree.fromstring(draw(client, rows))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "title", "style", "rect", "line", "text", "tspan", "path", "circle")
    }


def test_a_drawing_has_an_arrow_for_each_packet_and_its_words(talk: Talk) -> None:
    rows = [talk.passes("in", "PUBLISH", 1, qos=1, topic="<a>&"), talk.passes("out", "PUBACK", 1)]
    root = ElementTree.fromstring(draw("<me>", rows))
    words = "".join(root.itertext())
    assert len(root.findall(f"{SVG}path")) == 2
    assert all(each in words for each in ("<me>", "PUBLISH #1", "QoS 1 · <a>& · 10 B", "PUBACK", "1.0 ms"))


def test_a_long_topic_is_cut_in_its_row(talk: Talk) -> None:
    assert len(talk.passes("in", "PUBLISH", topic="x" * 60_000).said) == SAID_CHARACTERS


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0, "0.00 ms"), (0.000_04, "0.04 ms"), (0.0012, "1.2 ms"), (0.012, "12 ms"), (0.9994, "999 ms")),
        *((0.9999, "1.00 s"), (1.239, "1.24 s"), (59.994, "59.99 s"), (125, "2 min 5 s")),
    ],
)
def test_a_short_time_is_short(seconds: float, words: str) -> None:
    assert elapsed(seconds) == words


def test_every_packet_type_can_be_filtered() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(PACKET_NAMES[1:])


def publish(payload: bytes, **more: Any) -> PacketSeen:
    more = {"payload_bytes": len(payload), "topic": "t"} | more
    return PacketSeen(
        number=1, connection=1, at=0, direction="in", packet="PUBLISH", size_bytes=9, payload=payload, **more
    )


def test_a_payload_reads_as_json_as_text_and_in_hexadecimal() -> None:
    forms, _ = payload_forms(publish(b'{"n":[1,2]}'))
    assert list(forms) == ["JSON", "Text", "Hex"]
    assert forms["JSON"].splitlines()[1] == '  "n": ['
    assert forms["Text"] == '{"n":[1,2]}'
    assert forms["Hex"].splitlines()[0] == '0000  7b 22 6e 22 3a 5b 31 2c  {"n":[1,'


def test_a_payload_that_is_no_text_is_shown_in_hexadecimal_alone() -> None:
    assert list(payload_forms(publish(b"\xff\x00\x01\x02\x03\x04\x05\x06"))[0]) == ["Hex"]


def test_facts_and_fields_are_words() -> None:
    told = dict(facts(publish(b"", qos=1, packet_identifier=4, retain=True, reason_code=0x10, reason="nobody")))
    assert told["Way"] == "client → broker"
    assert (told["QoS"], told["Flags"], told["Packet identifier"]) == ("1", "RETAIN", "4")
    assert told["Reason"] == "nobody (0x10)"
    assert lines("clean_start", True) == [("clean start", "yes")]
    assert lines("will", {"topic": "a", "qos": 1}) == [("will topic", "a"), ("will qos", "1")]
    assert lines("User Property", [["a", "b"]]) == [("User Property", "a: b")]
    assert lines("requests", [{"topic_filter": "a/#", "qos": 1, "no_local": False}]) == [
        ("requests", "a/# (qos 1, no local no)")
    ]


@given(st.text())
def test_a_file_has_a_name_that_every_system_takes(client: str) -> None:
    name = file_name(client)
    assert 0 < len(name) <= 60
    assert name.isascii() and not set(name) & set('/\\:*?"<>|\0')


class EndlessFeed:
    """Of a client that never stops; stands for the broker's administration too."""

    closed = False

    def watch_packets(self, name: str) -> EndlessFeed:
        return self

    def take(self) -> PacketsSeen:
        return PacketsSeen(packets=[] if self.closed else [PACKET] * 5, dropped=7)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("bound", "most", "words"),
    [("RECORDED_PACKETS", 12, "has 15 packets"), ("RECORDED_BYTES", 1024 * 1024, "has 1 MiB")],
)
def test_a_recording_that_is_full_ends_and_says_so(
    monkeypatch: pytest.MonkeyPatch, bound: str, most: int, words: str
) -> None:
    monkeypatch.setattr(flow_record, bound, most)
    monkeypatch.setattr(flow_record, "TURN_S", 0)
    feed = EndlessFeed()

    async def record() -> None:
        recording = Recording(cast("Admin", feed), "lamp")
        await recording.ended()
        assert words in recording.fault and recording.left_out == 7
        assert not recording.running and feed.closed
        assert recording.path.stat().st_size == recording.bytes
        recording.close()
        assert not recording.path.parent.exists()

    asyncio.run(record())


def test_a_recording_that_cannot_be_written_says_so() -> None:
    feed = EndlessFeed()

    async def record() -> None:
        recording = Recording(cast("Admin", feed), "lamp")
        recording.path.mkdir()  # a file of that name cannot be opened now
        await recording.ended()
        assert recording.fault == "the recording cannot be written: Is a directory"
        recording.close()

    asyncio.run(record())
    assert feed.closed
