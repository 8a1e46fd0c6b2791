"""Does a person see what came, and can no message command the terminal?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.messages import message
from tidewire.cli.decoders import decoder
from tidewire.cli.screen import Screen, Watch, hex_dump


def shown(payload: bytes, *, topic: str = "a/b", with_topic: bool = False, **fields: int) -> str:
    return Screen(with_topic, None, colour=False).show(message(topic, payload, **fields)).decode()  # type: ignore[arg-type]


def test_text_is_shown_as_text() -> None:
    assert shown("höhe: 12\n\tm".encode()) == "höhe: 12\n\tm\n"


def test_with_the_topic_stand_retain_and_qos() -> None:
    assert shown(b"on", with_topic=True) == "a/b on\n"
    assert shown(b"on", with_topic=True, retain=True, qos=1) == "a/b [retained, QoS 1] on\n"


def test_a_payload_of_several_lines_begins_below_its_topic() -> None:
    assert shown(b"1\n2", with_topic=True) == "a/b\n1\n2\n"


def test_bytes_are_shown_as_a_hex_dump() -> None:
    assert shown(b"\x00\xffA") == "00 ff 41  |..A|\n"
    long = shown(bytes(range(40)))
    assert long.splitlines()[1] == "00000010  10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f  |................|"
    assert long.splitlines()[2] == f"{'00000020  20 21 22 23 24 25 26 27':<57}  | !\"#$%&'|"


def test_a_long_dump_ends_with_how_much_more_there_is() -> None:
    assert hex_dump(bytes(5000)).splitlines()[-1] == "… 4488 more bytes; -F %x prints all"


def test_an_empty_payload_is_called_so() -> None:
    assert shown(b"") == "(empty)\n"


def test_a_decoded_payload_is_shown_as_json() -> None:
    screen = Screen(False, decoder("msgpack"), colour=False)
    assert screen.show(message(payload=b"\x81\xa1a\x01")).decode() == '{\n\t"a":\t1\n}\n'


def test_what_cannot_be_decoded_is_shown_as_it_is_with_the_reason() -> None:
    screen = Screen(False, decoder("json"), colour=False)
    assert screen.show(message(payload=b"on")).decode().startswith("[not JSON: ")
    assert screen.show(message(payload=b"on")).decode().endswith("] on\n")


def test_the_topic_has_a_colour() -> None:
    assert Screen(True, None, colour=True).show(message("a/b", b"on")) == b"\x1b[36ma/b\x1b[0m on\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_there_is_no_colour_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert b"\x1b" in Screen(True, None).show(message("a/b", b"on"))
    monkeypatch.setenv(name, value)
    assert Screen(True, None).show(message("a/b", b"on")) == b"a/b on\n"


def test_a_watch_has_a_line_for_each_topic_as_far_as_there_are_lines() -> None:
    watch = Watch(lambda message: message.payload + b"\n", height=3)
    assert watch.show(message("a", b"1")) == b"\x1b[2J\x1b[1;1H1\x1b[K\x1b[2;1H"
    assert watch.show(message("b", b"2\n3")) == b"\x1b[2;1H2 3\x1b[K\x1b[3;1H"
    assert watch.show(message("a", b"4")) == b"\x1b[1;1H4\x1b[K\x1b[3;1H"
    assert watch.show(message("c", b"5")) == b""


@given(st.text(max_size=20), st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_no_character_reaches_the_terminal_that_it_would_obey(topic: str, payload: bytes) -> None:
    text = Screen(True, None, colour=False).show(message(topic, payload)).decode()
    assert all(character.isprintable() or character in "\n\t" for character in text)
