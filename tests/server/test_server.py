"""Does a broker process start, stop and share its event loop as it should?"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import BareClient, BrokerProcess, tidewire
from tidewire.access import hashes
from tidewire.access.passwords import set_password
from tidewire.wire.packets import Connack, Connect, Disconnect, Pingreq, Pingresp, Publish, Will

SERVER_SHUTTING_DOWN = 0x8B


@pytest.fixture
def broker() -> Iterator[BrokerProcess]:
    with BrokerProcess() as process:
        yield process


@pytest.fixture
def slow_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A password file in which each verification takes long: three times the usual rounds."""
    monkeypatch.setattr(hashes, "PBKDF2_ITERATIONS", 600_000)
    set_password(tmp_path / "passwords", "alice", b"secret", "sha512-pbkdf2")
    return tmp_path / "passwords"


def last_packets(client: BareClient) -> list[object]:
    return list(client.packets())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_a_disconnect_to_those_who_understand_one(
    broker: BrokerProcess, number: signal.Signals
) -> None:
    clients = {version: broker.connect(f"client-{version}", version) for version in (3, 4, 5)}
    broker.signal(number)
    assert last_packets(clients[3]) == last_packets(clients[4]) == []
    (said,) = last_packets(clients[5])
    assert isinstance(said, Disconnect)
    assert said.reason_code == SERVER_SHUTTING_DOWN
    for client in clients.values():
        client.close()
    assert broker.wait() == 0
    assert broker.lines_with("stopping") == ["stopping connections=3"]
    assert broker.lines[-1].endswith(" stopped\n")
    assert "Traceback" not in broker.log


def test_what_was_accepted_is_written_before_it_ends(broker: BrokerProcess) -> None:
    subscriber = broker.connect("subscriber", 5)
    subscriber.subscribe("a")
    publisher = broker.connect("publisher", 5)
    payload = bytes(4 * 1024 * 1024)  # more than the sockets hold: the subscriber has not read it when the signal comes
    publisher.publish("a", payload)
    publisher.send(Pingreq())
    assert publisher.receive() == Pingresp()
    broker.signal(signal.SIGTERM)
    broker.wait_for("stopping")
    message, farewell = last_packets(subscriber)
    assert isinstance(message, Publish)
    assert message.payload == payload
    assert isinstance(farewell, Disconnect)
    assert farewell.reason_code == SERVER_SHUTTING_DOWN
    publisher.close()
    subscriber.close()
    assert broker.wait() == 0


def test_what_waited_for_a_stalled_client_reaches_it_before_the_disconnect(broker: BrokerProcess) -> None:
    subscriber = broker.connect("subscriber", 5)
    subscriber.subscribe("a")
    publisher = broker.connect("publisher", 5)
    for _ in range(40):  # the transport is full, and part of it waits on the engine's own outbox
        publisher.publish("a", bytes(200_000))
    publisher.send(Pingreq())
    assert publisher.receive() == Pingresp()
    broker.signal(signal.SIGTERM)
    broker.wait_for("stopping")
    *messages, farewell = last_packets(subscriber)
    assert len(messages) > 5
    assert isinstance(farewell, Disconnect)
    assert farewell.reason_code == SERVER_SHUTTING_DOWN
    publisher.close()
    subscriber.close()
    assert broker.wait() == 0
    assert "Traceback" not in broker.log
    assert "internal error" not in broker.log


def test_it_does_not_wait_for_those_who_never_said_connect(broker: BrokerProcess) -> None:
    with broker.open() as silent:
        broker.connect().close()
        broker.wait_for(" disconnected ")
        broker.signal(signal.SIGTERM)
        assert last_packets(silent) == []
    assert broker.wait() == 0


def test_no_will_is_published_when_the_broker_stops(broker: BrokerProcess) -> None:
    watcher = broker.connect("watcher", 5)
    watcher.subscribe("#")
    broker.connect("doomed", 5, will=Will(b"will", b"gone"))
    broker.signal(signal.SIGTERM)
    assert [type(packet) for packet in last_packets(watcher)] == [Disconnect]


def test_a_second_signal_ends_it_at_once_though_a_client_stalls(broker: BrokerProcess) -> None:
    with broker.connect("stalled") as stalled, broker.connect("publisher") as publisher:
        stalled.subscribe("a")
        publisher.publish("a", bytes(8 * 1024 * 1024))
        publisher.send(Pingreq())
        assert publisher.receive() == Pingresp()
        broker.signal(signal.SIGTERM)
        broker.wait_for("stopping")
        broker.signal(signal.SIGTERM)
        assert broker.wait() == 1
        assert not broker.lines_with("stopped")


def test_a_stopping_broker_lets_nobody_in(broker: BrokerProcess) -> None:
    with broker.connect("stalled") as stalled, broker.connect("publisher") as publisher:
        stalled.subscribe("a")
        publisher.publish("a", bytes(8 * 1024 * 1024))
        publisher.send(Pingreq())
        publisher.receive()
        broker.signal(signal.SIGTERM)
        assert publisher.receive() is None
        with pytest.raises(ConnectionRefusedError):
            broker.open()


