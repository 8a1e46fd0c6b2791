"""Does `tidewire record` write all that comes, as it comes, and lose nothing that it has acknowledged?"""

from __future__ import annotations

import json
import resource
import signal
import socket
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.running import Running, run
from tests.process import PATIENCE_S, BareClient, BrokerProcess
from tidewire.cli.record import without_covered
from tidewire.cli.recording import Decoder, Record, Start
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, PUBREC, PUBREL
from tidewire.wire.framing import Decoder as PacketDecoder
from tidewire.wire.packets import Acknowledgement, Connack, Connect, Packet, Publish, Suback, Subscribe
from tidewire.wire.properties import Properties
from tidewire.wire.topics import matches


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerProcess]:
    with BrokerProcess() as process:
        yield process


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "r.ndjson"


def recorded(file: Path) -> list[Start | Record]:
    """What is in a file, which is whole."""
    decoder = Decoder()
    records = list(decoder.feed(file.read_bytes()))
    assert decoder.incomplete_bytes == 0
    return records


def messages(file: Path) -> list[Record]:
    return [record for record in recorded(file) if isinstance(record, Record)]


def recording(broker: BrokerProcess, file: Path | str, *arguments: str) -> Running:
    """`tidewire record`, subscribed."""
    command = Running("record", file, *arguments, "-p", str(broker.port))
    command.said("recording to")
    return command


def publish(broker: BrokerProcess, *packets: Publish) -> BareClient:
    """Publish, and come back when the broker has handed it on."""
    publisher = broker.connect(version=5)
    publisher.subscribe("done")
    publisher.send(*packets, Publish(b"done", b""))
    while not (isinstance(packet := publisher.receive(), Publish) and packet.topic == b"done"):
        if isinstance(packet, Acknowledgement) and packet.packet_type == PUBREC:
            publisher.send(Acknowledgement(PUBREL, packet.packet_identifier))
    return publisher


def test_a_message_is_recorded_with_all_that_its_publisher_said(broker: BrokerProcess, file: Path) -> None:
    properties = Properties()
    properties.integers = {p.PAYLOAD_FORMAT_INDICATOR: 1, p.MESSAGE_EXPIRY_INTERVAL: 3600}
    properties.texts = {p.CONTENT_TYPE: "text/plain", p.RESPONSE_TOPIC: "all/answers"}
    properties.binaries = {p.CORRELATION_DATA: b"\x00\xff"}
    properties.user_properties = [("a", "1"), ("a", "2")]
    with recording(broker, file, "all/#", "all/+", "--count", "3") as recorder:
        publish(
            broker,
            Publish(b"all/0", "größe".encode(), properties=properties),
            Publish(b"all/1", b"\xff\x00", qos=1, packet_identifier=1, retain=True),
            Publish(b"all/2", b"", qos=2, packet_identifier=2),
        )
        assert recorder.end() == 0
    start, *records = recorded(file)
    assert isinstance(start, Start)
    assert start.topic_filters == ["all/#"]  # which covers the other one
    times = [record.at_ns for record in records if isinstance(record, Record)]
    assert times == sorted(times)
    assert records == [
        Record(
            times[0],
            "all/0",
            "größe",
            payload_format=1,
            message_expiry=3600,
            content_type="text/plain",
            response_topic="all/answers",
            correlation_data_base64=b"\x00\xff",
            user_properties=[("a", "1"), ("a", "2")],
        ),
        Record(times[1], "all/1", payload_base64=b"\xff\x00", qos=1, retain=True),
        Record(times[2], "all/2", "", qos=2),
    ]


