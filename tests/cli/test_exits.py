"""Is every failure one line that names the cause, with the status that the table of docs/cli.md has for it?"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.mosquitto import OURS
from tests.cli.running import Running
from tests.cli.server import DeafServer
from tests.client.certificates import Certificates, make_certificates
from tests.process import PATIENCE_S, BrokerProcess, tidewire
from tidewire.cli.exits import TABLE, Exit, markdown, status_of
from tidewire.client.errors import ConnectionFailed, ConnectionLost
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Connack, Publish

GUIDE = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def failure(*arguments: str) -> tuple[int, str]:
    """Status and line of a `tidewire pub` that fails."""
    run = tidewire("pub", "-t", "a", "-m", "x", *arguments)
    assert run.stdout == ""
    assert re.fullmatch(r"tidewire: .+\n", run.stderr), run.stderr
    return run.returncode, run.stderr.removeprefix("tidewire: ").removesuffix("\n")


def test_the_guide_has_the_table_as_it_is() -> None:
    assert markdown() in GUIDE.read_text(encoding="utf-8")


def test_the_table_has_every_status() -> None:
    told = {number for status, _ in TABLE for number in re.findall(r"\d+", status)}
    assert {str(int(status)) for status in Exit} <= told
    assert {str(min(ReasonCode.UNSPECIFIED_ERROR, 128)), str(int(max(ReasonCode)))} <= told


def test_a_port_where_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    status, line = failure("-h", "127.0.0.1", "-p", port)
    assert status == Exit.NOT_CONNECTED
    assert line == f"connection refused by 127.0.0.1:{port}: nothing listens there"


def test_a_host_name_that_does_not_exist() -> None:
    assert failure("-h", "broker.invalid") == (Exit.HOST_NOT_FOUND, "cannot find the host 'broker.invalid'")


@pytest.mark.parametrize(
    ("version", "code", "said"),
    [
        ("311", 4, "bad user name or password"),
        ("311", 5, "not authorized"),
        ("31", 5, "not authorized"),
        ("5", 0x86, "bad user name or password"),
        ("5", 0x87, "not authorized"),
        ("5", 0x89, "server busy"),
    ],
)
def test_a_refusal_of_the_server_is_its_reason_code(version: str, code: int, said: str) -> None:
    with DeafServer(Connack(False, code)) as server:
        status, line = failure("-h", "127.0.0.1", "-p", server.port, "-V", version)
    assert status == code
    assert said in line


def test_a_certificate_for_another_name(certificates: Certificates) -> None:
    with DeafServer(context=certificates.server_context(), connections=2) as server:  # the second asks whose it is
        status, line = failure("-h", "127.0.0.1", "-p", server.port, "--cafile", str(certificates.authority))
    assert status == Exit.TLS
    assert line == (
        f"TLS: the certificate of 127.0.0.1:{server.port} is not valid for '127.0.0.1'; it is for 'localhost'"
    )
    assert server.connects == []


def test_a_certificate_that_nobody_vouches_for(certificates: Certificates) -> None:
    with DeafServer(Connack(), context=certificates.server_context()) as server:
        status, line = failure("-L", f"mqtts://localhost:{server.port}/a")
    assert status == Exit.TLS
    assert line.startswith(f"TLS: the certificate of localhost:{server.port} cannot be trusted: ")
    assert line.endswith("; name its authority: --cafile ca.pem")


def test_a_server_that_waits_for_TLS_and_so_closes_without_an_answer() -> None:
    with DeafServer(hangs_up=True) as server:
        status, line = failure("-h", "127.0.0.1", "-p", server.port)
    assert status == Exit.CONNECTION_LOST
    assert line == (
        "the connection was lost: the server closed the connection before CONNACK; it may want TLS: --cafile ca.pem"
    )


def test_a_server_that_knows_no_MQTT_5() -> None:
    with DeafServer(Connack(False, ReasonCode.UNSUPPORTED_PROTOCOL_VERSION)) as server:
        status, line = failure("-h", "127.0.0.1", "-p", server.port)
    assert status == 0x84
    assert line.endswith("unsupported protocol version (0x84): take an older one: -V 311")


def test_a_server_that_ends_the_connection() -> None:
    with DeafServer(Connack(), hangs_up=True) as server:
        status, line = failure("-h", "127.0.0.1", "-p", server.port, "-q", "1")
    assert status == Exit.CONNECTION_LOST
    assert line.startswith("the connection was lost: ")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk() -> None:
    with BrokerProcess() as broker, broker.connect("full") as publisher, open("/dev/full", "wb") as full:
        publisher.send(Publish(b"full", b"x", retain=True))
        flags = ("-p", str(broker.port), "-t", "full", "-C", "1")
        run = subprocess.run(
            [*OURS, "sub", *flags], stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False
        )
        assert (run.returncode, run.stderr) == (74, b"tidewire: cannot read or write: No space left on device\n")


def test_a_closed_standard_output_is_no_socket_of_ours() -> None:
    with BrokerProcess() as broker, broker.connect("closed") as publisher:
        publisher.send(Publish(b"closed", b"x", retain=True))
        command = ["sh", "-c", '"$@" >&-', "sh", *OURS, "sub", "-p", str(broker.port), "-t", "closed", "-C", "1"]
        run = subprocess.run(command, stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False)
        assert (run.returncode, run.stderr) == (0, b"")


def test_quiet_says_nothing_but_has_the_status() -> None:
    run = tidewire("pub", "-t", "a", "-m", "x", "-h", "broker.invalid", "--quiet")
    assert (run.returncode, run.stdout, run.stderr) == (Exit.HOST_NOT_FOUND, "", "")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)])
def test_a_signal_ends_a_command_without_a_word(number: signal.Signals, status: int) -> None:
    with BrokerProcess() as broker, Running("sub", "-p", str(broker.port), "-t", "a", "-d") as subscriber:
        subscriber.said("subscribed: ")
        before = len(subscriber.lines)
        assert subscriber.end(number) == status
        assert subscriber.lines[before:] == []


def test_a_lost_connection_is_known_by_its_kind_and_not_by_its_words() -> None:
    assert status_of(ConnectionLost("gone")) == Exit.CONNECTION_LOST
    assert status_of(ConnectionFailed("the connection was lost: gone")) == Exit.NOT_CONNECTED


def test_a_fault_of_ours_has_no_status() -> None:
    assert status_of(ZeroDivisionError()) is None
