"""Does -D say what the client is to send, and is what it cannot say refused in words?"""

from __future__ import annotations

import click
import pytest

from tidewire.cli.property_options import connect_arguments, publish_options, read_properties
from tidewire.wire.codes import CONNECT, PUBLISH, SUBSCRIBE


def test_all_that_a_publish_may_carry_becomes_an_option_of_it() -> None:
    read = read_properties(
        [
            ("publish", "content-type", "text/plain"),
            ("publish", "correlation-data", "c\udcff"),
            ("publish", "message-expiry-interval", "60"),
            ("PUBLISH", "payload-format-indicator", "1"),
            ("publish", "response-topic", "re/ply"),
            ("publish", "topic-alias", "5"),
            ("publish", "user-property", "a\0b"),
            ("publish", "user-property", "a\0c"),
        ]
    )
    assert publish_options(read[PUBLISH]) == {
        "content_type": "text/plain",
        "correlation_data": b"c\xff",
        "message_expiry": 60,
        "payload_format": 1,
        "response_topic": "re/ply",
        "user_properties": [("a", "b"), ("a", "c")],
    }


def test_all_that_a_connect_may_carry_becomes_an_argument_of_the_client() -> None:
    read = read_properties(
        [
            ("connect", "authentication-data", "secret"),
            ("connect", "authentication-method", "TOKEN"),
            ("connect", "maximum-packet-size", "4294967295"),
            ("connect", "receive-maximum", "7"),
            ("connect", "request-problem-information", "0"),
            ("connect", "request-response-information", "1"),
            ("connect", "topic-alias-maximum", "9"),
            ("connect", "user-property", "a\0b"),
        ]
    )
    arguments = connect_arguments(read[CONNECT])
    authentication = arguments.pop("authentication")
    assert (authentication.method, authentication.callback(None)) == ("TOKEN", b"secret")
    assert arguments == {
        "maximum_packet_size": 268_435_460,
        "receive_maximum": 7,
        "request_problem_information": False,
        "request_response_information": True,
        "topic_alias_maximum": 9,
        "user_properties": [("a", "b")],
    }


def test_a_subscription_identifier_is_kept_for_the_output() -> None:
    read = read_properties([("subscribe", "subscription-identifier", "7")])
    assert read[SUBSCRIBE].subscription_identifiers == [7]


@pytest.mark.parametrize(
    ("triple", "said"),
    [
        (("pubish", "content-type", "x"), "-D pubish: no such command; there are connect, publish"),
        (("puback", "reason-string", "x"), "-D puback is not supported: the client writes these packets itself"),
        (("auth", "authentication-data", "x"), "-D auth is not supported"),
        (("publish", "content-typ", "x"), "-D publish has no property 'content-typ'; there are payload-format-ind"),
        (("publish", "receive-maximum", "1"), "-D publish has no property 'receive-maximum'"),
        (("publish", "subscription-identifier", "1"), "-D publish has no property 'subscription-identifier'"),
        (("publish", "message-expiry-interval", "soon"), "message-expiry-interval is a whole number, not 'soon'"),
        (("publish", "message-expiry-interval", "-1"), "message-expiry-interval is a whole number, not '-1'"),
        (("publish", "payload-format-indicator", "2"), "must lie between 0 and 1, not 2"),
        (("connect", "receive-maximum", "70000"), "-D connect: "),
        (("connect", "authentication-data", "x"), "needs authentication-method"),
        (("subscribe", "user-property", "a\0b"), "user properties are supported with connect, publish and will only"),
    ],
)
def test_what_cannot_be_said_is_refused(triple: tuple[str, str, str], said: str) -> None:
    with pytest.raises(click.UsageError) as refusal:
        connect_arguments(read_properties([triple])[CONNECT])
    assert said in refusal.value.format_message()


def test_a_property_is_given_once() -> None:
    for name, value in (("content-type", "a"), ("correlation-data", "a"), ("topic-alias", "1")):
        with pytest.raises(click.UsageError, match=f"{name} is given twice"):
            read_properties([("publish", name, value)] * 2)