@pytest.mark.parametrize("version", ["5", "311"])
def test_what_was_retained_before_can_be_left_out(broker: BrokerProcess, file: Path, version: str) -> None:
    topic = f"kept/{version}".encode()
    publish(broker, Publish(topic, b"before", qos=1, packet_identifier=1, retain=True))
    arguments = [topic.decode(), "-V", version, "--count", "1"]
    assert run("record", file, *arguments, "-p", str(broker.port)).exit_code == 0
    with recording(broker, file, "--overwrite", "--no-retained", *arguments) as recorder:
        first = messages(file)
        publish(broker, Publish(topic, b"after"))
        assert recorder.end() == 0
    assert (first, [record.payload for record in messages(file)]) == ([], ["after"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_good_end(broker: BrokerProcess, file: Path, number: signal.Signals) -> None:
    with recording(broker, file, "signals") as recorder:
        assert recorder.end(number) == 0
        assert "recorded 0 messages" in recorder.lines[-1]
    assert len(recorded(file)) == 1


def test_it_ends_after_the_duration(broker: BrokerProcess, file: Path) -> None:
    ended = run("record", file, "nothing", "--duration", "0.1", "-p", str(broker.port))
    assert ended.exit_code == 0
    assert "recorded 0 messages" in ended.stderr


def test_standard_output_is_a_file_as_well_and_may_be_closed(broker: BrokerProcess) -> None:
    with recording(broker, "-", "output") as recorder:
        assert recorder.process.stdout is not None
        assert json.loads(recorder.process.stdout.readline())["topic_filters"] == ["output"]
        publish(broker, Publish(b"output", b"1"))
        assert json.loads(recorder.process.stdout.readline())["payload"] == "1"
        recorder.process.stdout.close()
        publish(broker, Publish(b"output", b"2"))
        recorder.said("recorded 1 message ")
        assert recorder.process.wait(PATIENCE_S) == 0


def test_a_file_that_exists_is_named_with_what_to_do_and_kept(broker: BrokerProcess, file: Path) -> None:
    file.write_text("precious")
    ended = run("record", file, "a", "-p", str(broker.port))
    assert ended.exit_code == 2
    assert ended.stderr == f"tidewire: {file} exists; --append goes on in it, --overwrite replaces it\n"
    assert file.read_text() == "precious"


def test_appending_goes_on_in_a_cut_file(broker: BrokerProcess, file: Path) -> None:
    publish(broker, Publish(b"append", b"x", qos=1, packet_identifier=1, retain=True))
    arguments = [str(file), "append", "--count", "1", "-p", str(broker.port)]
    assert run("record", *arguments).exit_code == 0
    whole = recorded(file)
    with file.open("ab") as cut:
        cut.write(b'{"at_ns":')
    ended = run("record", *arguments, "--append")
    assert ended.exit_code == 0
    assert f"{file}: removed 9 bytes of an incomplete line from its end" in ended.stderr
    assert recorded(file)[:2] == whole
    assert [type(record) for record in recorded(file)] == [Start, Record, Start, Record]


@pytest.mark.parametrize(
    ("place", "said"), [("no/r.ndjson", "No such file or directory"), ("folder", "'FILE': File '{}' is a directory")]
)
def test_a_file_that_cannot_be_written_is_named(broker: BrokerProcess, tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    ended = run("record", tmp_path / place, "a", "-p", str(broker.port))
    assert ended.exit_code == 2
    assert ended.stderr.count("\n") == 1
    assert said.format(tmp_path / place) in ended.stderr


def test_without_a_broker_no_file_is_made(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ended = run("record", file, "a", "-h", "127.0.0.1", "-p", str(port))
    assert ended.exit_code == 14
    assert ended.stderr.count("\n") == 1
    assert not file.exists()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux")
def test_on_a_full_disk_all_before_is_in_the_file(broker: BrokerProcess, file: Path) -> None:
    with recording(broker, file, "full") as recorder:
        # From here on a write past so many bytes is cut short, and the next one fails.
        resource.prlimit(recorder.process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
        for payload in (b"a" * 300, b"b" * 300, b"c" * 300):
            publish(broker, Publish(b"full", payload))
        assert recorder.end() == 2
        assert recorder.lines[-1] == f"tidewire: cannot write {file}: File too large\n"
    decoder = Decoder()
    _, *records = decoder.feed(file.read_bytes())
    assert [record.body()[:1] for record in records if isinstance(record, Record)] == [b"a", b"b"]
    assert decoder.incomplete_bytes > 0


def test_it_comes_back_to_a_broker_that_was_gone_and_says_so(file: Path) -> None:
    with BrokerProcess() as broker:
        recorder = recording(broker, file, "back", "--count", "1")
    with recorder, BrokerProcess("--port", str(broker.port)) as again, again.connect(version=5) as publisher:
        recorder.said("connecting again, and what is published meanwhile is not recorded")
        while recorder.process.poll() is None:
            publisher.send(Publish(b"back", b"x", qos=1, packet_identifier=1))
            assert isinstance(publisher.receive(), Acknowledgement)
        assert recorder.end() == 0
    assert [record.payload for record in messages(file)] == ["x"]


LEVELS = st.lists(st.sampled_from(["a", "b", "+", "", "$c"]), min_size=1, max_size=3)
FILTERS = st.builds(lambda levels, rest: "/".join(levels + rest), LEVELS, st.sampled_from([[], ["#"]])) | st.just("#")
TOPICS = [
    topic.encode()
    for length in (1, 2, 3, 4)
    for levels in product(["a", "b", "", "z", "$c"], repeat=length)
    if (topic := "/".join(levels))
]
"""Every topic that could tell two of these filters apart."""


@given(st.lists(FILTERS, min_size=1, max_size=4))
def test_what_is_left_of_the_filters_matches_the_same_topics(topic_filters: list[str]) -> None:
    def matched(some: list[str]) -> list[bytes]:
        return [topic for topic in TOPICS if any(matches(each.encode(), topic) for each in some)]

    assert matched(without_covered(topic_filters)) == matched(topic_filters)


@pytest.mark.parametrize(
    ("topic_filters", "kept"),
    [
        (["#", "a/#", "a/+", "$SYS/#"], ["#", "$SYS/#"]),
        (["+/#", "#"], ["#"]),
        (["a/+/#", "a/#", "a", "a/b/+"], ["a/#"]),
        (["a/+", "+/b", "a/+"], ["a/+", "+/b"]),
        (["a/b", "a/c"], ["a/b", "a/c"]),
    ],
)
def test_only_filters_that_bring_more_are_subscribed_to(topic_filters: list[str], kept: list[str]) -> None:
    assert without_covered(topic_filters) == kept


class OneClientBroker:
    """As much of a broker as one subscriber needs, so that a test can see what it acknowledges."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE_S)
        self.port: int = self.listener.getsockname()[1]
        self._decoder = PacketDecoder(5, 268_435_460)
        self._inbox: list[Packet] = []

    def accept(self) -> None:
        """Let the client connect and subscribe."""
        self.socket, _ = self.listener.accept()
        self.socket.settimeout(PATIENCE_S)
        assert isinstance(self.receive(), Connect)
        self.send(Connack())
        subscribe = self.receive()
        assert isinstance(subscribe, Subscribe)
        self.send(Suback(subscribe.packet_identifier, [2 for _ in subscribe.requests]))

    def send(self, *packets: Packet) -> None:
        self.socket.sendall(b"".join(packet.encode(5) for packet in packets))

    def receive(self) -> Packet:
        while not self._inbox:
            data = self.socket.recv(65_536)
            assert data
            self._inbox += self._decoder.feed(data)
        return self._inbox.pop(0)

    def __enter__(self) -> OneClientBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()
        self.socket.close()


@pytest.mark.parametrize(("qos", "answer"), [(1, PUBACK), (2, PUBREC)])
def test_what_was_acknowledged_survives_a_kill(file: Path, qos: int, answer: int) -> None:
    with (
        OneClientBroker() as broker,
        Running("record", file, "#", "-h", "127.0.0.1", "-p", str(broker.port)) as recorder,
    ):
        broker.accept()
        recorder.said("recording to")
        broker.send(*(Publish(b"a", b"%d" % i, qos=qos, packet_identifier=i) for i in range(1, 501)))
        for i in range(1, 501):
            assert broker.receive() == Acknowledgement(answer, i)
        recorder.process.kill()
        recorder.end()
    assert [record.payload for record in messages(file)] == [str(i) for i in range(1, 501)]
