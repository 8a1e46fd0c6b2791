"""What is kept, what an acknowledgement promises, and what happens when the disk fails."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.harness import integers
from tests.process import BareClient, BrokerProcess, tidewire
from tidewire import Client
from tidewire.client.errors import PublishError
from tidewire.server.config import Config
from tidewire.server.durability import DurableStore
from tidewire.server.server import Server
from tidewire.wire.codes import PUBACK
from tidewire.wire.packets import Acknowledgement, Pingreq, Pingresp, Publish, Suback, Subscribe, SubscriptionRequest

KEPT = integers(session_expiry_interval=600)


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., BrokerProcess]:
    """A broker on one directory, started as often as it is called."""
    return lambda *arguments: BrokerProcess("--data", str(tmp_path / "data"), *arguments)


def subscribed(broker: BrokerProcess, name: str, *topic_filters: str) -> BareClient:
    """A client whose session is kept."""
    client = broker.connect(name, version=5, clean_start=False, properties=KEPT)
    if topic_filters:
        client.send(Subscribe(1, [SubscriptionRequest(each.encode(), 1) for each in topic_filters]))
        assert client.receive() == Suback(1, [1] * len(topic_filters))
    return client


def published(client: BareClient, topic: str, payload: bytes, identifier: int = 1, retain: bool = False) -> int:
    """Publish at QoS 1; the reason code of the PUBACK."""
    client.send(Publish(topic.encode(), payload, 1, retain=retain, packet_identifier=identifier))
    answer = client.receive()
    assert isinstance(answer, Acknowledgement) and answer.packet_type == PUBACK
    return answer.reason_code


def received(client: BareClient) -> bytes:
    message = client.receive()
    assert isinstance(message, Publish), message
    return message.payload


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_what_was_acknowledged_is_there_after_a_kill(
    serve: Callable[..., BrokerProcess], durability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEWIRE_DURABILITY", durability)
    with serve() as broker:
        subscribed(broker, "away", "a").close()
        publisher = broker.connect("publisher")
        for number in range(1, 101):
            assert published(publisher, "a", b"%d" % number, number) == 0
        assert published(publisher, "state", b"kept", retain=True) == 0
    with serve() as broker:
        broker.wait_for("store: .* sessions=1 retained=1$")
        back = subscribed(broker, "away")
        assert back.connack.session_present
        assert [received(back) for _ in range(100)] == [b"%d" % number for number in range(1, 101)]
        back.send(Subscribe(2, [SubscriptionRequest(b"state")]))
        assert isinstance(back.receive(), Suback)
        assert received(back) == b"kept"


def test_a_second_broker_is_refused_the_directory(serve: Callable[..., BrokerProcess], tmp_path: Path) -> None:
    with serve() as broker:
        second = tidewire("serve", "--port", "0", "--data", str(tmp_path / "data"))
        assert second.returncode == 2
        assert second.stderr == (
            f"tidewire: {tmp_path}/data is in use by process {broker.process.pid}: give this broker a directory of its"
            " own, --data DIR, or --memory\n"
        )


def test_memory_and_a_directory_contradict_each_other(tmp_path: Path) -> None:
    run = tidewire("serve", "--memory", "--data", str(tmp_path))
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)
    assert "--memory keeps nothing" in run.stderr


def test_without_a_word_the_data_is_in_the_users_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEWIRE_DURABILITY")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    with BrokerProcess() as broker:
        broker.wait_for(f"store: {tmp_path}/state, durability full")
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_damaged_file_is_set_aside_and_named(serve: Callable[..., BrokerProcess], tmp_path: Path) -> None:
    with serve() as broker:
        published(broker.connect("publisher"), "state", b"kept", retain=True)
        broker.stop()
    database = tmp_path / "data" / "broker.db"
    database.write_bytes(b"x" * 10_000)
    with serve() as broker:
        line = broker.wait_for(r"the file was damaged, and is set aside as (\S+)")
        assert Path(line[1]).read_bytes() == b"x" * 10_000
        assert published(broker.connect("publisher"), "state", b"anew", retain=True) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the size of another process's files is limited so on Linux alone")
def test_when_the_disk_is_full_publishers_are_told_subscribers_are_served_and_all_is_kept_again(
    serve: Callable[..., BrokerProcess],
) -> None:
    with serve() as broker:
        subscribed(broker, "away", "a").close()
        online = broker.connect("online")
        online.send(Subscribe(1, [SubscriptionRequest(b"a")]))
        assert online.receive() == Suback(1, [0])
        modern = broker.connect("modern", version=5)
        older = broker.connect("older")
        fill(broker)
        assert published(modern, "a", b"1") == 0x97
        broker.wait_for(
            "store: nothing is kept, and publishers are told so: .* cannot be read or written, the disk fails"
        )
        assert received(online) == b"1"
        older.send(Publish(b"a", b"2", 1, packet_identifier=2), Pingreq())
        assert older.receive() == Pingresp()  # and no PUBACK before it
        assert received(online) == b"2"
        make_room(broker)
        broker.wait_for("store: everything is kept again")
        assert older.receive() == Acknowledgement(PUBACK, 2)
        assert published(modern, "a", b"3") == 0
    with serve() as broker:
        back = subscribed(broker, "away")
        assert [received(back) for _ in range(3)] == [b"1", b"2", b"3"]


@pytest.mark.skipif(sys.platform != "linux", reason="the size of another process's files is limited so on Linux alone")
def test_a_broker_that_could_not_keep_everything_says_so_with_its_exit_status(
    serve: Callable[..., BrokerProcess],
) -> None:
    with serve() as broker:
        subscribed(broker, "away", "a").close()
        modern = broker.connect("modern", version=5)
        fill(broker)
        assert published(modern, "a", b"1") == 0x97
        assert broker.stop() == 74
        broker.wait_for("store: the last changes are lost")


def fill(broker: BrokerProcess) -> None:
    """Files of the broker cannot grow any more, nor be written past their first page."""
    resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))


def make_room(broker: BrokerProcess) -> None:
    resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_an_error_of_ours_in_the_worker_is_told_and_nobody_waits_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(self: DurableStore, shift: float) -> None:
        raise ZeroDivisionError

    async def test() -> bool:
        server = Server(Config(bind=["127.0.0.1"], port=0, data=str(tmp_path / "data")))
        monkeypatch.setattr(DurableStore, "take", breaks)
        await server.start()
        async with Client(f"mqtt://127.0.0.1:{server.port}") as client:
            with pytest.raises(PublishError) as refused:
                await client.publish("state", b"kept", qos=1, retain=True)
        assert refused.value.reason_code == 0x97
        await server.stop()
        return server.kept_all

    assert not asyncio.run(test())
    assert "internal error: nothing is kept any more" in caplog.text
