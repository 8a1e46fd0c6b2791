"""Is everything that is wrong with a bridge said in one line that names the key, and no secret shown?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.client.certificates import make_certificates
from tidewire.server.bridge_config import BridgeConfig, BridgeTopic, client_id, password, tls_context
from tidewire.server.config import Config, ConfigError, check_config, read_config, read_document
from tidewire.server.config_text import effective_text
from tidewire.server.embedded import Broker

GOOD = """
[[bridge]]
name = "hub"
url = "mqtt://hub.example"
topics = [{ filter = "sensors/#", qos = 2 }]
"""


def written(directory: Path, text: str) -> Path:
    file = directory / "broker.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('"hub"', '"my hub"', "bridge.1.name: 'my hub' must be made of letters, digits, '.', '_' and '-'"),
        ("mqtt://", "http2://", "bridge.1.url: 'http2://hub.example': 'http2' is not one of mqtt, mqtts"),
        ("mqtt://", "mqtt://site:secret@", "bridge.1.url: name and password have keys of their own: user_name"),
        ("mqtt://", "mqtx://site:secret@", "bridge.1.url: 'mqtx://hub.example': 'mqtx' is not one of mqtt, mqtts"),
        ("sensors/#", "sensors/#/a", "bridge.1.topics.1.filter: # must be the whole last level"),
        ("sensors/#", "$share/a/b", "bridge.1.topics.1.filter: a bridge cannot share a subscription"),
        ("qos = 2", 'local_prefix = "+/"', "bridge.1.topics.1.local_prefix: '+/' must not contain a wildcard"),
        ("qos = 2", "qos = 3", "bridge.1.topics.1.qos: 3 must be at most 2"),
        ("qos = 2", 'direction = "up"', """bridge.1.topics.1.direction: 'up' is none of "out", "in", "both"""),
        ('{ filter = "sensors/#", qos = 2 }', "", "bridge.1.topics: nothing would cross it; name something: topics ="),
        ("topics", 'user_name = "a"\npassword_file = "none"\ntopics', "bridge.1.password_file: cannot read none: No"),
        ("topics", 'password_file = "none"\ntopics', "bridge.1.password_file: a password needs a user_name"),
        ("topics", 'user_name = "a"\npassword_variable = "NONE_SUCH"\ntopics', "there is no NONE_SUCH in the env"),
        ("topics", "tls = {}\ntopics", "bridge.1.tls: there are TLS files, but the url is not mqtts://"),
        ("mqtt://", "mqtts://", None),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(
    tmp_path: Path, before: str, after: str, complaint: str | None
) -> None:
    errors = check_config(read_document(written(tmp_path, GOOD.replace(before, after)), {}))
    assert len(errors) == (complaint is not None)
    if complaint is not None:
        assert complaint in errors[0]
        assert "secret" not in errors[0]
        assert "\n" not in errors[0]


def test_two_bridges_have_two_names(tmp_path: Path) -> None:
    (error,) = check_config(read_document(written(tmp_path, GOOD + GOOD), {}))
    assert error.endswith("bridge.2.name: there is another bridge hub; name each by one of its own")


def test_a_broker_with_such_a_mistake_does_not_start() -> None:
    async def start() -> None:
        async with Broker({"port": 0, "bridge": [{"name": "hub", "url": "mqtt://a", "topics": []}]}):
            raise AssertionError("it has started")

    with pytest.raises(ConfigError, match=r"bridge\.1\.topics: nothing would cross it"):
        asyncio.run(start())


@pytest.mark.parametrize(
    ("tls", "complaint"),
    [
        ({"ca": "none.pem"}, "tls.ca: cannot use none.pem: No such file or directory"),
        ({"ca": "server.key"}, "tls.ca: cannot use server.key: "),
        ({"key": "server.key"}, "tls.key: its certificate is missing; add certificate"),
        ({"certificate": "server.pem"}, "tls.certificate: cannot use server.pem without a key: "),
        ({"certificate": "server.pem", "key": "ca.key"}, "tls.certificate: cannot use server.pem with ca.key: key"),
        ({"ca": "ca.pem", "certificate": "server.pem", "key": "server.key"}, None),
    ],
)
def test_tls_files_that_cannot_be_used_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: dict[str, str], complaint: str | None
) -> None:
    make_certificates(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = ", ".join(f'{key} = "{value}"' for key, value in tls.items())
    text = GOOD.replace("mqtt://", "mqtts://") + f"tls = {{ {said} }}\n"
    errors = check_config(read_document(written(tmp_path, text), {}))
    assert len(errors) == (complaint is not None)
    if complaint is not None:
        assert f"bridge.1.{complaint}" in errors[0]
    else:
        assert tls_context(read_config(tmp_path / "broker.toml").bridges[0]) is not None


def test_a_password_comes_from_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse\n", encoding="utf-8")
    monkeypatch.setenv("HUB_PASSWORD", "battery staple")

    def of(**keys: Any) -> str | None:
        return password(BridgeConfig("hub", "mqtt://a", [], user_name="site", **keys))

    assert of() is None
    assert of(password_file=str(file)) == "correct horse"
    assert of(password_variable="HUB_PASSWORD") == "battery staple"


def test_what_is_in_force_is_read_as_the_same(tmp_path: Path) -> None:
    bridge = BridgeConfig("hub", "mqtts://a", [BridgeTopic("a/#", "both"), BridgeTopic("b", "in", 2)], "3.1.1")
    shown = effective_text(Config(bridges=[bridge]))
    assert read_config(written(tmp_path, shown)).bridges == [bridge]
    assert "# Where the other broker is: mqtt://HOST, " in shown


def test_variables_of_the_environment_win_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD)
    config = read_config(file, {"TIDEWIRE_BRIDGE__1__URL": "mqtt://b", "TIDEWIRE_BRIDGE__1__TOPICS__1__QOS": "1"})
    assert (config.bridges[0].url, config.bridges[0].topics[0].qos) == ("mqtt://b", 1)


def test_each_life_of_a_bridge_has_the_same_client_identifier() -> None:
    bridge = BridgeConfig("hub", "mqtt://a", [])
    assert client_id(bridge) == client_id(bridge)
    assert client_id(bridge).endswith(".hub")
    assert client_id(BridgeConfig("hub", "mqtt://a", [], client_id="site7")) == "site7"
