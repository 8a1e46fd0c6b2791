"""Does `tidewire replay` publish what was recorded, when it was due, changed as it was told?"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.running import Running, run
from tests.process import BareClient, BrokerProcess
from tidewire.cli.recording import Record, Start, open_recording, write
from tidewire.cli.replay import Changes, Timeline
from tidewire.wire import properties as p
from tidewire.wire.packets import Publish, Suback, Subscribe, SubscriptionRequest
from tidewire.wire.properties import Properties

START = Start.at(1_767_225_600_000_000_000, ["#"])
SECOND = 1_000_000_000
THREE: list[Start | Record] = [START, *(Record(i, f"plant/{i}", str(i), retain=True) for i in range(3))]


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerProcess]:
    with BrokerProcess() as process:
        yield process


@pytest.fixture
def subscriber(broker: BrokerProcess) -> Iterator[BareClient]:
    """Gets everything that is published from now on, at QoS 0."""
    with broker.connect(version=5) as client:
        client.send(Subscribe(1, [SubscriptionRequest(b"#", retain_handling=2)]))
        assert isinstance(client.receive(), Suback)
        yield client


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "r.ndjson"


def make(file: Path, records: Iterable[Start | Record], tail: bytes = b"") -> Path:
    opened, _ = open_recording(file, append=True, overwrite=False)
    with opened:
        write(opened, records)
        opened.write(tail)
    return file


def received(client: BareClient, count: int) -> list[Publish]:
    packets = [client.receive() for _ in range(count)]
    return [packet for packet in packets if isinstance(packet, Publish)]


def play(broker: BrokerProcess, file: Path | str, *arguments: str, status: int = 0) -> str:
    """Replay to the end, at once unless the arguments say else; what it said."""
    speed = [] if "--speed" in arguments else ["--speed", "0"]
    ended = run("replay", file, "-p", str(broker.port), *speed, *arguments)
    assert (ended.exit_code, ended.stdout) == (status, ""), ended.stderr
    return ended.stderr


def test_what_was_published_is_published_again_with_every_property(
    broker: BrokerProcess, file: Path, subscriber: BareClient
) -> None:
    record = Record(
        5,
        "all/0",
        payload_base64=b"\xff\x00",
        payload_format=0,
        message_expiry=3600,
        content_type="image/png",
        response_topic="all/answers",
        correlation_data_base64=b"\x00\xff",
        user_properties=[("a", "1"), ("a", "2")],
    )
    assert "replayed 2 messages" in play(broker, make(file, [START, record, Record(6, "all/1", "größe")]))
    first, second = received(subscriber, 2)
    properties = Properties()
    properties.integers = {p.PAYLOAD_FORMAT_INDICATOR: 0, p.MESSAGE_EXPIRY_INTERVAL: 3600}
    properties.texts = {p.CONTENT_TYPE: "image/png", p.RESPONSE_TOPIC: "all/answers"}
    properties.binaries = {p.CORRELATION_DATA: b"\x00\xff"}
    properties.user_properties = [("a", "1"), ("a", "2")]
    assert first == Publish(b"all/0", b"\xff\x00", properties=properties)
    assert second == Publish(b"all/1", "größe".encode())


def test_before_5_0_a_message_goes_without_its_properties(
    broker: BrokerProcess, file: Path, subscriber: BareClient
) -> None:
    play(broker, make(file, [START, Record(5, "old", "x", content_type="text/plain")]), "-V", "311")
    assert received(subscriber, 1) == [Publish(b"old", b"x")]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_qos_and_retain_are_as_recorded(broker: BrokerProcess, file: Path, qos: int) -> None:
    play(broker, make(file, [START, Record(5, f"kept/{qos}", "x", qos=qos, retain=True)]))
    with broker.connect(version=5) as late:
        late.subscribe(f"kept/{qos}", qos=2)
        [publish] = received(late, 1)
        assert (publish.qos, publish.retain, publish.payload) == (qos, True, b"x")
        late.send(Publish(f"kept/{qos}".encode(), b"", retain=True))  # the next test begins without it


def test_it_changes_what_it_is_told_to(broker: BrokerProcess, file: Path) -> None:
    with broker.connect(version=5) as subscriber:
        subscriber.subscribe("#", qos=2)
        play(broker, make(file, THREE), "--map", "plant=twin", "--prefix", "t/", "--only", "plant/1", "--qos", "1")
        [publish] = received(subscriber, 1)
        assert (publish.topic, publish.qos) == (b"t/twin/1", 1)


def test_nothing_is_retained_with_no_retain(broker: BrokerProcess, file: Path, subscriber: BareClient) -> None:
    play(broker, make(file, THREE), "--no-retain", "--prefix", "gone/")
    assert len(received(subscriber, 3)) == 3
    with broker.connect(version=5) as late:
        late.subscribe("gone/#")
        late.publish("gone/end")
        assert [publish.topic for publish in received(late, 1)] == [b"gone/end"]


def test_it_repeats(broker: BrokerProcess, file: Path, subscriber: BareClient) -> None:
    assert "replayed 6 messages" in play(broker, make(file, THREE), "--repeat", "2", "--no-retain")
    assert [publish.payload for publish in received(subscriber, 6)] == [b"0", b"1", b"2"] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_loops_until_a_signal_which_is_a_good_end(
    broker: BrokerProcess, file: Path, subscriber: BareClient, number: signal.Signals
) -> None:
    records: list[Start | Record] = [START, Record(0, "a", "0"), Record(SECOND // 100, "a", "1")]
    with Running("replay", make(file, records), "--loop", "-p", str(broker.port)) as player:
        assert [publish.payload for publish in received(subscriber, 7)] == [b"0", b"1"] * 3 + [b"0"]
        assert player.end(number) == 0
        assert "replayed " in player.lines[-1]


def test_no_message_comes_before_its_time(broker: BrokerProcess, file: Path, subscriber: BareClient) -> None:
    records: list[Start | Record] = [START, Record(9 * SECOND, "a", "0"), Record(9 * SECOND + SECOND // 2, "a", "1")]
    began = monotonic()
    play(broker, make(file, records), "--speed", "2")
    assert monotonic() - began >= 0.25  # never sooner, whatever the machine does
    assert [publish.payload for publish in received(subscriber, 2)] == [b"0", b"1"]


def test_a_pipe_is_played_as_it_comes(broker: BrokerProcess, file: Path, subscriber: BareClient) -> None:
    lines = make(file, THREE).read_text().splitlines(keepends=True)
    with Running("replay", "-", "--speed", "0", "--no-retain", "-p", str(broker.port)) as player:
        assert player.process.stdin is not None
        for number, line in enumerate(lines):
            player.process.stdin.write(line)
            player.process.stdin.flush()
            if number:
                assert received(subscriber, 1)[0].payload == b"%d" % (number - 1)
        player.process.stdin.close()
        player.said("replayed 3 messages")


def test_a_waiting_pipe_does_not_hold_up_the_end(broker: BrokerProcess, file: Path, subscriber: BareClient) -> None:
    with Running("replay", "-", "--speed", "0", "--no-retain", "-p", str(broker.port)) as player:
        assert player.process.stdin is not None
        player.process.stdin.write(make(file, THREE).read_text())
        player.process.stdin.flush()
        received(subscriber, 3)
        player.process.send_signal(signal.SIGTERM)
        player.said("replayed 3 messages")
        assert player.process.wait(60) == 0


def test_of_a_cut_file_all_that_is_whole_is_played(broker: BrokerProcess, file: Path, subscriber: BareClient) -> None:
    said = play(broker, make(file, THREE, tail=b'{"at_ns":'), "--no-retain")
    assert f"{file}: left out the last 9 bytes, an incomplete line" in said
    assert len(received(subscriber, 3)) == 3


def test_before_damage_all_is_played_and_then_it_is_named(
    broker: BrokerProcess, file: Path, subscriber: BareClient
) -> None:
    said = play(broker, make(file, THREE, tail=b'{"at_ns":1}\n'), "--no-retain", status=2)
    assert len(received(subscriber, 3)) == 3
    assert f"tidewire: {file}: line 5 is damaged (Object missing required field `topic`); leave it out" in said


@pytest.mark.parametrize(
    ("topic", "status", "reason"), [("shut", 135, "not authorized"), ("a/#", 2, "must not contain a wildcard")]
)
def test_what_cannot_be_published_is_told_and_the_rest_is_published(
    tmp_path: Path, file: Path, topic: str, status: int, reason: str
) -> None:
    config = tmp_path / "broker.toml"
    config.write_text('port = 0\n[[access.rules]]\neffect = "allow"\ntopic = "open/#"\n')
    with BrokerProcess("--config", config) as broker, broker.connect(version=5) as subscriber:
        subscriber.subscribe("open/#")
        make(file, [START, Record(0, topic, "x", qos=1), Record(0, "open/a", "x", qos=1)])
        said = play(broker, file, status=status)
        assert [publish.topic for publish in received(subscriber, 1)] == [b"open/a"]
    assert "replayed 2 messages" in said
    assert "1 of them failed: " in said
    assert reason in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-file"], "File 'no-such-file' does not exist"),
        (["-", "--loop"], "standard input can be read once only; give a FILE to play it again"),
        (["-", "--repeat", "2"], "standard input can be read once only; give a FILE to play it again"),
        (["-", "--speed", "-1"], "-1.0 is not a number from 0 on"),
        (["-", "--map", "a"], "'a' has no '='; it takes two topics: --map plant/a=test/a"),
        (["-", "--only", "a/#/b"], "# must be the whole last level"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(arguments: list[str], said: str) -> None:
    ended = run("replay", *arguments)
    assert ended.exit_code == 2
    assert ended.stderr.count("\n") == 1
    assert said in ended.stderr


def test_a_file_that_is_no_recording_is_one_clear_line(broker: BrokerProcess) -> None:
    said = play(broker, __file__, status=2)
    assert said.startswith(f"tidewire: {__file__}: not a recording of `tidewire record`")
    assert said.count("\n") == 1


def test_a_file_that_is_no_recording_is_told_before_a_broker_is_looked_for() -> None:
    ended = run("replay", __file__, "--unix", "/no/such/socket")
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"tidewire: {__file__}: not a recording of `tidewire record`")


def test_a_recording_without_messages_is_not_played_for_ever(broker: BrokerProcess, file: Path) -> None:
    assert "nothing to publish" in play(broker, make(file, [START]), "--loop")


TIMES = st.lists(st.integers(0, 10**15), min_size=1).map(sorted)


@given(TIMES, st.floats(0.01, 100))
def test_distances_are_as_recorded_divided_by_the_speed(times: list[int], speed: float) -> None:
    timeline = Timeline(speed, None)
    timeline.next_part()
    for at_ns in times:
        assert timeline.due(at_ns) == pytest.approx((at_ns - times[0]) / SECOND / speed)


def test_a_long_pause_is_cut_to_the_limit() -> None:
    timeline = Timeline(1.0, 2.0)
    assert [timeline.due(seconds * SECOND) for seconds in (5, 6, 100, 101)] == [0, 1, 3, 4]


def test_the_time_between_two_parts_is_left_out_but_not_the_one_in_them() -> None:
    timeline = Timeline(1.0, None)
    timeline.next_part()
    assert [timeline.due(seconds * SECOND) for seconds in (5, 6)] == [0, 1]
    timeline.next_part()
    assert [timeline.due(seconds * SECOND) for seconds in (3, 4)] == [4, 5]


def test_a_message_recorded_before_its_predecessor_is_due_with_it() -> None:
    timeline = Timeline(1.0, None)
    assert [timeline.due(seconds * SECOND) for seconds in (5, 8, 7, 9)] == [0, 3, 3, 5]


def test_at_speed_0_everything_is_due_at_once() -> None:
    timeline = Timeline(0.0, None)
    assert [timeline.due(seconds * SECOND) for seconds in (5, 8)] == [0, 0]


@pytest.mark.parametrize(
    ("topic", "changed"),
    [("a", "x/b"), ("a/c", "x/b/c"), ("ab", "x/ab"), ("a/d", "x/b/d"), ("/a", "x//a"), ("c/e", "x/e"), ("c", "x/")],
)
def test_a_topic_is_mapped_level_by_level_and_then_prefixed(topic: str, changed: str) -> None:
    changes = Changes(mapping=[("a", "b"), ("a/d", "z"), ("c/e", "e"), ("c", "")], prefix="x/")
    assert changes.topic(topic) == changed


def test_an_answer_goes_where_the_topics_go() -> None:
    record = Record(0, "a/1", response_topic="a/answers")
    assert Changes(mapping=[("a", "b")], prefix="x/").options(record) == {"response_topic": "x/b/answers"}
