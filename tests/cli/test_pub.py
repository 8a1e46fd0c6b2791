"""Does `tidewire pub` send what mosquitto_pub sends, and all of it?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.cli.mosquitto import OURS, Clients, installed
from tests.cli.running import Running
from tests.cli.server import DeafServer
from tests.process import PATIENCE_S, BareClient, BrokerProcess, tidewire
from tidewire.access.passwords import set_password
from tidewire.cli.pub import Progress, pub
from tidewire.wire.codes import PUBACK
from tidewire.wire.packets import Acknowledgement, Connack, Connect, Publish

END = "end"


def received(subscriber: BareClient, topic: str) -> list[Publish]:
    """What came on a topic since the last call: all before the message that this sends on another topic."""
    subscriber.publish(f"{topic}/{END}", b"")
    messages = []
    while isinstance(packet := subscriber.receive(), Publish) and not packet.topic.endswith(END.encode()):
        if packet.qos:
            subscriber.send(Acknowledgement(PUBACK, packet.packet_identifier))
        packet.packet_identifier = 0
        messages.append(packet)
    return messages


@installed
@pytest.mark.parametrize(
    ("flags", "stdin"),
    [
        (["-m", "hello"], b""),
        (["-m", "höhe", "-q", "1"], b""),
        (["-m", "x", "-q", "1", "-r"], b""),
        (["-n"], b""),
        (["-s"], b"all\nof it\xff"),
        (["-l"], b"one\n\ntwo\nthe end without an end"),
        (["-l", "-q", "1"], b"one\ntwo\r\n"),
        (["-m", "x", "--repeat", "3"], b""),
        (["-m", "x", "--repeat", "3", "--repeat-delay", "0.01", "-q", "1"], b""),
        (["-f", __file__], b""),
        (["-m", "x", "-V", "31"], b""),
        (["-m", "x", "-V", "mqttv5", "-x", "10", "-i", "someone", "-k", "10", "--nodelay", "-M", "5"], b""),
        (
            [
                *("-m", "x", "-q", "1", "-D", "publish", "content-type", "text/plain"),
                *("-D", "publish", "correlation-data", "c0", "-D", "publish", "message-expiry-interval", "60"),
                *("-D", "publish", "payload-format-indicator", "1", "-D", "publish", "response-topic", "re/ply"),
                *("-D", "publish", "user-property", "a", "1", "-D", "publish", "user-property", "a", "2"),
            ],
            b"",
        ),
        (["-m", "x", "-D", "publish", "topic-alias", "1", "--repeat", "3"], b""),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_the_same_messages_arrive_as_from_mosquitto(
    broker: BrokerProcess, clients: Clients, topic: str, flags: list[str], stdin: bytes
) -> None:
    with broker.connect(f"watch {topic}", version=5) as subscriber:
        subscriber.subscribe(f"{topic}/#", 1)
        assert clients.mosquitto("pub", "-t", f"{topic}/a", *flags, stdin=stdin).returncode == 0
        theirs = received(subscriber, topic)
        run = clients.tidewire("pub", "-t", f"{topic}/a", *flags, stdin=stdin)
        assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
        assert received(subscriber, topic) == theirs
        assert theirs


@installed
@pytest.mark.parametrize(
    "flags",
    [
        ["-i", "alice"],
        ["-i", "alice", "-u", "me", "-P", "secret", "-k", "7"],
        ["-i", "alice", "-c"],
        ["-i", "alice", "-V", "31"],
        ["-i", "alice", "-V", "5", "-c", "-x", "60"],
        ["-i", "alice", "-V", "5", "-c"],
        ["-i", "alice", "-V", "5", "-x", "-1", "-P", "secret"],
        ["-i", "alice", "--will-topic", "gone", "--will-payload", "x", "--will-qos", "2", "--will-retain"],
        [
            "-i",
            "alice",
            "--will-topic",
            "gone",
            "-D",
            "will",
            "will-delay-interval",
            "5",
            "-D",
            "will",
            "content-type",
            "t",
        ],
        ["-i", "alice", "-D", "connect", "user-property", "a", "b", "-D", "connect", "receive-maximum", "9"],
        ["-i", "alice", "-D", "connect", "authentication-method", "M", "-D", "connect", "authentication-data", "d"],
    ],
    ids=" ".join,
)
def test_the_same_connection_is_asked_for_as_by_mosquitto_and_a_refusal_has_the_same_status(
    tmp_path: Path, flags: list[str]
) -> None:
    if not {"-V", "-D"} & set(flags):
        flags = [*flags, "-V", "311"]
    not_authorized = 0x87 if {"5", "-D"} & set(flags) else 5
    with DeafServer(Connack(False, not_authorized), connections=2) as server:
        clients = Clients(int(server.port), tmp_path)
        (theirs, _), (ours, _) = clients.both("pub", "-t", "a", "-m", "x", *flags)
    assert theirs == ours == not_authorized
    asked = [comparable(connect) for connect in server.connects]
    assert asked[0] == asked[1]


def comparable(connect: Connect) -> bytes:
    """CONNECT without what is a matter of taste: how much we take at a time, unless the command line says it."""
    if connect.properties.integers.get(0x21) in (20, 1024):  # Receive Maximum
        del connect.properties.integers[0x21]
    connect.properties.integers = dict(sorted(connect.properties.integers.items()))
    return connect.encode(connect.version)


def test_the_url_says_where_to_and_which_topic(broker: BrokerProcess, topic: str) -> None:
    with broker.connect(f"watch {topic}") as subscriber:
        subscriber.subscribe(f"{topic}/#")
        run = tidewire("pub", "-L", f"mqtt://127.0.0.1:{broker.port}/{topic}/lamp", "-m", "on")
        assert (run.returncode, run.stderr) == (0, "")
        assert [(m.topic, m.payload) for m in received(subscriber, topic)] == [(f"{topic}/lamp".encode(), b"on")]


def test_each_line_of_a_file_is_a_message(broker: BrokerProcess, topic: str, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("one\ntwo\n")
    with broker.connect(f"watch {topic}") as subscriber:
        subscriber.subscribe(f"{topic}/#")
        run = tidewire("pub", "-p", str(broker.port), "-t", f"{topic}/a", "-l", "-f", tmp_path / "lines")
        assert (run.returncode, run.stderr) == (0, "")
        assert [message.payload for message in received(subscriber, topic)] == [b"one", b"two"]


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_many_lines_arrive_all_and_in_order(broker: BrokerProcess, topic: str, qos: str) -> None:
    count = 6000  # more than may wait for their acknowledgement at once
    with Running(
        "sub", "-p", str(broker.port), "-t", topic, "-q", qos, "-C", str(count), "--plain", "-d"
    ) as subscriber:
        subscriber.said("subscribed: ")
        lines = "".join(f"{number}\n" for number in range(count))
        run = tidewire("pub", "-p", str(broker.port), "-t", topic, "-l", "-q", qos, stdin=lines)
        assert (run.returncode, run.stderr) == (0, "")
        assert subscriber.end() == 0
        assert subscriber.output == lines


def test_lines_leave_as_they_are_typed(broker: BrokerProcess, topic: str) -> None:
    with broker.connect(f"watch {topic}") as subscriber:
        subscriber.subscribe(topic)
        with Running("pub", "-p", str(broker.port), "-t", topic, "-l") as publisher:
            assert publisher.process.stdin is not None
            for line in ("one", "two"):
                publisher.process.stdin.write(f"{line}\n")
                publisher.process.stdin.flush()
                packet = subscriber.receive()
                assert isinstance(packet, Publish)
                assert packet.payload == line.encode()
            assert publisher.end() == 0


def test_a_refused_message_is_told_with_its_reason_code_if_nobody_asks_for_an_older_version(tmp_path: Path) -> None:
    set_password(tmp_path / "passwords", "alice", b"secret")
    (tmp_path / "broker.toml").write_text(
        f'port = 0\n[access]\npassword_file = "{tmp_path}/passwords"\n'
        '[[access.rules]]\neffect = "allow"\ntopic = "open/#"\n'
    )
    with BrokerProcess("--config", tmp_path / "broker.toml") as broker:
        flags = ("-p", str(broker.port), "-u", "alice", "-P", "secret", "-q", "1", "-m", "x")
        run = tidewire("pub", *flags, "-t", "closed/a", "--repeat", "3")
        assert run.returncode == 0x87
        assert run.stderr == (
            "tidewire: 3 of 3 messages were refused: publish to 'closed/a': the server refused it: "
            "not authorized (0x87)\n"
        )
        assert tidewire("pub", *flags, "-t", "open/a").returncode == 0
        wrong = tidewire("pub", *flags, "-t", "open/a", "-P", "guessed")
        assert wrong.returncode == 0x86
        assert "bad user name or password (0x86)" in wrong.stderr


def test_debug_says_what_happens(broker: BrokerProcess, topic: str) -> None:
    run = tidewire("pub", "-p", str(broker.port), "-i", "alice", "-t", topic, "-m", "x", "-q", "1", "-d")
    assert run.stderr.splitlines() == [
        f"connected: mqtt://localhost:{broker.port}",
        "client identifier 'alice', session new, MQTT 5.0",
        "published 1 messages, 0 refused",
    ]


def test_a_long_publish_shows_its_progress_on_a_terminal(
    broker: BrokerProcess, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    controlling, terminal = os.openpty()
    flags = ("-p", str(broker.port), "-t", topic, "-m", "x", "--repeat", "3", "--repeat-delay", "0.6")
    process = subprocess.Popen([*OURS, "pub", *flags], stderr=terminal)
    assert process.wait(PATIENCE_S) == 0
    os.close(terminal)
    shown = os.read(controlling, 65_536).decode()
    os.close(controlling)
    assert "published" in shown
    assert "100%" in shown


def test_a_short_one_shows_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(3) as progress:
        for _ in range(3):
            progress.advance(1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-m", "x"], "say where to publish: -t TOPIC"),
        (["-t", "a"], "say what to send, and only once: -m TEXT, -f FILE, -l, -s or -n"),
        (["-t", "a", "-m", "x", "-n"], "say what to send, and only once"),
        (["-t", "a", "-l", "--repeat", "2"], "--repeat cannot be used with -l"),
        (["-t", "a/#", "-m", "x"], "must not contain a wildcard"),
        (["-L", "mqtt://localhost/a/#", "-m", "x"], "must not contain a wildcard"),
        (["-t", "a", "-f", "/no/such/file"], "cannot read /no/such/file: No such file or directory"),
        (["-t", "a", "-f", "/no/such/file", "-l"], "cannot read /no/such/file: No such file or directory"),
        (["-t", "a", "-f", "/"], "cannot read /: Is a directory"),
        (["-t", "a", "-m", "x", "-P", "secret", "-V", "311"], "a password needs a user name"),
        (["-t", "a", "-m", "x", "-D", "publish", "colour", "red"], "-D publish has no property 'colour'"),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_mend(flags: list[str], said: str) -> None:
    with pytest.raises(click.UsageError) as refusal:
        pub.main(flags, standalone_mode=False)
    assert said in refusal.value.format_message()


def test_the_help_has_examples_and_every_flag_of_the_manual_page() -> None:
    text = tidewire("pub", "--help").stdout
    assert "tidewire pub -t greeting -m hello" in text
    manual = (
        "-A -c --disable-clean-session --cafile --capath --cert --ciphers -d --debug -D --property -f --file --help -h "
        "--host -i --id -I --id-prefix --insecure -k --keepalive --key --keyform -L --url -l --stdin-line -m --message "
        "-M -n --null-message --nodelay -p --port -P --pw --proxy --psk --psk-identity -q --qos --quiet -r --retain "
        "--repeat --repeat-delay -s --stdin-file -S -t --topic --tls-alpn --tls-engine --tls-engine-kpass-sha1 "
        "--tls-use-os-certs --tls-version -u --username --unix -V --protocol-version --will-payload --will-qos "
        "--will-retain --will-topic -x"
    )
    assert set(manual.split()) <= set(re.findall(r"(?<!\w)--?\w[\w-]*", text))
