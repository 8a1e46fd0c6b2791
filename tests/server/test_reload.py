"""Does a running broker go by a new configuration, let go of nobody, and keep the old one when the new one is wrong?"""

from __future__ import annotations

import signal
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.process import BrokerProcess
from tests.server.handshake import client_context
from tidewire.access.passwords import set_password
from tidewire.engine.limits import Limits
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.reload import PROMISED, SWITCHES, TAKEN_AT_START
from tidewire.wire import properties as p
from tidewire.wire.packets import Pingreq, Pingresp, Publish, Suback, Subscribe, SubscriptionRequest

START = 'bind = ["127.0.0.1"]\nport = 0\n'


class Reloading:
    """A broker with a file that a test changes."""

    def __init__(self, directory: Path, text: str = "", *arguments: str | Path) -> None:
        self.file = directory / "broker.toml"
        self.file.write_text(START + text)
        self.broker = BrokerProcess("--config", self.file, *arguments)
        self._reloads = 0

    def __enter__(self) -> Reloading:
        return self

    def __exit__(self, *_: object) -> None:
        self.broker.kill()

    def write(self, text: str, start: str = START) -> list[str]:
        """A new configuration, once it is in force; what waits for a restart."""
        before = len(self.broker.lines_with("needs a restart"))
        self._hang_up(text, start)
        self._reloads += 1
        self.broker.wait_for("configuration reloaded", self._reloads)
        return [line.partition("detail=")[2] for line in self.broker.lines_with("needs a restart")[before:]]

    def write_wrongly(self, text: str, start: str = START) -> str:
        """A configuration that cannot be used; what is said of it."""
        self._hang_up(text, start)
        return self.broker.wait_for("configuration kept detail=(.*)").group(1)

    def _hang_up(self, text: str, start: str) -> None:
        self.file.write_text(start + text)
        self.broker.signal(signal.SIGHUP)


def test_a_new_password_is_asked_for_and_who_is_connected_stays(tmp_path: Path) -> None:
    set_password(tmp_path / "passwords", "alice", b"secret")
    access = f'[access]\npassword_file = "{tmp_path}/passwords"\n'
    with Reloading(tmp_path, access) as reloading:
        broker = reloading.broker
        alice = broker.connect("1", user_name="alice", password=b"secret")
        set_password(tmp_path / "passwords", "alice", b"changed")
        set_password(tmp_path / "passwords", "bob", b"builder")
        assert reloading.write(access) == []
        assert broker.connect("2", user_name="alice", password=b"secret").connack.reason_code == 4
        assert broker.connect("3", user_name="alice", password=b"changed").connack.reason_code == 0
        assert broker.connect("4", user_name="bob", password=b"builder").connack.reason_code == 0
        alice.send(Pingreq())
        assert alice.receive() == Pingresp()


def test_rules_hold_at_once_for_who_is_connected(tmp_path: Path) -> None:
    rule = '[[access.rules]]\neffect = "allow"\ntopic = "{}"\n'
    with Reloading(tmp_path, rule.format("#")) as reloading:
        client = reloading.broker.connect("1")
        client.subscribe("#")
        assert reloading.write(rule.format("open")) == []
        client.send(Publish(b"shut", b"1"), Publish(b"open", b"2"))
        got = client.receive()
        assert isinstance(got, Publish)
        assert (got.topic, got.payload) == (b"open", b"2")
        reloading.broker.wait_for("access: who may do what: 1 rules", 2)


def test_rules_about_client_identifiers_hold_for_who_is_connected(tmp_path: Path) -> None:
    allowed = '[[access.rules]]\neffect = "allow"\ntopic = "#"\n'
    denied = '[[access.rules]]\neffect = "deny"\ntopic = "locked/%c"\n'
    with Reloading(tmp_path, allowed) as reloading:
        client = reloading.broker.connect("1")
        client.subscribe("#")
        assert reloading.write(allowed + denied) == []
        client.send(Publish(b"locked/1", b"1"), Publish(b"locked/2", b"2"))
        got = client.receive()
        assert isinstance(got, Publish)
        assert got.topic == b"locked/2"


