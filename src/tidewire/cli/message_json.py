"""What is a message as JSON? The fields of mosquitto_sub's %j and %J, and of the JSON lines of `tidewire sub`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tidewire.cli.decoders import DecodeError, Decoder, compact_json
from tidewire.wire import properties as p
from tidewire.wire.properties import RULES

if TYPE_CHECKING:
    from tidewire.engine.received import Message

SHOWN: Final = (
    p.PAYLOAD_FORMAT_INDICATOR,
    p.MESSAGE_EXPIRY_INTERVAL,
    p.TOPIC_ALIAS,
    p.CONTENT_TYPE,
    p.RESPONSE_TOPIC,
)
"""Properties that stand as they are under "properties", named as in the specification with - for spaces."""


class MessageJSON:
    """Makes JSON of messages."""

    def __init__(
        self,
        pretty: bool,
        subscription_identifier: int | None,
        decode: Decoder | None,
        complain: Callable[[str], None],
    ) -> None:
        """`subscription_identifier` is what the user asked for: what travels is the client's own. `complain` gets a
        line for a payload that is not what it should be."""
        self.subscription_identifier = subscription_identifier
        self._pretty = pretty
        self._decode = decode
        self._complain = complain
        self._embed = compact_json()
        self._second = -1
        self._second_text = ("", "")

    def escaped(self, message: Message, now_ns: int) -> bytes:
        """%j: the payload as a string, with U+FFFD for what is not UTF-8; null if it is empty."""
        text = message.payload.decode(errors="replace") if message.payload else None
        return self._encode({**self._fields(message, now_ns), "payload": text})

    def embedded(self, message: Message, now_ns: int) -> bytes:
        """%J: the payload is JSON itself; nothing if it is not, and a complaint."""
        try:
            payload = msgspec.Raw(self._embed(message.payload)) if message.payload else None
        except DecodeError:
            self._complain(f"the payload is not valid JSON on topic {message.topic}")
            return b""
        return self._encode({**self._fields(message, now_ns), "payload": payload})

    def line(self, message: Message, now_ns: int) -> bytes:
        """A JSON line: nothing of the payload is lost. Bytes that are not text stand in Base64 as payload_base64; with
        a decoder, payload is what it says."""
        fields = self._fields(message, now_ns)
        payload = message.payload
        if self._decode is not None and payload:
            try:
                fields["payload"] = msgspec.Raw(self._decode(payload))
                return self._encode(fields)
            except DecodeError as error:
                fields["decode_error"] = str(error)
        try:
            fields["payload"] = payload.decode() if payload else None
        except UnicodeDecodeError:
            fields["payload_base64"] = payload
        return self._encode(fields)

    def _fields(self, message: Message, now_ns: int) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "tst": self._timestamp(now_ns),
            "topic": message.topic,
            "qos": message.qos,
            "retain": int(message.retain),
            "payloadlen": len(message.payload),
        }
        if message.qos:
            fields["mid"] = message.packet_identifier
        if properties := self._properties(message):
            fields["properties"] = properties
        return fields

    def _properties(self, message: Message) -> dict[str, Any]:
        given = message.properties
        shown: dict[str, Any] = {}
        for identifier in SHOWN:
            value = given.integers.get(identifier, given.texts.get(identifier))
            if value is not None:
                shown[RULES[identifier].name.lower().replace(" ", "-")] = value
        data = message.correlation_data
        if data is not None:
            try:
                shown["correlation-data"] = data.decode()
            except UnicodeDecodeError:
                shown["correlation-data-base64"] = data
        if self.subscription_identifier is not None:
            shown["subscription-identifier"] = self.subscription_identifier
        if given.user_properties:
            shown["user-properties"] = _joined(given.user_properties)
        return shown

    def _timestamp(self, now_ns: int) -> str:
        """As in the manual page: 2020-05-06T22:12:00.000000+0100."""
        second, rest_ns = divmod(now_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            local = time.localtime(second)
            self._second_text = (time.strftime("%Y-%m-%dT%H:%M:%S", local), time.strftime("%z", local))
        before, after = self._second_text
        return f"{before}.{rest_ns // 1000:06d}{after}"

    def _encode(self, fields: dict[str, Any]) -> bytes:
        encoded = msgspec.json.encode(fields)
        return pretty_json(encoded) if self._pretty else encoded


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Names and values; a name that comes several times has a list."""
    joined: dict[str, str | list[str]] = {}
    for name, value in pairs:
        earlier = joined.get(name)
        if earlier is None:
            joined[name] = value
        else:
            joined[name] = [*earlier, value] if isinstance(earlier, list) else [earlier, value]
    return joined


class _Number(str):
    """A number as it is spelled."""


def pretty_json(compact: bytes) -> bytes:
    """JSON for people, laid out as mosquitto_sub's --pretty does: tabs, a line a member, lists on one line."""
    return _pretty(json.loads(compact, parse_int=_Number, parse_float=_Number), 1).encode()


def _pretty(value: Any, depth: int) -> str:
    if isinstance(value, _Number):
        return value
    if isinstance(value, list):
        return f"[{', '.join(_pretty(item, depth + 1) for item in value)}]"
    if isinstance(value, dict):
        members = ",\n".join(
            "\t" * depth + f"{json.dumps(name, ensure_ascii=False)}:\t{_pretty(member, depth + 1)}"
            for name, member in value.items()
        )
        return "{\n" + (members + "\n" if members else "") + "\t" * (depth - 1) + "}"
    return json.dumps(value, ensure_ascii=False)