def test_a_port_can_be_served_again_at_once(broker: BrokerProcess) -> None:
    client = broker.connect()
    broker.signal(signal.SIGTERM)
    assert last_packets(client) == []  # the broker ends it first, so that its side is the one that has to linger
    client.close()
    assert broker.wait() == 0
    with BrokerProcess("--port", str(broker.port)) as again:
        assert again.connect().connack.reason_code == 0


def test_all_families_share_the_port_that_was_free(broker: BrokerProcess) -> None:
    assert {address.rpartition(":")[2] for address in broker.addresses} == {str(broker.port)}


def test_a_configuration_without_any_address_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broker.toml").write_text("bind = []\n")
    run = tidewire("serve", "--config", tmp_path / "broker.toml")
    assert run.returncode == 2
    assert run.stderr == "tidewire: there is no address to listen on; name one: --bind 127.0.0.1\n"


# -- Unix sockets


def test_a_unix_socket_is_served_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with BrokerProcess("--unix-socket", path) as broker:
        assert broker.addresses[-1] == str(path)
        with broker.connect("local", address=str(path)) as client:
            client.send(Pingreq())
            assert client.receive() == Pingresp()
        assert "peer=unix" in broker.wait_for("connected client=local").string
        assert broker.stop() == 0
    assert not path.exists()


def test_a_unix_socket_alone_is_enough(tmp_path: Path) -> None:
    (tmp_path / "broker.toml").write_text(f'bind = []\nunix_socket = "{tmp_path}/socket"\n')
    with BrokerProcess("--config", tmp_path / "broker.toml") as broker:
        assert broker.addresses == [f"{tmp_path}/socket"]
        assert broker.connect(address=f"{tmp_path}/socket").connack.reason_code == 0


def test_a_dead_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with BrokerProcess("--unix-socket", path) as broker:
        broker.signal(signal.SIGKILL)
        broker.wait()
    assert path.is_socket()
    with BrokerProcess("--unix-socket", path) as broker:
        assert broker.connect(address=str(path)).connack.reason_code == 0


def test_a_unix_socket_in_use_is_left_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with BrokerProcess("--unix-socket", path) as broker:
        run = tidewire("serve", "--port", "0", "--unix-socket", path)
        assert (run.returncode, run.stderr) == (
            2,
            f"tidewire: cannot listen on '{path}': another program listens there\n",
        )
        run = tidewire("serve", "--port", str(broker.port), "--unix-socket", path)
        assert run.returncode == 2
        assert broker.connect(address=str(path)).connack.reason_code == 0


def test_a_file_where_the_unix_socket_should_be_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letters"
    path.write_text("dear")
    run = tidewire("serve", "--port", "0", "--unix-socket", path)
    assert (run.returncode, run.stderr) == (
        2,
        f"tidewire: cannot listen on '{path}': there is a file of that name\n",
    )
    assert path.read_text() == "dear"


def test_a_unix_socket_where_nothing_can_be_is_one_clear_line(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "socket", tmp_path / ("long" * 50)):
        run = tidewire("serve", "--port", "0", "--unix-socket", path)
        assert run.returncode == 2
        assert run.stderr.startswith(f"tidewire: cannot listen on '{path}': ")
        assert run.stderr.count("\n") == 1


# -- the event loop is never kept busy


def test_others_are_served_while_a_password_is_verified(tmp_path: Path, slow_passwords: Path) -> None:
    config = tmp_path / "broker.toml"
    config.write_text(f'port = 0\n[access]\nanonymous = true\npassword_file = "{slow_passwords}"\n')
    with BrokerProcess("--config", config) as broker:
        slow = broker.open()
        slow.send(Connect("slow", user_name="alice", password=b"secret"), Pingreq())
        quick = broker.connect("quick")
        for _ in range(10):
            quick.send(Pingreq())
            assert quick.receive() == Pingresp()
        assert "client=slow" not in broker.log  # ten answers, and that password is still being verified
        assert slow.receive() == Connack()
        assert slow.receive() == Pingresp()  # what came with the CONNECT has waited for it


def test_log_ins_that_wait_do_not_hold_up_the_end(slow_passwords: Path) -> None:
    with BrokerProcess("--password-file", slow_passwords) as broker:
        waiting = [broker.open(5) for _ in range(50)]
        for number, client in enumerate(waiting):
            client.send(Connect(f"client-{number}", 5, user_name="alice", password=b"secret"))
        assert isinstance(waiting[0].receive(), Connack)
        broker.signal(signal.SIGTERM)
        broker.wait_for("stopping")
        for client in waiting:
            client.close()
        assert broker.wait() == 0
        assert len(broker.lines_with("connected")) < 10
        assert "Traceback" not in broker.log


def test_a_client_that_leaves_during_its_verification_is_forgotten(slow_passwords: Path) -> None:
    with BrokerProcess("--password-file", slow_passwords) as broker:
        with broker.open() as leaving:
            leaving.send(Connect("leaving", user_name="alice", password=b"secret"))
            leaving.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        with broker.connect("staying", user_name="alice", password=b"secret") as staying:
            assert staying.connack.reason_code == 0
        broker.wait_for("disconnected client=staying")
        assert "internal error" not in broker.log
        assert broker.stop() == 0
