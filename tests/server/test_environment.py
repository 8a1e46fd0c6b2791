"""Do the variables of the environment win over the file, and is what they say wrong told by their names?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tidewire.server.config import Config, ConfigError, make_limits, read_config
from tidewire.server.environment import unknown


def file_with(directory: Path, text: str) -> Path:
    (directory / "broker.toml").write_text(text)
    return directory / "broker.toml"


def test_every_kind_of_key_has_its_variable() -> None:
    config = read_config(
        None,
        {
            "TIDEWIRE_BIND": "127.0.0.1, ::1",
            "TIDEWIRE_PORT": "1884",
            "TIDEWIRE_LOG_LEVEL": "debug",
            "TIDEWIRE_ACCESS__PASSWORD_FILE": "/run/secrets/passwords",
            "TIDEWIRE_ACCESS__ANONYMOUS": "false",
            "TIDEWIRE_ACCESS__JWT__LEEWAY_S": "2.5",
            "TIDEWIRE_ACCESS__JWT__FROM": "user_name",
            "TIDEWIRE_LIMITS__QUEUE_MESSAGES": "7",
            "TIDEWIRE_LISTENER__2__PORT": "8884",
            "TIDEWIRE_LISTENER__1__PORT": "8883",
            "TIDEWIRE_LISTENER__1__TLS__CERTIFICATE": "a.pem",
            "TIDEWIRE_LISTENER__1__TLS__KEY": "a.key",
        },
    )
    assert (config.bind, config.port, config.log_level) == (["127.0.0.1", "::1"], 1884, "debug")
    assert (config.access.password_file, config.access.anonymous) == ("/run/secrets/passwords", False)
    assert config.access.jwt is not None
    assert (config.access.jwt.leeway_s, config.access.jwt.source) == (2.5, "user_name")
    assert make_limits(config).queue_messages == 7
    first, second = config.listeners
    assert first.tls is not None
    assert (first.port, first.tls.certificate, second.port, second.tls) == (8883, "a.pem", 8884, None)


def test_the_environment_wins_over_the_file_and_leaves_the_rest(tmp_path: Path) -> None:
    file = file_with(tmp_path, 'port = 1\nlog_level = "error"\n[[listener]]\nport = 2\npath = "/x"\n')
    config = read_config(file, {"TIDEWIRE_PORT": "3", "TIDEWIRE_LISTENER__1__PORT": "4"})
    assert (config.port, config.log_level) == (3, "error")
    assert [(listener.port, listener.path) for listener in config.listeners] == [(4, "/x")]


def test_a_program_that_names_no_environment_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIDEWIRE_PORT", "1")
    assert read_config(file_with(tmp_path, "")).port == 1883


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TIDEWIRE_PORT", "70000", "TIDEWIRE_PORT: port: 70000 must be at most 65535"),
        ("TIDEWIRE_PORT", "mqtt", "TIDEWIRE_PORT: port: expected a whole number, got a text"),
        ("TIDEWIRE_ACCESS__ANONYMOUS", "perhaps", "TIDEWIRE_ACCESS__ANONYMOUS: access.anonymous: expected true or"),
        ("TIDEWIRE_LOG_LEVEL", "loud", "TIDEWIRE_LOG_LEVEL: log_level: 'loud' is none of "),
        ("TIDEWIRE_LIMITS__QUEUE_MESAGES", "1", "TIDEWIRE_LIMITS__QUEUE_MESAGES: limits.queue_mesages: does not exist"),
    ],
)
def test_what_is_wrong_is_told_by_the_variable(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_config(None, {name: value})
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    "name",
    [
        "TIDEWIRE_",
        "TIDEWIRE_ACCESS",
        "TIDEWIRE_LIMITS",
        "TIDEWIRE_LISTENER",
        "TIDEWIRE_LISTENER__0__PORT",
        "TIDEWIRE_LISTENER__9999__PORT",
        "TIDEWIRE_PORTS",
        "TIDEWIRE_PORT__X",
        "TIDEWIRE_port",
    ],
)
def test_what_is_no_key_is_told_and_changes_nothing(name: str) -> None:
    (told,) = unknown(Config, {name: "1"})
    assert told.startswith(f"{name} is no key of the configuration")
    assert read_config(None, {name: "1"}) == Config()


def test_a_mistyped_variable_is_answered_with_the_nearest() -> None:
    (told,) = unknown(Config, {"TIDEWIRE_ACCESS__PASWORD_FILE": "x"})
    assert told.endswith("; did you mean TIDEWIRE_ACCESS__PASSWORD_FILE?")


def test_nobody_elses_variables_are_told() -> None:
    others = ["TIDEWIRE_PURE", "TIDEWIRE_FUZZ_SEED", "TIDEWIRE_CHAOS_CUTS", "PATH", "TIDEWIRE_PORT"]
    assert unknown(Config, dict.fromkeys(others, "1")) == []


def test_what_kubernetes_says_of_a_service_is_no_port() -> None:
    links = {"TIDEWIRE_PORT": "tcp://10.0.0.1:1883", "TIDEWIRE_SERVICE_HOST": "10.0.0.1"}
    assert read_config(None, links) == Config()
    assert [line.split("=")[0] for line in unknown(Config, links)] == sorted(links)
