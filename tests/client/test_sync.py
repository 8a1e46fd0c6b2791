"""tests for tidewire.sync: the blocking client, from one thread and from several."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final, Self

import pytest

from tests.process import NO_LIMIT, PATIENCE_S, BrokerProcess
from tidewire import Backoff, ConnectionFailed, InvalidTopic, NotConnected, PublishError, ReasonCode, SubscribeError
from tidewire.client.loop_thread import GATHERED_BYTES, UNACKNOWLEDGED_MESSAGES
from tidewire.engine.received import Message
from tidewire.sync import Client, Stream
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Acknowledgement, Connack, Publish

FILLING: Final = b"x" * 10_000
MORE_THAN_FITS: Final = 3_000
"""So many of them are more than sockets, transport and outbox hold together."""


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerProcess]:
    with BrokerProcess() as process:
        yield process


@pytest.fixture
def url(broker: BrokerProcess) -> str:
    return f"mqtt://127.0.0.1:{broker.port}"


@pytest.mark.parametrize("version", ["5.0", "3.1.1", "3.1"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_is_published_arrives(url: str, version: str, qos: int) -> None:
    with Client(url, version=version) as client, client.subscribe("sync/+", qos=qos) as stream:
        assert client.publish("sync/a", {"feet": 100}, qos=qos) == ReasonCode.SUCCESS
        message = stream.get(PATIENCE_S)
        assert (message.topic, message.json(), message.qos) == ("sync/a", {"feet": 100}, qos)


def test_a_stream_is_iterated_and_ends_when_it_is_closed(url: str) -> None:
    with Client(url) as client:
        with client.subscribe("many", qos=1) as stream:
            for number in range(1000):
                client.publish_nowait("many", str(number), qos=1)
            taken = [message.text() for _, message in zip(range(1000), stream, strict=False)]
            assert taken == [str(number) for number in range(1000)]
        with pytest.raises(StopIteration):
            next(stream)


def test_at_most_once_messages_of_one_thread_keep_their_order_among_others(url: str) -> None:
    with Client(url) as client, client.subscribe("mixed", qos=1, maximum=100_000) as stream:
        for number in range(2000):
            client.publish("mixed", str(number), qos=1 if number % 500 == 0 else 0)
        received = [int(stream.get(PATIENCE_S).text()) for _ in range(2000)]
        assert [n for n in received if n % 500] == [n for n in range(2000) if n % 500]


def test_several_threads_share_a_client(url: str) -> None:
    with Client(url) as client, client.subscribe("threads/#", qos=1) as stream:

        def publish(name: int) -> None:
            for number in range(50):
                client.publish(f"threads/{name}", str(number), qos=1)

        threads = [threading.Thread(target=publish, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        received: dict[str, list[int]] = {}
        for _ in range(400):
            message = stream.get(PATIENCE_S)
            received.setdefault(message.topic, []).append(int(message.text()))
        for thread in threads:
            thread.join()
        assert received == {f"threads/{name}": list(range(50)) for name in range(8)}


def test_errors_reach_the_caller(url: str) -> None:
    with Client(url) as client:
        with pytest.raises(InvalidTopic, match="wildcard"):
            client.publish("a/#", b"")
        with pytest.raises(InvalidTopic, match="wildcard"):
            client.publish("a/#", b"", qos=1)
        with pytest.raises(TimeoutError), client.subscribe("silence") as stream:
            stream.get(0.01)
        with pytest.raises(PublishError, match="nobody answers"):
            client.request("nobody/home", qos=1)
        with pytest.raises(RuntimeError, match="connected already"):
            client.connect()
    with pytest.raises(NotConnected, match="closed"):
        client.publish("a", b"", qos=1)
    with pytest.raises(ConnectionFailed, match="refused"), Client("mqtt://127.0.0.1:9"):
        pass


def test_a_refused_filter_is_an_error_of_its_own(url: str) -> None:
    with (
        Client(url) as client,
        pytest.raises(SubscribeError) as caught,
        client.subscribe("/".join("x" * 200)),  # more levels than the broker allows
    ):
        pass
    assert all(code >= 0x80 for code in caught.value.reason_codes.values())


def test_what_was_not_dealt_with_comes_again_after_an_error(url: str) -> None:
    options = {"client_id": "careful", "session_expiry": 60}
    with (
        pytest.raises(ZeroDivisionError),
        Client(url, clean_start=True, **options) as client,
        client.subscribe("work", qos=1) as stream,
    ):
        for number in range(3):
            client.publish("work", str(number), qos=1)
        assert stream.get(PATIENCE_S).text() == "0"
        assert stream.get(PATIENCE_S).text() == "1"
        raise ZeroDivisionError
    with Client(url, **options) as client, client.subscribe("work", qos=1) as stream:
        assert [stream.get(PATIENCE_S).text() for _ in range(2)] == ["1", "2"]


def test_handlers_run_in_the_callers_thread_and_their_exception_comes_out_of_run(url: str) -> None:
    seen: list[tuple[str, str, threading.Thread]] = []
    with Client(url) as client:

        @client.on("boards/{board}/altitude", qos=1)
        def altitude(message: Message, board: str) -> None:
            seen.append((board, message.text(), threading.current_thread()))
            if message.text() == "last":
                raise KeyError(board)

        @client.responder("boards/{board}/ask")
        def ask(message: Message, board: str) -> dict[str, str]:
            client.publish(f"boards/{board}/altitude", "last", qos=1)  # a handler may use the client
            return {"board": board}

        answers: list[object] = []
        asking = threading.Thread(target=lambda: answers.append(_ask_until_answered(url)))
        asking.start()
        with pytest.raises(KeyError, match="7"):
            client.run()
        asking.join()
    assert answers == [{"board": "7"}]
    assert seen == [("7", "last", threading.current_thread())]


def _ask_until_answered(url: str) -> object:
    with Client(url) as client:
        while True:
            try:
                return client.request("boards/7/ask", qos=1, timeout=PATIENCE_S).json()
            except PublishError:  # run() has not subscribed yet
                continue


class _SlowServer:
    """Says yes to one client, and reads what it publishes when it is let go."""

    def __init__(self, connack: Connack | None = None) -> None:
        self.payloads: list[bytes] = []
        """What has come, once the block is over."""
        self._connack = connack or Connack()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(PATIENCE_S)
        self.url = f"mqtt://127.0.0.1:{self._listening.getsockname()[1]}"
        self._reading = threading.Event()
        self._cutting = False
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._reading.set()
        self._thread.join()
        self._listening.close()

    def let_go(self) -> None:
        self._reading.set()

    def cut(self) -> None:
        self._cutting = True
        self._reading.set()

    def _serve(self) -> None:
        with contextlib.suppress(ConnectionError), self._listening.accept()[0] as peer:
            decoder = Decoder(5, NO_LIMIT)
            peer.recv(65_536)  # CONNECT
            peer.sendall(self._connack.encode(5))
            self._reading.wait()
            while not self._cutting and (data := peer.recv(1 << 20)):
                for packet in decoder.feed(data):
                    if isinstance(packet, Publish):
                        self.payloads.append(packet.payload)
                        if packet.qos:
                            peer.sendall(Acknowledgement(PUBACK, packet.packet_identifier).encode(5))


def test_what_a_slow_network_has_no_room_for_waits_and_keeps_its_order() -> None:
    numbered = [b"%d " % number + FILLING for number in range(MORE_THAN_FITS)]
    with _SlowServer() as server, Client(server.url) as client:
        for payload in numbered:
            client.publish("slow", payload)
        last = client.publish_nowait("slow", b"at least once", qos=1)
        late = client.publish_nowait("slow", b"at most once")
        with pytest.raises(TimeoutError):
            client.drain(0.01)
        server.let_go()
        assert last.result(PATIENCE_S) == ReasonCode.SUCCESS
        assert late.result(PATIENCE_S) == ReasonCode.SUCCESS
        client.publish("slow", b"the end")
    assert server.payloads == [*numbered, b"at least once", b"at most once", b"the end"]


def test_more_than_may_be_on_their_way_arrive_all_the_same() -> None:
    numbered = [b"%d " % number + FILLING[:500] for number in range(3 * UNACKNOWLEDGED_MESSAGES)]
    with _SlowServer() as server, Client(server.url) as client:
        server.let_go()
        for payload in numbered:
            client.publish("many", payload)
        client.publish("many", b"x" * (GATHERED_BYTES + 1))  # goes another way, and not ahead of them
        client.drain(PATIENCE_S)
    assert server.payloads == [*numbered, b"x" * (GATHERED_BYTES + 1)]


def test_messages_of_several_threads_arrive_each_in_its_order() -> None:
    def publish(name: int) -> None:
        for number in range(2000):
            client.publish("threads", b"%d %d" % (name, number), qos=number % 100 == 99)

    with _SlowServer() as server, Client(server.url) as client:
        server.let_go()
        threads = [threading.Thread(target=publish, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name in range(4):
        mine = [payload for payload in server.payloads if payload.startswith(b"%d " % name)]
        assert mine == [b"%d %d" % (name, number) for number in range(2000)]


@pytest.mark.parametrize(
    "next_call",
    [
        lambda client: client.drain(),
        lambda client: client.publish("lost"),
        lambda client: client.publish_nowait("lost").result(PATIENCE_S),
        lambda client: client.disconnect(),
        lambda client: client.__exit__(None, None, None),
    ],
    ids=["drain", "publish", "publish_nowait", "disconnect", "exit"],
)
def test_what_a_lost_connection_cost_comes_out_of_the_next_call(next_call: Callable[[Client], object]) -> None:
    lost = threading.Event()

    def on_state(state: str, _: Exception | None) -> None:
        if state == "disconnected":
            lost.set()

    notes: list[str] = []

    def note(call: Callable[[Client], object]) -> None:
        try:
            call(client)
        except NotConnected as error:
            notes.extend(getattr(error, "__notes__", []))

    never = Backoff(first=3600, maximum=3600)
    with _SlowServer() as server:
        client = Client(server.url, offline="raise", reconnect=never, on_state=on_state)
        client.connect()
        for _ in range(MORE_THAN_FITS):
            client.publish("lost", FILLING)
        server.cut()
        assert lost.wait(PATIENCE_S)
        note(next_call)
        note(next_call)  # if it is a publish that waited while they failed, the first error was its own
        assert notes
        note(Client.disconnect)
    told = "QoS 0 messages of earlier calls that were not sent: "
    assert all(line.startswith(told) for line in notes)
    not_sent = sum(int(line.removeprefix(told)) for line in notes)
    assert not_sent > 0
    assert client.statistics.publish_sent + not_sent == MORE_THAN_FITS


def test_leaving_a_stalled_connection_tells_what_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidewire.client.lifecycle.CLOSE_PATIENCE_S", 0.01)
    with _SlowServer() as server:
        with pytest.raises(NotConnected, match="closed") as caught, Client(server.url, drain_timeout=0.01) as client:
            for _ in range(MORE_THAN_FITS):
                client.publish("stalled", FILLING)
        assert "not sent" in caught.value.__notes__[0]


def test_an_exception_of_the_block_is_told_what_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidewire.client.lifecycle.CLOSE_PATIENCE_S", 0.01)
    with _SlowServer() as server:
        with pytest.raises(ZeroDivisionError) as caught, Client(server.url, drain_timeout=0.01) as client:
            for _ in range(MORE_THAN_FITS):
                client.publish("stalled", FILLING)
            raise ZeroDivisionError
        assert "NotConnected: " in caught.value.__notes__[0]
        assert "not sent" in caught.value.__notes__[0]


def test_what_the_server_does_not_take_is_refused_in_the_call_at_qos_0() -> None:
    connack = Connack()
    connack.properties.integers |= {p.MAXIMUM_PACKET_SIZE: 100, p.RETAIN_AVAILABLE: 0}
    with _SlowServer(connack) as server, Client(server.url) as client:
        server.let_go()
        with pytest.raises(PublishError, match="at most 100 bytes"):
            client.publish("a", b"x" * 100)
        with pytest.raises(PublishError, match="no retained messages"):
            client.publish("a", b"x", retain=True)
        client.publish("a", b"small enough")
    assert server.payloads == [b"small enough"]


@pytest.mark.parametrize("topic", ["", "a/+", "a\0", "\ud800", "é" * 40_000])
def test_a_bad_topic_is_refused_in_the_call_at_qos_0(url: str, topic: str) -> None:
    with Client(url) as client, pytest.raises(InvalidTopic):
        client.publish(topic, b"")


def test_a_client_connects_again_after_its_end(url: str) -> None:
    client = Client(url)
    for number in range(2):
        with client, client.subscribe("again") as stream:
            client.publish("again", str(number))
            assert stream.get(PATIENCE_S).text() == str(number)


def test_manual_acknowledgement_from_the_callers_thread(url: str) -> None:
    options = {"client_id": "manual", "session_expiry": 60}
    with Client(url, clean_start=True, **options) as client:
        stream: Stream
        with client.subscribe("manual", qos=1, manual_ack=True, keep=True) as stream:
            for number in range(2):
                client.publish("manual", str(number), qos=1)
            first = stream.get(PATIENCE_S)
            stream.get(PATIENCE_S)
            first.ack()
    with Client(url, **options) as client, client.subscribe("manual", qos=1) as stream:
        assert stream.get(PATIENCE_S).text() == "1"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("blocked_in", ["next(stream)", "client.run()", "client.request('a', timeout=600)"])
def test_ctrl_c_ends_a_blocking_call_at_once(url: str, blocked_in: str) -> None:
    program = f"""
import sys
from tidewire.sync import Client
with Client({url!r}) as client, client.subscribe("silence") as stream, client.subscribe("a") as other:
    print("ready", flush=True)
    {blocked_in}
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1
