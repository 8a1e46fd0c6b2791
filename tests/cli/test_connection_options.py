"""Do the shared flags describe the connection that was meant?"""

from __future__ import annotations

import os

import click
import pytest

from tidewire.cli.connection_options import Connection, connection_options


@click.command()
@connection_options
def command(connection: Connection) -> Connection:
    """An example."""
    return connection


def connection(*arguments: str) -> Connection:
    read: Connection = command.main(list(arguments), standalone_mode=False)
    return read


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ([], "mqtt://localhost:1883"),
        (["-h", "broker.example", "-p", "18883"], "mqtt://broker.example:18883"),
        (["-h", "::1"], "mqtt://[::1]:1883"),
        (["-p", "8883"], "mqtts://localhost:8883"),
        (["--tls-use-os-certs"], "mqtts://localhost:8883"),
        (["--tls-use-os-certs", "-p", "1883"], "mqtts://localhost:1883"),
        (["--tls-use-os-certs", "--no-tls"], "mqtt://localhost:1883"),
        (["-p", "8883", "--no-tls"], "mqtt://localhost:8883"),
        (["--ws"], "ws://localhost:80/mqtt"),
        (["--ws", "-p", "8080", "--tls-use-os-certs"], "wss://localhost:8080/mqtt"),
        (["--unix", "/run/mqtt.sock", "-h", "x"], "unix:///run/mqtt.sock"),
        (["-L", "mqtt://broker.example"], "mqtt://broker.example:1883"),
        (["-L", "mqtt://alice:secret@broker.example:1884/a/#", "-h", "x", "-p", "1"], "mqtt://broker.example:1884"),
        (["-L", "mqtts://broker.example/a"], "mqtts://broker.example:8883"),
        (["-L", "mqtt://broker.example/a", "--tls-use-os-certs"], "mqtts://broker.example:1883"),
        (["-L", "ws://broker.example/mqtt"], "ws://broker.example:80/mqtt"),
        (["-L", "wss://broker.example/mqtt"], "wss://broker.example:443/mqtt"),
        (["-L", "unix:///run/mqtt.sock"], "unix:///run/mqtt.sock"),
    ],
)
def test_the_flags_say_where_to_connect_to(arguments: list[str], url: str) -> None:
    assert connection(*arguments).url == url


def test_user_name_and_password_of_the_command_line_win_over_those_of_the_url() -> None:
    url = "mqtt://alice:s%40cret@localhost/a"
    arguments = connection("-L", url).arguments()
    assert (arguments["user_name"], arguments["password"]) == ("alice", b"s@cret")
    arguments = connection("-L", url, "-u", "bob", "-P", "other").arguments()
    assert (arguments["user_name"], arguments["password"]) == ("bob", b"other")


@pytest.mark.parametrize(
    ("given", "version"),
    [("5", "5.0"), ("mqttv5", "5.0"), ("311", "3.1.1"), ("mqttv311", "3.1.1"), ("31", "3.1"), ("mqttv31", "3.1")],
)
def test_a_version_is_named_as_mosquitto_does(given: str, version: str) -> None:
    assert connection("-V", given).version == connection("--protocol-version", given).version == version


def test_without_a_version_it_is_the_newest() -> None:
    assert connection().version == "5.0"


def test_a_client_identifier_is_given_or_made_of_its_head_and_the_process() -> None:
    assert connection("-i", "alice").full_client_id == "alice"
    assert connection("-I", "sensor-").full_client_id == f"sensor-{os.getpid()}"
    with pytest.raises(click.UsageError, match="-i and -I cannot be used together"):
        connection("-i", "alice", "-I", "sensor-").arguments()


def test_what_the_client_refuses_is_a_mistake_of_the_command_line() -> None:
    with pytest.raises(click.UsageError, match="a password needs a user name"):
        connection("-V", "311", "-P", "secret").client()


def test_what_a_command_says_wins_over_the_flags() -> None:
    assert connection("-i", "alice").client(client_id="bob").client_id == "bob"


@pytest.mark.parametrize("url", ["ftp://broker.example", "mqtt://", "mqtt://broker.example:many/a"])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(click.UsageError, match=r"^-L: "):
        _ = connection("-L", url).url
