"""Is every key of the configuration file read, and everything that is wrong with one said in one line?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process import BrokerProcess
from tidewire.access.passwords import set_password
from tidewire.access.rules import Rule
from tidewire.engine.limits import Limits
from tidewire.server.config import (
    Config,
    ConfigError,
    check_config,
    check_exposure,
    make_access,
    make_limits,
    read_config,
    read_document,
    vars_of,
)
from tidewire.wire import properties as p
from tidewire.wire.packets import Suback, Subscribe, SubscriptionRequest

EVERY_KEY = """
bind = ["127.0.0.1"]
port = 0
unix_socket = "{directory}/socket"
backlog = 16
accept_rate = 1000
connections = 20
log_level = "debug"
data = "{directory}/data"
durability = "relaxed"
queue_policy = "drop_oldest"

[access]
anonymous = true
password_file = "{directory}/passwords"
disclose = false

[[access.rules]]
effect = "allow"
topic = "#"

[[access.rules]]
effect = "deny"
action = "subscribe"
topic = "secret/#"
user = "alice"

[limits]
keep_alive_maximum_s = 60
receive_maximum = 7
"""


def config_of(directory: Path, text: str) -> Config:
    file = directory / "broker.toml"
    file.write_text(text)
    return read_config(file)


@pytest.fixture
def every_key(tmp_path: Path) -> Path:
    """A file with every key there is, and the password file that it names."""
    set_password(tmp_path / "passwords", "alice", b"secret")
    file = tmp_path / "broker.toml"
    file.write_text(EVERY_KEY.format(directory=tmp_path))
    return file


def test_an_empty_file_says_nothing_new(tmp_path: Path) -> None:
    assert config_of(tmp_path, "") == Config()


def test_every_key_is_read(every_key: Path) -> None:
    config = read_config(every_key)
    assert (config.bind, config.port, config.backlog) == (["127.0.0.1"], 0, 16)
    assert (config.accept_rate, config.connections, config.log_level) == (1000, 20, "debug")
    assert config.unix_socket == str(every_key.parent / "socket")
    access = make_access(config)
    assert access.anonymous
    assert access.passwords is not None
    assert access.passwords.verify("alice", b"secret")
    assert access.rules.rules == (Rule("allow", "all", b"#"), Rule("deny", "subscribe", b"secret/#", "alice"))
    assert not access.disclose
    limits = make_limits(config)
    assert (limits.keep_alive_maximum_s, limits.receive_maximum, limits.queue_policy) == (60, 7, "drop_oldest")
    assert (config.data, config.durability) == (str(every_key.parent / "data"), "relaxed")


def test_every_key_has_its_effect(every_key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEWIRE_DURABILITY")
    with BrokerProcess("--config", every_key) as broker:
        broker.wait_for(f"store: {every_key.parent}/data, durability relaxed")
        assert broker.addresses == [f"127.0.0.1:{broker.port}", str(every_key.parent / "socket")]
        alice = broker.connect("1", version=5, user_name="alice", password=b"secret")
        assert alice.connack.properties.integers[p.SERVER_KEEP_ALIVE] == 60
        assert alice.connack.properties.integers[p.RECEIVE_MAXIMUM] == 7
        alice.send(Subscribe(1, [SubscriptionRequest(b"secret/plan"), SubscriptionRequest(b"open")]))
        assert alice.receive() == Suback(1, [0x80, 0])
        stranger = broker.connect("2", version=5)
        stranger.send(Subscribe(1, [SubscriptionRequest(b"secret/plan")]))
        assert stranger.receive() == Suback(1, [0])


@pytest.mark.parametrize("name", sorted(vars_of(Limits())))
def test_every_limit_is_a_key(name: str) -> None:
    default = vars_of(Limits())[name]
    changed = default + 1 if default < 60_000 else default - 1
    assert getattr(make_limits(Config(limits={name: changed})), name) == changed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nport = ", "line 2: Invalid value, at the end"),
        ("\nport = = 2", "line 2: Invalid value, at column 8"),
        ("prot = 1", "line 1: prot: there is no such key; did you mean port?"),
        ("\n[access]\nanonymos = true", "line 3: access.anonymos: there is no such key; did you mean anonymous?"),
        (
            '[[access.rules]]\neffect = "allow"\ntopic = "#"\n[[access.rules]]\neffect = "deny"\ntopik = "a"',
            "line 6: access.rules.2.topik: there is no such key; did you mean topic? "
            "(and 1 more: tidewire config check)",
        ),
        ("zzz = 1", "line 1: zzz: there is no such key"),
        ("[listener]\nport = 1", "line 1: listener: there may be many of it; write [[listener]]"),
        ("access = 1", "line 1: access: this is a table of keys"),
        ('port = "1883"', "line 1: port: expected a whole number, got a text"),
        ("port = 65536", "line 1: port: 65536 must be at most 65535"),
        ("port = -1", "line 1: port: -1 must be at least 0"),
        ("backlog = 0", "line 1: backlog: 0 must be at least 1"),
        ("accept_rate = 0", "line 1: accept_rate: 0 must be at least 1"),
        ("connections = -1", "line 1: connections: -1 must be at least 0"),
        ('bind = "127.0.0.1"', "line 1: bind: expected a list, got a text"),
        ("bind = [\n  1883,\n]", "line 2: bind.1: expected a text, got a whole number"),
        (
            'log_level = "inof"',
            'line 1: log_level: \'inof\' is none of "debug", "info", "warning", "error"; did you mean info?',
        ),
        ('[[access.rules]]\neffect = "permit"\ntopic = "a"', "line 2: access.rules.1.effect: 'permit' is none of "),
        ('[[access.rules]]\neffect = "allow"', "line 1: access.rules.1: topic is missing"),
        ("[access.http]\nurl = 1\n", "line 2: access.http.url: expected a text, got a whole number"),
        ("[access.jwt]\nleeway_s = 4e3", "line 2: access.jwt.leeway_s: 4000.0 must be at most 3600.0"),
        ("[limits]\nqueue_messages = true", "line 2: limits.queue_messages: expected a number, got true or false"),
        ("[limits]\nqueue_messages = -1", "line 2: limits.queue_messages: must lie between 0 and "),
        ("limits.queue_mesages = 1", "line 1: limits.queue_mesages: does not exist; did you mean queue_messages?"),
        ("[[listener]]\nport = 1\ntls = { certificate = 'a' }", "line 3: listener.1.tls: key is missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config_of(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path}/broker.toml, {said}")
    assert "\n" not in str(raised.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        config_of(tmp_path, "prot = 1\n[access]\nattempts = -1\n[limits]\nreceive_maximum = 0\n")
    lines = [error.removeprefix(f"{tmp_path}/broker.toml, ").split(": ")[:2] for error in raised.value.errors]
    assert lines == [["line 1", "prot"], ["line 3", "access.attempts"], ["line 5", "limits.receive_maximum"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[access]\n\npassword_file = "{}/no"', "line 3: access.password_file: cannot read the password file {}/no: "),
        ('[[access.rules]]\neffect = "allow"\ntopic = "a/#/b"', "line 1: access.rules.1: "),
        ('[access.http]\nurl = "ftp://host"', "line 2: access.http.url: 'ftp://host' does not begin with "),
        ('[[listener]]\nbind = ["127.0.0.1"]', "line 1: listener.1: neither a port nor a unix_socket; "),
        (
            "[[listener]]\nport = 0\n[listener.tls]\ncertificate = '{}/no.pem'\nkey = '{}/no.key'",
            "line 4: listener.1.tls.certificate: cannot read {}/no.pem: ",
        ),
        (
            "[[listener]]\nport = 0\ntls = { certificate = 'a', key = 'b', minimum_version = '1.3', ciphers = 'x' }",
            "line 3: listener.1.tls.ciphers: OpenSSL knows no cipher in 'x'",
        ),
        ("bind = []", "line 1: bind: there is no address to listen on"),
        ("# wide\nbind = ['0.0.0.0']", "line 2: bind.1: refusing to listen on 0.0.0.0 "),
    ],
)
def test_what_would_keep_a_broker_from_starting_is_found_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(text.replace("{}", str(tmp_path)))
    (error,) = check_config(read_document(file, {}))
    assert error.startswith(f"{file}, {said}".replace("{}", str(tmp_path)))


def test_a_broker_that_starts_has_nothing_wrong_with_its_file(every_key: Path) -> None:
    assert check_config(read_document(every_key, {})) == []


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "broker.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"broker\.toml is not UTF-8 text"):
        read_config(tmp_path / "broker.toml")


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"queue_mesages": 1}, "limits.queue_mesages does not exist; did you mean queue_messages?"),
        ({"queue_messages": -1}, "limits.queue_messages must lie between 0 and "),
        ({"queue_messages": float("inf")}, "limits.queue_messages must lie between 0 and "),
        ({"queue_messages": float("nan")}, "limits.queue_messages must lie between 0 and "),
        ({"queue_messages": 10**30}, "limits.queue_messages must lie between 0 and "),
        ({"receive_maximum": 0}, "limits.receive_maximum must lie between 1 and 65535"),
        ({"receive_maximum": 65_536}, "limits.receive_maximum must lie between 1 and 65535"),
        ({"inflight_maximum": 65_535}, "limits.inflight_maximum must lie between 1 and 65534"),
        ({"maximum_packet_size": 5}, "limits.maximum_packet_size must lie between 256 and 268435460"),
        ({"retained_burst": 0}, "limits.retained_burst must lie between 1 and "),
    ],
)
def test_a_limit_that_cannot_be_is_named(limits: dict[str, int | float], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make_limits(Config(limits=limits))
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ('effect = "allow"\ntopic = "a/#/b"', "access.rules, rule 1: "),
        ('effect = "allow"\ntopic = ""', "access.rules, rule 1: "),
        ('effect = "deny"\ntopic = "a"', "access.rules allow nothing; add at least one rule"),
    ],
)
def test_a_rule_that_cannot_be_is_named(tmp_path: Path, rules: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make_access(config_of(tmp_path, f"[[access.rules]]\n{rules}\n"))
    assert str(raised.value).startswith(said)


def test_with_a_password_file_nobody_is_anonymous_unless_it_is_said(tmp_path: Path) -> None:
    set_password(tmp_path / "passwords", "alice", b"secret")
    config = config_of(tmp_path, f'[access]\npassword_file = "{tmp_path}/passwords"\n')
    assert not make_access(config).anonymous
    assert make_access(Config()).anonymous


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_is_served_without_credentials(address: str) -> None:
    check_exposure(Config(bind=[address]))
