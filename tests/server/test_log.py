"""Is there one line per connect, disconnect, refusal and burst of drops, none per message, and can none be forged?"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.process import BrokerProcess
from tidewire.server.log import WARNINGS_PER_SECOND, FloodFilter, quoted
from tidewire.wire.packets import Connect, Disconnect, Pingreq, Pingresp, Publish, Will

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO   |WARNING|ERROR  ) \S.*\n")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """With a queue of two messages, and a topic that nobody may use."""
    config = tmp_path / "broker.toml"
    config.write_text(
        """
        port = 0
        [limits]
        queue_messages = 2
        inflight_maximum = 1
        [[access.rules]]
        effect = "deny"
        topic = "forbidden"
        [[access.rules]]
        effect = "allow"
        topic = "#"
        """
    )
    with BrokerProcess("--config", config) as process:
        yield process


def test_connect_and_disconnect_are_a_line_each(broker: BrokerProcess) -> None:
    client = broker.connect("alice", 5, keep_alive=60)
    port = client.socket.getsockname()[1]
    client.send(Disconnect())
    broker.wait_for(" disconnected ")
    assert broker.lines_with("connected") == [
        f"connected client=alice peer=127.0.0.1:{port} user=- version=5.0 keep_alive=60s resumed=no"
    ]
    assert broker.lines_with("disconnected") == [
        f'disconnected client=alice peer=127.0.0.1:{port} reason=success detail="client disconnected"'
    ]


def test_a_session_that_is_resumed_and_taken_over_says_so(broker: BrokerProcess) -> None:
    broker.connect("alice", 4, clean_start=False)
    broker.connect("alice", 4, clean_start=False)
    assert "reason=session_taken_over" in broker.wait_for(" disconnected ").string
    assert broker.wait_for(" connected ", times=2).string.endswith("version=3.1.1 keep_alive=0s resumed=yes\n")


def test_a_protocol_violation_is_the_reason_of_its_disconnect(broker: BrokerProcess) -> None:
    broker.connect("alice", 5).send(Connect("alice", 5))
    line = broker.wait_for(" disconnected ").string
    assert "client=alice" in line
    assert line.endswith(' reason=protocol_error detail="a second CONNECT"\n')


def test_a_connection_that_breaks_is_told_from_one_that_says_good_bye(broker: BrokerProcess) -> None:
    broker.connect("alice").close()
    line = broker.wait_for(" disconnected ").string
    assert line.endswith(' reason=unspecified_error detail="connection closed by the client"\n')


def test_a_refusal_is_one_line(broker: BrokerProcess) -> None:
    with broker.open() as garbage:
        garbage.send_bytes(b"GET / HTTP/1.1\r\n\r\n")
        assert garbage.receive() is None
    with broker.open(3) as nameless:
        nameless.send(Connect("", 3))
        assert nameless.receive() is not None
    broker.wait_for(" refused ", times=2)
    first, second = broker.lines_with("refused")
    assert re.fullmatch(r'refused peer=127\.0\.0\.1:\d+ reason=\w+ detail="[^"]+"', first)
    assert second.endswith('reason=client_identifier_not_valid detail="no client identifier"')
    assert not broker.lines_with("connected")


def test_a_burst_of_drops_is_one_line_and_its_total_another(broker: BrokerProcess) -> None:
    subscriber = broker.connect("slow", 5)
    subscriber.subscribe("a", 1)
    publisher = broker.connect("publisher", 5)
    for identifier in range(1, 101):
        publisher.send(Publish(b"a", b"x", 1, packet_identifier=identifier))
        publisher.receive()
    subscriber.send(Disconnect())
    broker.wait_for("dropped client=slow", times=4)
    assert broker.lines_with("dropped") == [
        'dropped client=slow reason="queue full" messages=1',
        'dropped client=slow reason="session ended" messages=3',
        'dropped client=slow reason="queue full" messages=97',
        'dropped client=slow reason="session ended" messages=3',
    ]


def test_a_denied_topic_is_told_once_a_burst(broker: BrokerProcess) -> None:
    client = broker.connect("alice", 5)
    for _ in range(50):
        client.publish("forbidden")
    client.send(Pingreq())
    assert client.receive() == Pingresp()
    client.close()
    broker.wait_for(" disconnected ")
    assert broker.lines_with("denied") == ["denied client=alice action=publish topic=forbidden"]


def test_messages_leave_no_line(broker: BrokerProcess) -> None:
    subscriber, publisher = broker.connect("subscriber"), broker.connect("publisher")
    subscriber.subscribe("#")
    broker.wait_for(" connected ", times=2)
    before = list(broker.lines)
    for identifier in range(1, 101):
        publisher.publish("a")
        publisher.send(Publish(b"b", b"x", 1, retain=True, packet_identifier=identifier))
        publisher.receive()
    publisher.send(Pingreq())
    assert publisher.receive() == Pingresp()
    publisher.close()
    broker.wait_for(" disconnected ")
    assert broker.lines[:-1] == before


@pytest.mark.parametrize(
    "name",
    [
        "a\nconnected client=admin",
        "a\r\n2026-01-01 00:00:00,000 INFO    connected client=admin",
        'a" user=admin',
        "a user=admin",
        "user=admin",
        "a\x1b[31mred",
        "a\u2028b\u202ec",
        "\\",
        '\\" user=admin',
        "",
    ],
)
def test_no_client_identifier_forges_a_line_or_a_value(broker: BrokerProcess, name: str) -> None:
    with broker.connect(name, 5, user_name=name, will=Will(b"forbidden", b"x")) as client:
        client.send(Publish(name.encode() or b"forbidden", b"x"))
        client.send(Disconnect(4))
    broker.wait_for(" disconnected ")
    assert broker.stop() == 0
    assert all(LINE.fullmatch(line) for line in broker.lines), broker.lines
    assert all(line.isascii() and line[:-1].isprintable() for line in broker.lines)
    (connected,) = broker.lines_with("connected")
    values = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s"=]+)', connected)
    assert [key for key, _ in values] == ["client", "peer", "user", "version", "keep_alive", "resumed"]


@given(st.text())
def test_a_quoted_value_is_one_printable_word_that_gives_the_text_back(text: str) -> None:
    value = quoted(text)
    assert value.isascii()
    assert value.isprintable()
    if value.startswith('"') and value.endswith('"'):
        assert value[1:-1].replace('\\"', '"').encode().decode("unicode_escape") == text
    else:
        assert value == text
        assert not set(value) & set(' "=')


def test_nothing_is_loaded_from_a_file_when_a_line_is_written() -> None:
    program = "import sys, tidewire.server.log; sys.exit('encodings.unicode_escape' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_flood_of_one_warning_is_cut_and_counted() -> None:
    flood = FloodFilter()

    def warn(message: str, second: float) -> logging.LogRecord | None:
        record = logging.LogRecord("tidewire", logging.WARNING, "", 0, message, (), None)
        record.created = second
        return record if flood.filter(record) else None

    assert sum(warn("refused", 1.0) is not None for _ in range(1000)) == WARNINGS_PER_SECOND
    assert warn("denied", 1.5) is not None
    assert sum(warn("dropped", 1.5) is not None for _ in range(1000)) == 1000
    later = warn("refused", 2.0)
    assert later is not None
    assert "950 more warnings" in later.getMessage()
