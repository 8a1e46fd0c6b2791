"""What is to be published? A message as somebody has typed it, and what is wrong with it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec

from tidewire.server.admin_types import MessageProperties
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.topics import check_topic_name

PayloadForm = Literal["text", "json", "hex", "base64"]

TOPIC_CHARACTERS: Final = 65_535
"""A topic has no more bytes than that [MQTT-1.5.4]; nor has any other text of a message."""

PAYLOAD_CHARACTERS: Final = 200_000
"""Of what is typed: it travels from the browser whenever it changes, and is checked on the broker's loop in 2 ms."""

FILE_BYTES: Final = 5 * 1024 * 1024
"""Of a file that is sent instead: half of what the broker takes from a client unless it is told otherwise."""

USER_PROPERTIES: Final = 32
"""More than a person types."""

LONGEST_EXPIRY_S: Final = 0xFFFF_FFFF
"""Message Expiry Interval is a four byte integer (3.3.2.3.3)."""

TEMPLATES: Final = 100
"""That a browser keeps …"""

TEMPLATES_BYTES: Final = 512 * 1024
"""… together, as JSON: browsers keep 5 MB for a page, and all of it comes here when the page is opened."""

NAME_CHARACTERS: Final = 80
"""Of a template."""

Text = Annotated[str, msgspec.Meta(max_length=TOPIC_CHARACTERS)]


class DraftFault(ValueError):
    """It cannot be published as it is; the text says what to change, in one line."""


class Draft(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """As it is typed; a template is one of these with a name. A file is no part of it."""

    topic: Text = ""
    payload: Annotated[str, msgspec.Meta(max_length=PAYLOAD_CHARACTERS)] = ""
    payload_form: PayloadForm = "text"
    qos: Annotated[int, msgspec.Meta(ge=0, le=2)] = 0
    retain: bool = False
    is_utf8: bool = False
    """Payload Format Indicator (3.3.2.3.2)."""
    content_type: Text = ""
    expiry_s: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_EXPIRY_S)] | None = None
    """Message Expiry Interval (3.3.2.3.3); None: it does not expire."""
    response_topic: Text = ""
    correlation_data: Text = ""
    """As text."""
    user_properties: Annotated[list[tuple[Text, Text]], msgspec.Meta(max_length=USER_PROPERTIES)] = []


class Template(msgspec.Struct, forbid_unknown_fields=True):
    """A draft that is kept."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARACTERS)]
    draft: Draft


def payload_of(draft: Draft) -> bytes:
    """The bytes that were typed. Raises DraftFault."""
    if len(draft.payload) > PAYLOAD_CHARACTERS:
        raise DraftFault(f"longer than {PAYLOAD_CHARACTERS} characters; send it as a file")
    try:
        return _READERS[draft.payload_form](draft.payload)
    except UnicodeEncodeError:
        raise DraftFault("a half of a surrogate pair cannot be written in UTF-8") from None


def check_topic(topic: str) -> None:
    """Raise DraftFault for what cannot be published to."""
    try:
        check_topic_name(topic.encode())
    except (InvalidTopic, UnicodeEncodeError) as error:
        raise DraftFault(f"give a topic: {error}" if topic else "give a topic, such as hello/world") from None
    if topic.startswith("$SYS/"):
        raise DraftFault("what begins with $SYS/ is the broker's own")


def properties_of(draft: Draft) -> MessageProperties:
    """Those that are filled in."""
    return MessageProperties(
        payload_format_indicator=1 if draft.is_utf8 else None,
        message_expiry_interval_s=draft.expiry_s,
        content_type=draft.content_type or None,
        response_topic=draft.response_topic or None,
        correlation_data=draft.correlation_data.encode() or None,
        user_properties=[(name, value) for name, value in draft.user_properties if name or value],
    )


def templates_as_json(templates: list[Template]) -> str:
    """What the browser keeps, and what is exported. Raises DraftFault for too many, or too long ones."""
    if len(templates) > TEMPLATES:
        raise DraftFault(f"there are {TEMPLATES} templates already; delete one")
    encoded = msgspec.json.encode(templates)
    if len(encoded) > TEMPLATES_BYTES:
        raise DraftFault(f"the templates would be longer than {TEMPLATES_BYTES // 1024} KiB together; delete one")
    return encoded.decode()


def templates_of(text: str) -> list[Template]:
    """The other way round; a later one of the same name counts. Raises DraftFault."""
    if len(text) > TEMPLATES_BYTES:
        raise DraftFault(f"longer than {TEMPLATES_BYTES // 1024} KiB")
    try:
        templates = msgspec.json.decode(text, type=list[Template])
    except msgspec.MsgspecError as error:
        raise DraftFault(f"these are no templates: {error}") from None
    return list({template.name: template for template in templates}.values())[-TEMPLATES:]


def _text(typed: str) -> bytes:
    return typed.encode()


def _json(typed: str) -> bytes:
    try:
        json.loads(typed)
    except json.JSONDecodeError as error:
        raise DraftFault(f"no JSON: {error.msg.lower()}, line {error.lineno}, column {error.colno}") from None
    except (RecursionError, ValueError):
        raise DraftFault("no JSON that could be checked: it is nested too deeply, or has too long a number") from None
    return typed.encode()


def _hex(typed: str) -> bytes:
    try:
        return bytes.fromhex(typed.replace(":", " ").removeprefix("0x"))
    except ValueError:
        raise DraftFault("no hexadecimal bytes; write two digits for each, such as 01 a0 ff") from None


def _base64(typed: str) -> bytes:
    try:
        return base64.b64decode("".join(typed.split()), validate=True)
    except (binascii.Error, ValueError):
        raise DraftFault("no Base64; it has A-Z, a-z, 0-9, + and /, and = at its end") from None


_READERS: Final[dict[PayloadForm, Callable[[str], bytes]]] = {
    "text": _text,
    "json": _json,
    "hex": _hex,
    "base64": _base64,
}
