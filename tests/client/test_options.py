"""Are the client's arguments checked when they are given, with the value and the mend in the message?"""

from __future__ import annotations

from typing import Any

import pytest

from tidewire import Authentication, Backoff, Client, InvalidTopic, SQLiteOutbox, Subscription, Will
from tidewire.client.address import Address, parse_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://host", Address("mqtt", "host", 1883, "")),
        ("host", Address("mqtt", "host", 1883, "")),
        ("host:1", Address("mqtt", "host", 1, "")),
        ("mqtts://host", Address("mqtts", "host", 8883, "")),
        ("tls://host", Address("mqtts", "host", 8883, "")),
        ("ws://host", Address("ws", "host", 80, "/mqtt")),
        ("wss://host/a/b?c=d", Address("wss", "host", 443, "/a/b?c=d")),
        ("wss://host?c=d", Address("wss", "host", 443, "/mqtt?c=d")),
        ("mqtt://[::1]:1884", Address("mqtt", "::1", 1884, "")),
        ("mqtt://us%40er:p%3Aw@host", Address("mqtt", "host", 1883, "", "us@er", "p:w")),
        ("unix:///run/mqtt.sock", Address("unix", "", 0, "/run/mqtt.sock")),
        ("unix://user:pw@/run/a%20b", Address("unix", "", 0, "/run/a b", "user", "pw")),
    ],
)
def test_a_url_says_where_the_server_is(url: str, address: Address) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http+mqtt://host", "is not one of mqtt, mqtts, ws, wss and unix"),
        ("mqtt://", "names no host"),
        ("mqtt://host:99999", "the port must be a number from 1 to 65535"),
        ("mqtt://host:0", "the port must be a number from 1 to 65535"),
        ("mqtt://host:port", "the port must be a number from 1 to 65535"),
        ("unix://", "names no socket"),
        ("mqtt://[::1", "is not a URL"),
        ("", "names no host"),
    ],
)
def test_a_url_that_leads_nowhere(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Client(url)


def test_an_address_is_shown_without_credentials() -> None:
    assert str(parse_url("mqtt://user:secret@[::1]:1884")) == "[::1]:1884"
    assert str(parse_url("wss://user:secret@host/path")) == "host:443"
    assert str(parse_url("unix://user:secret@/run/mqtt")) == "/run/mqtt"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"version": "4"}, 'version must be "5.0", "3.1.1" or "3.1"'),
        ({"offline": "never"}, 'offline must be "wait", "queue" or "raise"'),
        ({"keep_alive": 70_000}, "keep_alive must lie between 0 and 65535, not be 70000"),
        ({"session_expiry": -1}, "session_expiry must lie between 0 and 4294967295, not be -1"),
        ({"receive_maximum": 0}, "receive_maximum must lie between 1 and 65535, not be 0"),
        ({"inflight_maximum": 65_535}, "inflight_maximum must lie between 1 and"),
        ({"password": "x", "version": "3.1.1"}, "a password needs a user name"),
        ({"user_properties": [("a", "b")], "version": "3.1.1"}, "need MQTT 5.0"),
        ({"authentication": Authentication("m", lambda data: b""), "version": "3.1.1"}, "need MQTT 5.0"),
        ({"will": Will("a", delay=1), "version": "3.1.1"}, "a will has properties in MQTT 5.0 only"),
        ({"outbox": SQLiteOutbox("x")}, "give session_expiry in seconds"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Client(**options)


def test_values_that_cannot_be() -> None:
    with pytest.raises(InvalidTopic):
        Will("a/+")
    with pytest.raises(ValueError, match="QoS must be 0, 1 or 2, not 3"):
        Will("a", qos=3)
    with pytest.raises(ValueError, match="0 < first <= maximum"):
        Backoff(first=0)
    with pytest.raises(ValueError, match="0 <= jitter <= 1"):
        Backoff(jitter=2)
    with pytest.raises(ValueError, match="retain_handling must be 0, 1 or 2"):
        Client().subscribe(Subscription("a", retain_handling=3))


def test_a_back_off_grows_to_its_maximum_and_varies() -> None:
    certain = Backoff(first=1, maximum=60, jitter=0)
    assert [certain.delay(attempt) for attempt in (0, 1, 2, 5, 6, 7, 10_000)] == [1, 2, 4, 32, 60, 60, 60]
    delays = {Backoff(first=1, maximum=60).delay(3) for _ in range(50)}
    assert len(delays) > 40
    assert min(delays) >= 4
    assert max(delays) <= 8
