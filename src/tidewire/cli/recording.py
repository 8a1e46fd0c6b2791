"""How does a recording lie in a file? As lines of JSON, of which a cut spoils the last one at most.

docs/recording.md describes the format for its readers. A recording is a sequence of parts. Each begins with a line
that says when (`Start`); each further line is one message (`Record`) with its time since then. A line is whole once
its newline is there, and nothing that follows can change what it says.

    file, _ = open_recording("altitude.ndjson", append=False, overwrite=False)
    write(file, [Start.at(time.time_ns(), ["sensors/#"])])
    write(file, [Record(at_ns=0, topic="sensors/7", payload="100")])
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Annotated, Final, Protocol, Self

import msgspec
from msgspec import Meta, Struct

FORMAT: Final = 1
LINE_LIMIT_BYTES: Final = 2**31
"""A line longer than this is damage, and not kept: the largest MQTT packet is 256 MiB, and JSON makes at most six
bytes of each of its bytes."""
BLOCK_BYTES: Final = 65_536
"""How much is read at a time."""

_FIRST: Final = b'{"tidewire_recording":'


class RecordingError(ValueError):
    """A file that is no recording, or is damaged before its end; one line that says where."""


class Start(Struct):
    """The first line of a part: the format, and the time that the part's messages count from."""

    tidewire_recording: Annotated[int, Meta(ge=1)]
    """The version of the format; a reader refuses one that is newer than itself."""
    started: str
    """For people: the time as RFC 3339 in UTC, to the nanosecond."""
    started_ns: int
    """For programs: the same in nanoseconds since 1970."""
    topic_filters: list[str] = []
    """What was subscribed to."""

    @classmethod
    def at(cls, time_ns: int, topic_filters: Sequence[str]) -> Self:
        seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
        date = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return cls(FORMAT, f"{date}.{nanoseconds:09d}Z", time_ns, list(topic_filters))


class Record(Struct, omit_defaults=True, gc=False):
    """One message. A field at its default is left out of the line; what ends in `_base64` is bytes.

    Everything that its publisher said, and nothing that belongs to the recording connection: topic alias,
    subscription identifiers, packet identifier, DUP.
    """

    at_ns: Annotated[int, Meta(ge=0)]
    """When it was received, by a clock that never jumps, since the `Start` of its part."""
    topic: str
    payload: str | None = None
    """The payload where it is UTF-8 text …"""
    payload_base64: bytes | None = None
    """… and where it is not."""
    qos: Annotated[int, Meta(ge=0, le=2)] = 0
    retain: bool = False
    payload_format: Annotated[int, Meta(ge=0, le=1)] | None = None
    message_expiry: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)] | None = None
    """What was left of it, in seconds."""
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data_base64: bytes | None = None
    user_properties: list[tuple[str, str]] = []

    def body(self) -> bytes:
        """The payload, as it was received."""
        if self.payload is not None:
            return self.payload.encode()
        return self.payload_base64 or b""


class Received(Protocol):
    """What a record is made of: `tidewire.Message`."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def qos(self) -> int: ...
    @property
    def retain(self) -> bool: ...
    @property
    def payload_format(self) -> int | None: ...
    @property
    def message_expiry(self) -> int | None: ...
    @property
    def content_type(self) -> str | None: ...
    @property
    def response_topic(self) -> str | None: ...
    @property
    def correlation_data(self) -> bytes | None: ...
    @property
    def user_properties(self) -> Sequence[tuple[str, str]]: ...


def record_of(message: Received, at_ns: int) -> Record:
    """The record of a message that came `at_ns` after the start."""
    payload: str | None = None
    payload_base64: bytes | None = None
    try:
        payload = message.payload.decode()
    except UnicodeDecodeError:
        payload_base64 = message.payload
    return Record(
        at_ns,
        message.topic,
        payload,
        payload_base64,
        message.qos,
        message.retain,
        message.payload_format,
        message.message_expiry,
        message.content_type,
        message.response_topic,
        message.correlation_data,
        list(message.user_properties),
    )


class RawFile(Protocol):
    """An unbuffered binary file: what it took is the operating system's, and survives this process."""

    def write(self, data: memoryview, /) -> int | None: ...


