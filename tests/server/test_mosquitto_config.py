"""Is what a configuration of Mosquitto says taken over, and what cannot be, told line by line?"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidewire.server.config import Config, ConfigError, make_limits
from tidewire.server.config_text import document_text
from tidewire.server.mosquitto_config import convert_mosquitto
from tidewire.server.mosquitto_reasons import REASONS, SAME_HERE

EVERYWHERE = ["0.0.0.0", "::"]


def converted(directory: Path, text: str) -> tuple[dict[str, Any], list[str]]:
    """The document, which is a configuration, and the notes without their file."""
    file = directory / "mosquitto.conf"
    file.write_text(text)
    values, notes = convert_mosquitto(file)
    assert tomllib.loads(document_text(values)) == values
    make_limits(msgspec.convert(values, Config))
    return values, [note.removeprefix(f"{file}, ") for note in notes]


def test_an_empty_file_serves_this_machine_without_passwords_as_there(tmp_path: Path) -> None:
    assert converted(tmp_path, "# nothing\n\n") == ({}, [])


def test_a_listener_listens_everywhere_and_lets_nobody_in_without_a_name(tmp_path: Path) -> None:
    values, notes = converted(tmp_path, "listener 1883\n")
    assert values == {
        "bind": [],
        "access": {"anonymous": False},
        "listener": [{"bind": EVERYWHERE, "port": 1883}],
    }
    assert notes == []


@pytest.mark.parametrize(
    ("text", "listener"),
    [
        ("port 1884", {"bind": EVERYWHERE, "port": 1884}),
        ("bind_address 10.0.0.1", {"bind": ["10.0.0.1"], "port": 1883}),
        ("port 1884\nbind_address 10.0.0.1", {"bind": ["10.0.0.1"], "port": 1884}),
        ("max_connections 5", {"bind": ["127.0.0.1", "::1"], "port": 1883, "connections": 5}),
        ("listener 1885 127.0.0.1", {"bind": ["127.0.0.1"], "port": 1885}),
        ("listener 0 /run/mqtt.sock", {"unix_socket": "/run/mqtt.sock"}),
        ("listener 1885\nsocket_domain ipv4", {"bind": ["0.0.0.0"], "port": 1885}),
        ("listener 1885\nmax_connections 10", {"bind": EVERYWHERE, "port": 1885, "connections": 10}),
        ("listener 1885\nmax_connections -1\nprotocol mqtt", {"bind": EVERYWHERE, "port": 1885}),
    ],
)
def test_every_way_to_name_a_listener_is_understood(tmp_path: Path, text: str, listener: dict[str, Any]) -> None:
    values, notes = converted(tmp_path, text)
    assert (values["listener"], notes) == ([listener], [])


def test_the_default_listener_has_its_tls_and_stays_on_this_machine(tmp_path: Path) -> None:
    values, notes = converted(tmp_path, "certfile a\nkeyfile b\n")
    tls = {"certificate": "a", "key": "b"}
    assert values == {"bind": [], "listener": [{"bind": ["127.0.0.1", "::1"], "port": 1883, "tls": tls}]}
    assert notes == []


def test_websockets_are_taken_over_with_a_word_about_their_path(tmp_path: Path) -> None:
    values, notes = converted(tmp_path, "listener 9001\nprotocol websockets\nwebsockets_origin https://a.example\n")
    listener = {"bind": EVERYWHERE, "port": 9001, "protocol": "websocket", "origins": ["https://a.example"]}
    assert values["listener"] == [listener]
    (note,) = notes
    assert note.startswith("line 2: protocol: taken over; ")


def test_tls_is_taken_over(tmp_path: Path) -> None:
    values, notes = converted(
        tmp_path,
        "listener 8883\ncafile ca.crt\ncertfile s.crt\nkeyfile s.key\nrequire_certificate true\n"
        "use_identity_as_username true\ncrlfile c.crl\ntls_version tlsv1.3\nciphers HIGH\n",
    )
    assert values["listener"][0]["tls"] == {
        "certificate": "s.crt",
        "key": "s.key",
        "client_ca": "ca.crt",
        "client_certificate": "required",
        "revocation_list": "c.crl",
        "minimum_version": "1.3",
        "ciphers": "HIGH",
        "identity": "common_name",
    }
    assert notes == []


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("use_identity_as_username true", "line 4: use_identity_as_username: it needs require_certificate true"),
        ("require_certificate true", "line 4: require_certificate: it needs client_ca: "),
        ("tls_version tlsv1.1", "line 4: tls_version: tlsv1.1 is broken"),
    ],
)
def test_what_tls_cannot_take_over_is_told(tmp_path: Path, text: str, note: str) -> None:
    values, notes = converted(tmp_path, f"listener 8883\ncertfile a\nkeyfile b\n{text}\n")
    assert len(notes) == 1
    assert notes[0].startswith(note)
    assert values["listener"][0]["tls"]["certificate"] == "a"


def test_tls_without_a_certificate_is_told(tmp_path: Path) -> None:
    values, notes = converted(tmp_path, "listener 8883\npsk_file p\n")
    assert "tls" not in values["listener"][0]
    assert notes == ["line 2: psk_file: TLS needs a certificate and a key; make them: tidewire certs make"]


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("max_inflight_messages 20", {"inflight_maximum": 20, "receive_maximum": 20}),
        ("max_inflight_messages 0", {"inflight_maximum": 65_534, "receive_maximum": 65_534}),
        ("max_queued_messages 500", {"queue_messages": 500}),
        ("max_queued_bytes 70000", {"queue_bytes": 70_000}),
        ("max_packet_size 2000", {"maximum_packet_size": 2000}),
        ("max_packet_size 0", {"maximum_packet_size": 268_435_460}),
        ("message_size_limit 1000", {"maximum_packet_size": 66_536}),
        ("message_size_limit 0", {"maximum_packet_size": 268_435_460}),
        ("max_keepalive 60", {"keep_alive_maximum_s": 60}),
        ("persistent_client_expiration 14d", {"session_expiry_maximum_s": 14 * 86_400}),
        ("persistent_client_expiration 2m", {"session_expiry_maximum_s": 60 * 86_400}),
        ("persistent_client_expiration 900y", {"session_expiry_maximum_s": 0xFFFF_FFFF}),
        ("sys_interval 0", {"sys_interval_s": 0}),
        ("max_topic_alias 10", {"topic_alias_maximum": 10}),
    ],
)
def test_limits_are_taken_over(tmp_path: Path, text: str, limits: dict[str, int]) -> None:
    assert converted(tmp_path, text) == ({"limits": limits}, [])


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("max_queued_messages 0", "queue_messages has to have a bound here; its default stays"),
        ("max_queued_bytes many", "'many' is no number"),
        ("persistent_client_expiration 14", "'14' is no time such as 14d"),
        ("listener x", "'x' is no port"),
        ("log_type subscribe", "it has no level of its own"),
        ("retain_available false", "retained messages cannot be switched off"),
        ("persistence true", "data is kept in a directory of its own"),
        ("plugin /usr/lib/x.so", "plugins of Mosquitto do not run here"),
        ("auth_opt_host db", "plugins of Mosquitto do not run here"),
        ("pid_file /run/x", "name it where the broker is started: tidewire serve --pid-file FILE"),
    ],
)
def test_what_cannot_be_taken_over_is_told_with_its_line_and_reason(tmp_path: Path, text: str, note: str) -> None:
    _, notes = converted(tmp_path, f"# first\n{text}\n")
    assert [line.startswith(f"line 2: {text.split(maxsplit=1)[0]}: {note}") for line in notes] == [True]


def test_a_packet_size_that_is_too_small_is_bounded_and_told(tmp_path: Path) -> None:
    values, notes = converted(tmp_path, "max_packet_size 20")
    assert values == {"limits": {"maximum_packet_size": 256}}
    assert notes == ["line 1: max_packet_size: it is 256 here, which is the least there is"]


def test_what_is_so_here_anyway_is_not_worth_a_word(tmp_path: Path) -> None:
    text = "\n".join(f"{key} {value or 'true'}" for key, (value, _) in SAME_HERE.items())
    assert converted(tmp_path, text) == ({}, [])


@pytest.mark.parametrize("key", sorted(REASONS))
def test_every_reason_can_be_met(tmp_path: Path, key: str) -> None:
    assert converted(tmp_path, f"{key} x") == ({}, [f"line 1: {key}: {REASONS[key]}"])


def test_a_bridge_is_one_line_and_its_settings_are_nobody_elses(tmp_path: Path) -> None:
    bridge = "connection up\naddress a:1883\ntopic # both 0\nbridge_cafile x\nremote_username u\n"
    values, notes = converted(tmp_path, f"{bridge}listener 1885\nmax_connections 3\n")
    assert notes == ["line 1: connection: the bridge up is left out: write it as [[bridge]], as docs/bridges.md says"]
    assert values["listener"][0]["connections"] == 3


def test_the_most_talkative_log_type_wins(tmp_path: Path) -> None:
    values, _ = converted(tmp_path, "log_type error\nlog_type notice\nlog_type warning\n")
    assert values == {"log_level": "info"}


def test_access_counts_for_all_wherever_it_stands(tmp_path: Path) -> None:
    values, notes = converted(tmp_path, "listener 1883\nallow_anonymous true\nacl_file a\nlistener 1884\n")
    assert values["access"] == {"acl_file": "a", "anonymous": True}
    assert notes == []


def test_access_that_differs_by_listener_is_the_strictest_and_told(tmp_path: Path) -> None:
    values, notes = converted(
        tmp_path,
        "per_listener_settings true\n"
        "listener 1883 127.0.0.1\nallow_anonymous true\n"
        "listener 1884\nallow_anonymous false\npassword_file p\n"
        "listener 1885\npassword_file q\n",
    )
    assert values["access"] == {"password_file": "p", "anonymous": False}
    assert [note.split(": ")[:2] for note in notes] == [
        ["line 8", "password_file"],
        ["line 6", "password_file"],
        ["line 3", "allow_anonymous"],
    ]


def test_access_that_is_the_same_for_each_listener_is_taken_over(tmp_path: Path) -> None:
    each = "allow_anonymous true\npassword_file p\n"
    values, notes = converted(tmp_path, f"per_listener_settings true\nlistener 1883\n{each}listener 1884\n{each}")
    assert values["access"] == {"password_file": "p", "anonymous": True}
    assert notes == []


def test_included_files_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "b.conf").write_text("listener 2\n")
    (tmp_path / "d" / "a.conf").write_text("listener 1\nhttp_dir x\n")
    (tmp_path / "d" / "c.txt").write_text("listener 3\n")
    values, notes = converted(tmp_path, f"include_dir {tmp_path}/d\nlistener 4\n")
    assert [listener["port"] for listener in values["listener"]] == [1, 2, 4]
    assert notes == [f"{tmp_path}/d/a.conf, line 2: http_dir: {REASONS['http_dir']}"]


def test_a_file_without_a_setting_of_mosquitto_is_no_configuration_of_it(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_text("# ours\n[limits]\nqueue_messages = 5\n")
    with pytest.raises(ConfigError, match=r"a\.conf is no configuration of Mosquitto"):
        convert_mosquitto(file)
    values, notes = converted(tmp_path, "bananas 7\nmax_queued_messages 5\n")
    assert values == {"limits": {"queue_messages": 5}}
    assert notes == ["line 1: bananas: Mosquitto has no such setting, as far as is known here"]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*no\.conf: No such file"):
        convert_mosquitto(tmp_path / "no.conf")
    file = tmp_path / "a.conf"
    file.write_text("include_dir /no/such\n")
    with pytest.raises(ConfigError, match=r"a\.conf, line 1: include_dir: there is no directory /no/such"):
        convert_mosquitto(file)
    file.write_text(f"include_dir {tmp_path}\n")
    with pytest.raises(ConfigError, match="includes itself"):
        convert_mosquitto(file)
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        convert_mosquitto(file)
