"""Do session, will and version come out as mosquitto_pub's flags mean them?"""

from __future__ import annotations

from typing import Any

import click
import pytest

from tidewire.cli.command_line import MosquittoCommand
from tidewire.cli.mosquitto_options import FOR_EVER, MosquittoConnection, mosquitto_options
from tidewire.client.address import Address
from tidewire.client.settings import Settings


@click.command("no_such_client", cls=MosquittoCommand)
@mosquitto_options
def command(connection: MosquittoConnection) -> MosquittoConnection:
    """An example."""
    return connection


def connection(*arguments: str) -> MosquittoConnection:
    read: MosquittoConnection = command.main(list(arguments), standalone_mode=False)
    return read


def arguments(*flags: str) -> dict[str, Any]:
    return connection(*flags).arguments()


def refusal(*flags: str) -> str:
    with pytest.raises(click.UsageError) as raised:
        connection(*flags).client()
    return raised.value.format_message()


@pytest.mark.parametrize(
    ("flags", "clean_start", "session_expiry"),
    [
        ([], True, 0),
        (["-V", "311"], True, 0),
        (["-V", "311", "-x", "60"], True, 0),  # before 5.0 there is none
        (["-V", "311", "-c", "-i", "alice"], False, FOR_EVER),
        (["-x", "60"], True, 60),
        (["-x", "0x10"], True, 16),
        (["-x", "-1", "-i", "alice"], True, FOR_EVER),
        (["-x", "∞", "-i", "alice"], True, FOR_EVER),
        (["-c", "-i", "alice"], False, FOR_EVER),
        (["-c", "-x", "60"], False, 60),
        (["-D", "connect", "session-expiry-interval", "60"], True, 60),
    ],
)
def test_the_session_lives_as_long_as_asked_for(flags: list[str], clean_start: bool, session_expiry: int) -> None:
    read = arguments(*flags)
    assert (read["clean_start"], read["session_expiry"]) == (clean_start, session_expiry)


@pytest.mark.parametrize("flags", [["-c"], ["-V", "311", "-c"], ["-x", "-1"], ["-c", "-I", "head-"]])
def test_a_session_for_ever_needs_a_name(flags: list[str]) -> None:
    assert "give one, -i" in refusal(*flags)


@pytest.mark.parametrize("value", ["soon", "-2", "4294967296", ""])
def test_a_session_expiry_is_a_number_of_seconds(value: str) -> None:
    assert "is neither a number of seconds nor -1 or ∞" in refusal("-x", value)


def test_the_version_is_that_of_the_client_if_nobody_says_another() -> None:
    assert connection().version == Settings(Address("mqtt", "localhost", 1883, "")).version == "5.0"


def test_a_property_means_mqtt_5() -> None:
    assert connection("-V", "311", "-D", "connect", "receive-maximum", "7").version == "5.0"


def test_a_will_has_its_flags_and_its_properties() -> None:
    will = arguments(
        *("--will-topic", "gone", "--will-payload", "alice", "--will-qos", "1", "--will-retain"),
        *("-D", "will", "will-delay-interval", "5", "-D", "will", "content-type", "text/plain"),
    )["will"]
    assert (will.topic, will.payload, will.qos, will.retain) == ("gone", b"alice", 1, True)
    assert (will.delay, will.content_type) == (5, "text/plain")
    assert arguments()["will"] is None


@pytest.mark.parametrize("flags", [["--will-payload", "x"], ["--will-retain"]])
def test_a_will_needs_a_topic(flags: list[str]) -> None:
    assert refusal(*flags) == "a will needs --will-topic"


@pytest.mark.parametrize("topic", ["", "a/#", "a/+/b", "\udcff"])
def test_a_topic_is_checked_when_it_is_read(topic: str) -> None:
    assert "Invalid value for '--will-topic'" in refusal("--will-topic", topic)


@pytest.mark.parametrize(
    ("url", "topic"),
    [
        ("mqtt://localhost/a/#", "a/#"),
        ("mqtts://alice:secret@localhost:8883//a", "/a"),
        ("mqtt://localhost/", None),
        ("mqtt://localhost", None),
        ("ws://localhost/mqtt", None),
    ],
)
def test_the_url_may_name_the_topic(url: str, topic: str | None) -> None:
    assert connection("-L", url).topic == topic


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--proxy", "socks5h://localhost"], "--proxy is not supported: there is no SOCKS client here"),
        (["-S"], "-S is not supported: Python cannot look up SRV records"),
        (["--tls-engine", "x"], "--tls-engine is not supported: "),
        (["--tls-engine-kpass-sha1", "x"], "--tls-engine-kpass-sha1 is not supported: "),
        (["--keyform", "engine"], "--keyform engine is not supported: "),
    ],
)
def test_what_is_not_supported_says_why(flags: list[str], said: str) -> None:
    assert refusal(*flags).startswith(said)


def test_nodelay_and_keyform_pem_are_how_it_is_anyway() -> None:
    told, plain = arguments("--nodelay", "--keyform", "pem"), arguments()
    assert {**told, "on_state": None} == {**plain, "on_state": None}