def test_limits_hold_for_what_comes_and_those_that_cannot_change_wait(tmp_path: Path) -> None:
    with Reloading(tmp_path) as reloading:
        client = reloading.broker.connect("1", 5)
        assert client.connack.properties.integers.get(p.RECEIVE_MAXIMUM) == 1024
        waiting = reloading.write(
            'data = "elsewhere"\nqueue_policy = "refuse"\n'
            "[limits]\nsubscriptions_per_session = 1\nreceive_maximum = 7\nretained_messages = 5\nsys_interval_s = 0\n"
        )
        assert sorted(line.strip('"') for line in waiting) == [
            "data = 'elsewhere': it stays None",
            "limits.receive_maximum = 7: it stays 1024",
            "limits.retained_messages = 5: it stays 1000000",
            "limits.sys_interval_s = 0.0: it stays 10.0",
        ]
        client.send(Subscribe(1, [SubscriptionRequest(b"a"), SubscriptionRequest(b"b")]))
        assert client.receive() == Suback(1, [0, 0x97])


def test_the_log_level_and_the_number_of_connections_change(tmp_path: Path) -> None:
    with Reloading(tmp_path) as reloading:
        broker = reloading.broker
        client = broker.connect("1")
        assert reloading.write('connections = 1\nlog_level = "info"\n') == []
        with pytest.raises((ConnectionError, AssertionError)):
            broker.connect("2")
        client.send(Pingreq())
        assert client.receive() == Pingresp()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1\n", "line 3: prot: there is no such key; did you mean port?"),
        ("port = \n", "line 3: Invalid value"),
        ('[access]\npassword_file = "/no/such"\n', "cannot read the password file /no/such"),
        ("[[listener]]\nport = 0\n[listener.tls]\ncertificate = '/no'\nkey = '/no'\n", "cannot read /no"),
        ("[[listener]]\nbind = ['192.0.2.1']\nport = 0\n[access]\nanonymous = true\n", "is not an address of this"),
        ("[[listener]]\nbind = ['0.0.0.0']\nport = 0\n", "refusing to listen on 0.0.0.0"),
    ],
)
def test_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path, text: str, said: str) -> None:
    with Reloading(tmp_path, "[limits]\nreceive_maximum = 9\n") as reloading:
        assert said in reloading.write_wrongly(text).encode().decode("unicode_escape")
        client = reloading.broker.connect("1", 5)
        assert client.connack.properties.integers.get(p.RECEIVE_MAXIMUM) == 9


def test_listeners_come_and_go_and_their_clients_stay(tmp_path: Path) -> None:
    second = f'[[listener]]\nunix_socket = "{tmp_path}/socket"\n'
    with Reloading(tmp_path) as reloading:
        assert reloading.write(second) == []
        client = reloading.broker.connect("1", address=str(tmp_path / "socket"))
        assert reloading.write("") == []
        assert not (tmp_path / "socket").exists()
        client.send(Pingreq())
        assert client.receive() == Pingresp()
        assert reloading.broker.connect("2").connack.reason_code == 0


def test_a_listener_whose_address_is_held_by_another_one_waits(tmp_path: Path) -> None:
    place = CertificateDirectory(tmp_path / "certificates")
    place.make(["localhost"], (), 2, "ec", datetime.now(UTC))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    plain = f'[[listener]]\nname = "devices"\nbind = ["127.0.0.1"]\nport = {port}\n'
    tls = f"[listener.tls]\ncertificate = '{place.file('server')}'\nkey = '{place.key_file('server')}'\n"
    with Reloading(tmp_path, plain) as reloading:
        assert reloading.write(plain + tls) == [
            '"listener devices: its address is held by devices, which stays as it was"'
        ]
        assert reloading.broker.connect("1", address=("127.0.0.1", port)).connack.reason_code == 0


def test_a_certificate_is_another_one_at_once(tmp_path: Path) -> None:
    places = [CertificateDirectory(tmp_path / name) for name in ("old", "new")]
    texts = []
    for place in places:
        place.make(["localhost"], (), 2, "ec", datetime.now(UTC))
        texts.append(
            '[[listener]]\nbind = ["127.0.0.1"]\nport = 0\n'
            f"[listener.tls]\ncertificate = '{place.file('server')}'\nkey = '{place.key_file('server')}'\n"
        )
    with Reloading(tmp_path, texts[0]) as reloading:
        port = int(reloading.broker.addresses[1].rpartition(":")[2])
        assert reloading.write(texts[1]) == []
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            client_context(places[1]).wrap_socket(plain, server_hostname="localhost") as client,
        ):
            assert client.version()


def test_options_win_again(tmp_path: Path) -> None:
    with Reloading(tmp_path, "", "--log-level", "info") as reloading:
        assert reloading.write('log_level = "error"\n') == []  # its last line is logged: the level is still info


def test_every_limit_that_waits_is_a_limit() -> None:
    assert all(hasattr(Limits(), name) for name in TAKEN_AT_START | PROMISED | SWITCHES)
