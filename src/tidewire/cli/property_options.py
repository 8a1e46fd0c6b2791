"""What do the `-D COMMAND IDENTIFIER VALUE` of a command line say? Properties, and the client's arguments for them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final

import click

from tidewire.cli.command_line import SEPARATOR
from tidewire.client.options import PublishOptions
from tidewire.wire import properties as p
from tidewire.wire.codes import CONNECT, DISCONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, WILL
from tidewire.wire.properties import RULES, Properties

COMMANDS: Final = {
    "connect": CONNECT,
    "publish": PUBLISH,
    "subscribe": SUBSCRIBE,
    "unsubscribe": UNSUBSCRIBE,
    "disconnect": DISCONNECT,
    "will": WILL,
}
_ANSWERED_BY_THE_CLIENT: Final = ("auth", "puback", "pubcomp", "pubrec", "pubrel", "suback", "unsuback")
_IDENTIFIERS: Final = {rule.name.lower().replace(" ", "-"): identifier for identifier, rule in RULES.items()}
_TEXTS: Final = (p.CONTENT_TYPE, p.RESPONSE_TOPIC, p.AUTHENTICATION_METHOD)
_BINARIES: Final = (p.CORRELATION_DATA, p.AUTHENTICATION_DATA)


def read_properties(triples: Iterable[tuple[str, str, str]]) -> dict[int, Properties]:
    """The properties of each packet that was named. Raises click.UsageError for what is not one or does not fit."""
    read = {packet: Properties() for packet in COMMANDS.values()}
    for command, name, value in triples:
        packet, identifier = _place(command, name)
        _add(read[packet], identifier, name, value)
    for command, packet in COMMANDS.items():
        try:
            read[packet].encode_body()
        except ValueError as error:
            raise click.UsageError(f"-D {command}: {error}") from None
    if read[UNSUBSCRIBE].user_properties or read[SUBSCRIBE].user_properties or read[DISCONNECT].user_properties:
        raise click.UsageError("-D: user properties are supported with connect, publish and will only")
    return read


def _place(command: str, name: str) -> tuple[int, int]:
    packet = COMMANDS.get(command.lower())
    if packet is None:
        if command.lower() in _ANSWERED_BY_THE_CLIENT:
            raise click.UsageError(f"-D {command} is not supported: the client writes these packets itself")
        raise click.UsageError(f"-D {command}: no such command; there are {', '.join(COMMANDS)}")
    identifier = _IDENTIFIERS.get(name)
    if identifier is None or packet not in RULES[identifier].packets or (packet, name) == _NOT_FOR_PUBLISHERS:
        known = ", ".join(known for known, number in _IDENTIFIERS.items() if packet in RULES[number].packets)
        raise click.UsageError(f"-D {command} has no property {name!r}; there are {known}")
    return packet, identifier


_NOT_FOR_PUBLISHERS: Final = (PUBLISH, "subscription-identifier")  # [MQTT-3.3.4-6]


def _add(properties: Properties, identifier: int, name: str, value: str) -> None:
    if identifier == p.USER_PROPERTY:
        key, _, text = value.partition(SEPARATOR)
        properties.user_properties.append((key, text))
        return
    places: tuple[dict[int, Any], ...] = (properties.integers, properties.texts, properties.binaries)
    if any(identifier in place for place in places) or properties.subscription_identifiers:
        raise click.UsageError(f"-D: {name} is given twice")
    if identifier in _TEXTS:
        properties.texts[identifier] = value
    elif identifier in _BINARIES:
        properties.binaries[identifier] = os.fsencode(value)
    elif not (value.isascii() and value.isdigit()):
        raise click.UsageError(f"-D: {name} is a whole number, not {value!r}")
    elif identifier == p.SUBSCRIPTION_IDENTIFIER:
        properties.subscription_identifiers = [int(value)]
    else:
        properties.integers[identifier] = int(value)


def publish_options(properties: Properties) -> PublishOptions:
    """For `client.publish` and `Will`. A topic alias is left to the client, which chooses its own."""
    options: PublishOptions = {}
    if p.MESSAGE_EXPIRY_INTERVAL in properties.integers:
        options["message_expiry"] = properties.integers[p.MESSAGE_EXPIRY_INTERVAL]
    if p.PAYLOAD_FORMAT_INDICATOR in properties.integers:
        options["payload_format"] = properties.integers[p.PAYLOAD_FORMAT_INDICATOR]
    if p.CONTENT_TYPE in properties.texts:
        options["content_type"] = properties.texts[p.CONTENT_TYPE]
    if p.RESPONSE_TOPIC in properties.texts:
        options["response_topic"] = properties.texts[p.RESPONSE_TOPIC]
    if p.CORRELATION_DATA in properties.binaries:
        options["correlation_data"] = properties.binaries[p.CORRELATION_DATA]
    if properties.user_properties:
        options["user_properties"] = properties.user_properties
    return options


def connect_arguments(properties: Properties) -> dict[str, Any]:
    """Arguments of `Client`; the session expiry is left out, as -x and -c have a say in it."""
    from tidewire.client.settings import LARGEST_PACKET  # noqa: PLC0415

    arguments: dict[str, Any] = {}
    integers = properties.integers
    if p.RECEIVE_MAXIMUM in integers:
        arguments["receive_maximum"] = integers[p.RECEIVE_MAXIMUM]
    if p.TOPIC_ALIAS_MAXIMUM in integers:
        arguments["topic_alias_maximum"] = integers[p.TOPIC_ALIAS_MAXIMUM]
    if p.MAXIMUM_PACKET_SIZE in integers:
        arguments["maximum_packet_size"] = min(integers[p.MAXIMUM_PACKET_SIZE], LARGEST_PACKET)
    if p.REQUEST_RESPONSE_INFORMATION in integers:
        arguments["request_response_information"] = integers[p.REQUEST_RESPONSE_INFORMATION] == 1
    if p.REQUEST_PROBLEM_INFORMATION in integers:
        arguments["request_problem_information"] = integers[p.REQUEST_PROBLEM_INFORMATION] == 1
    if properties.user_properties:
        arguments["user_properties"] = properties.user_properties
    if p.AUTHENTICATION_METHOD in properties.texts:
        arguments["authentication"] = _authentication(properties)
    elif p.AUTHENTICATION_DATA in properties.binaries:
        raise click.UsageError("-D connect authentication-data needs authentication-method as well")
    return arguments


def _authentication(properties: Properties) -> Any:
    from tidewire.client.errors import ConnectionFailed  # noqa: PLC0415
    from tidewire.client.options import Authentication  # noqa: PLC0415

    data = properties.binaries.get(p.AUTHENTICATION_DATA)

    def answer(challenge: bytes | None) -> bytes | None:
        if challenge is not None:
            raise ConnectionFailed("the server asks for more than the one authentication-data of the command line")
        return data

    return Authentication(properties.texts[p.AUTHENTICATION_METHOD], answer)
