"""tests for tidewire.sync: the blocking client, from one thread and from several."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.process import PATIENCE_S, BrokerProcess
from tidewire import ConnectionFailed, InvalidTopic, NotConnected, PublishError, ReasonCode, SubscribeError
from tidewire.engine.received import Message
from tidewire.sync import Client, Stream


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