def write(file: RawFile, records: Iterable[Start | Record]) -> int:
    """Hand `records` to the operating system, and return how many bytes they are. Raises OSError."""
    data = _ENCODER.encode_lines(records)
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]
    return len(data)


_ENCODER: Final = msgspec.json.Encoder()


class Decoder:
    """Bytes of a recording in pieces of any size, to its `Start`s and `Record`s.

    Feed it until nothing is left; `incomplete_bytes` then says how much was cut off inside a line.
    """

    def __init__(self) -> None:
        self.incomplete_bytes = 0
        """How many bytes stand after the last newline."""
        self._incomplete: list[bytes] = []
        self._lines = 0
        self._has_start = False
        self._record: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
        self._start: msgspec.json.Decoder[Start] = msgspec.json.Decoder(Start)

    def feed(self, data: bytes) -> Iterator[Start | Record]:
        """What became whole with `data`. RecordingError at the line that is damaged, after all before it."""
        self._incomplete.append(data)
        self.incomplete_bytes += len(data)
        if b"\n" in data:
            *lines, rest = b"".join(self._incomplete).split(b"\n")
            self._incomplete = [rest]
            self.incomplete_bytes = len(rest)
            for line in lines:
                self._lines += 1
                if line and not line.isspace():
                    yield self._decode(line)
        if self.incomplete_bytes > LINE_LIMIT_BYTES:
            raise RecordingError(f"line {self._lines + 1} is longer than any message; the file is damaged from there")

    def _decode(self, line: bytes) -> Start | Record:
        if self._has_start:
            try:
                return self._record.decode(line)
            except msgspec.DecodeError as error:
                problem = error
        try:
            start = self._start.decode(line)
        except msgspec.DecodeError as error:
            if not self._has_start:
                raise RecordingError(
                    "not a recording of `tidewire record`: a recording begins with a line that has tidewire_recording"
                ) from None
            problem = problem if b'"tidewire_recording"' not in line else error
            raise RecordingError(
                f"line {self._lines} is damaged ({problem}); "
                f"leave it out to use the rest: sed {self._lines}d FILE | tidewire replay -"
            ) from None
        if start.tidewire_recording > FORMAT:
            raise RecordingError(
                f"line {self._lines} begins a recording of format {start.tidewire_recording}, and this Tidewire reads "
                f"up to {FORMAT}; install a newer one"
            )
        self._has_start = True
        return start


def open_recording(path: Path, *, append: bool, overwrite: bool) -> tuple[FileIO, int]:
    """Open `path` to write at its end, unbuffered.

    Returns the file and how many bytes were removed from its end: with `append`, what a cut left of a line.
    RecordingError where there is a file already and neither was said, or where `append` meets something else than a
    recording, which is left as it is. OSError as `open` raises it.
    """
    if append and path.exists():
        file = FileIO(path, "r+")
        try:
            whole = _whole_bytes(file)
            size = file.seek(0, os.SEEK_END)
            file.truncate(whole)
            file.seek(whole)
        except BaseException:
            file.close()
            raise
        return file, size - whole
    try:
        return FileIO(path, "w" if overwrite else "x"), 0
    except FileExistsError:
        raise RecordingError(f"{path} exists; --append goes on in it, --overwrite replaces it") from None


def _whole_bytes(file: FileIO) -> int:
    """Where the last whole line of a recording ends. RecordingError if the file is none."""
    first = file.read(len(_FIRST))
    if not _FIRST.startswith(first):
        raise RecordingError(f"{file.name!s} is not a recording of `tidewire record`; --overwrite replaces it")
    position = file.seek(0, os.SEEK_END)
    while position:
        begin = max(0, position - BLOCK_BYTES)
        file.seek(begin)
        newline = file.read(position - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        position = begin
    return 0
