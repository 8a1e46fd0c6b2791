"""Does a recording give back every message as it was, and after a cut every whole one before it?"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.cli import recording
from tidewire.cli.recording import (
    BLOCK_BYTES,
    FORMAT,
    Decoder,
    Record,
    RecordingError,
    Start,
    open_recording,
    record_of,
    write,
)


@dataclass
class Delivery:
    """A message as a client hands it over."""

    topic: str = "sensors/7"
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    payload_format: int | None = None
    message_expiry: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    user_properties: list[tuple[str, str]] = field(default_factory=list)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
OPTIONAL_TEXT = st.none() | TEXT
DELIVERIES = st.builds(
    Delivery,
    topic=TEXT,
    payload=st.binary(max_size=50) | TEXT.map(str.encode),
    qos=st.integers(0, 2),
    retain=st.booleans(),
    payload_format=st.none() | st.integers(0, 1),
    message_expiry=st.none() | st.integers(0, 2**32 - 1),
    content_type=OPTIONAL_TEXT,
    response_topic=OPTIONAL_TEXT,
    correlation_data=st.none() | st.binary(max_size=20),
    user_properties=st.lists(st.tuples(TEXT, TEXT), max_size=3),
)
RECORDS = st.builds(record_of, DELIVERIES, st.integers(0, 2**63 - 1))
STARTS = st.builds(Start.at, st.integers(0, 2**62), st.lists(TEXT, max_size=3))
PARTS = st.lists(st.builds(lambda start, records: [start, *records], STARTS, st.lists(RECORDS, max_size=5)), min_size=1)

START = Start.at(1_767_225_600_000_000_001, ["sensors/#"])


def encoded(records: Iterable[Start | Record]) -> bytes:
    """The file that `records` make."""
    file = io.BytesIO()
    write(file, records)
    return file.getvalue()


def decoded(data: bytes, piece: int = 0) -> tuple[list[Start | Record], int]:
    """What a file holds, read in pieces of so many bytes, and how many of its last bytes are no whole line."""
    decoder = Decoder()
    pieces = [data[i : i + piece] for i in range(0, len(data), piece)] if piece else [data]
    return [record for piece_ in pieces for record in decoder.feed(piece_)], decoder.incomplete_bytes


@given(DELIVERIES)
def test_a_message_comes_back_with_every_byte_and_property(delivery: Delivery) -> None:
    [_, record], incomplete = decoded(encoded([START, record_of(delivery, 7)]))
    assert isinstance(record, Record)
    assert (record.at_ns, incomplete) == (7, 0)
    assert record.body() == delivery.payload
    assert record.correlation_data_base64 == delivery.correlation_data
    same = set(vars(delivery)) - {"payload", "correlation_data"}
    assert {name: getattr(record, name) for name in same} == {name: getattr(delivery, name) for name in same}


@given(PARTS, st.data())
def test_of_a_file_cut_at_any_byte_exactly_the_whole_lines_are_read(
    parts: list[list[Start | Record]], data: st.DataObject
) -> None:
    records = [record for part in parts for record in part]
    ends = [0]
    for record in records:
        ends.append(ends[-1] + len(encoded([record])))
    file = encoded(records)
    cut = data.draw(st.integers(0, len(file)))
    whole = sum(end <= cut for end in ends) - 1
    assert decoded(file[:cut], data.draw(st.integers(1, 100))) == (records[:whole], cut - ends[whole])


def test_a_person_can_read_a_line() -> None:
    lines = encoded(
        [START, record_of(Delivery(payload=b'{"feet": 100}', qos=1), 5), record_of(Delivery(payload=b"\xff"), 6)]
    )
    assert [json.loads(line) for line in lines.splitlines()] == [
        {
            "tidewire_recording": FORMAT,
            "started": "2026-01-01T00:00:00.000000001Z",
            "started_ns": 1_767_225_600_000_000_001,
            "topic_filters": ["sensors/#"],
        },
        {"at_ns": 5, "topic": "sensors/7", "payload": '{"feet": 100}', "qos": 1},
        {"at_ns": 6, "topic": "sensors/7", "payload_base64": "/w=="},
    ]


def test_what_people_and_later_versions_add_is_passed_over() -> None:
    line = b'{"topic": "a", "at_ns": 1, "note": "look here", "payload": "x"}\r\n'
    assert decoded(encoded([START]) + b"\n" + line + b"  \n") == ([START, Record(1, "a", "x")], 0)


@pytest.mark.parametrize(
    ("lines", "whole", "said"),
    [
        (b"hello\n", 0, "not a recording of `tidewire record`"),
        (b'{"at_ns":1,"topic":"a"}\n', 0, "not a recording of `tidewire record`"),
        (b'S{"at_ns":1,"topic":"a"}\n{"at_ns":2\n', 2, "line 3 is damaged (Input data was truncated); leave it out"),
        (
            b'S{"at_ns":1,"topic":"a","qos":3}\n',
            1,
            "line 2 is damaged (Expected `int` <= 2 - at `$.qos`); leave it out",
        ),
        (b'S{"topic":"a"}\n', 1, "line 2 is damaged (Object missing required field `at_ns`); leave it out"),
        (b'S{"tidewire_recording":1}\n', 1, "line 2 is damaged (Object missing required field `started`)"),
        (
            b'S{"tidewire_recording":2,"started":"","started_ns":0}\n',
            1,
            f"line 2 begins a recording of format 2, and this Tidewire reads up to {FORMAT}; install a newer one",
        ),
    ],
)
def test_damage_is_told_with_its_line_after_all_that_came_before(lines: bytes, whole: int, said: str) -> None:
    came: list[Start | Record] = []
    with pytest.raises(RecordingError) as raised:
        came.extend(Decoder().feed(lines.replace(b"S", encoded([START]), 1)))
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)
    assert len(came) == whole


def test_a_line_without_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LINE_LIMIT_BYTES", 100)
    decoder = Decoder()
    assert list(decoder.feed(encoded([START]) + bytes(100))) == [START]
    with pytest.raises(RecordingError, match="line 2 is longer than any message"):
        list(decoder.feed(b"\0"))


def test_a_file_that_takes_a_few_bytes_at_a_time_gets_all() -> None:
    class Slow(io.BytesIO):
        def write(self, data: memoryview) -> int:  # type: ignore[override]
            return super().write(data[:3])

    file = Slow()
    assert write(file, [START, Record(1, "a", "x")]) == len(file.getvalue())
    assert decoded(file.getvalue()) == ([START, Record(1, "a", "x")], 0)


def contents(path: Path) -> list[Start | Record]:
    records, incomplete = decoded(path.read_bytes())
    assert incomplete == 0
    return records


def test_a_file_that_exists_is_kept_unless_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "r.ndjson"
    path.write_bytes(encoded([START]))
    with pytest.raises(RecordingError, match=r"r\.ndjson exists; --append goes on in it, --overwrite replaces it"):
        open_recording(path, append=False, overwrite=False)
    assert contents(path) == [START]
    file, removed = open_recording(path, append=False, overwrite=True)
    with file:
        assert (removed, path.read_bytes()) == (0, b"")


@pytest.mark.parametrize("cut", [b"", b'{"at_ns":9,"to', b"\0" * (2 * BLOCK_BYTES + 1)])
def test_appending_goes_on_after_the_last_whole_line(tmp_path: Path, cut: bytes) -> None:
    path = tmp_path / "r.ndjson"
    first: list[Start | Record] = [START, Record(1, "a", "x")]
    path.write_bytes(encoded(first) + cut)
    file, removed = open_recording(path, append=True, overwrite=False)
    with file:
        write(file, [START, Record(2, "b", "y")])
    assert removed == len(cut)
    assert contents(path) == [*first, START, Record(2, "b", "y")]


@pytest.mark.parametrize("before", [None, b"", encoded([START])[:5], encoded([START])[:-1]])
def test_appending_to_nothing_or_to_a_cut_first_line_begins_anew(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "r.ndjson"
    if before is not None:
        path.write_bytes(before)
    file, removed = open_recording(path, append=True, overwrite=False)
    with file:
        write(file, [START])
    assert removed == len(before or b"")
    assert contents(path) == [START]


@pytest.mark.parametrize("text", [b"my diary", b'{"at_ns":1}\n', b"\n"])
def test_appending_never_touches_a_file_of_another_kind(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "diary.txt"
    path.write_bytes(text)
    with pytest.raises(RecordingError, match=r"diary\.txt is not a recording of `tidewire record`"):
        open_recording(path, append=True, overwrite=False)
    assert path.read_bytes() == text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_the_callers_error() -> None:
    with FileIO("/dev/full", "w") as file, pytest.raises(OSError, match=os.strerror(28)):
        write(file, [START])


DOCUMENT = (Path(__file__).parents[2] / "docs" / "recording.md").read_text(encoding="utf-8")


def snippet(language: str) -> str:
    """The one code block of that language in the documentation."""
    return DOCUMENT.partition(f"```{language}\n")[2].partition("```")[0]


def test_the_documented_lines_are_those_that_are_written() -> None:
    records, incomplete = decoded(snippet("json").encode())
    assert (encoded(records).decode(), incomplete) == (snippet("json"), 0)


def test_every_field_is_documented() -> None:
    for name in (*Start.__struct_fields__, *Record.__struct_fields__):
        assert f"`{name}`" in DOCUMENT


def test_the_documented_program_makes_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(snippet("python"), {})
    start, *records = contents(tmp_path / "made.ndjson")
    assert isinstance(start, Start)
    assert len(records) == 60


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_the_documented_commands_read_a_recording(tmp_path: Path) -> None:
    (tmp_path / "plant.ndjson").write_text(snippet("json"))
    commands = "\n".join(line[2:] for line in DOCUMENT.splitlines() if line.startswith("$ jq "))
    run = subprocess.run(["sh", "-ec", commands], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "plant/7/altitude", "1", "plant/7/image", "100"]
    assert [type(record) for record in contents(tmp_path / "later.ndjson")] == [Start, Record]
