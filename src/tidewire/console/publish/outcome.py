"""What became of a message that was published here? The broker's answer in words."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from tidewire.server.admin_types import Published
from tidewire.wire.codes import ReasonCode


class Outcome(Struct, frozen=True):
    """In words, and how good that is."""

    text: str
    colour: str
    """The class of its text."""
    icon: str


_GOOD: Final = ("in-tide", "check_circle")
_GENTLE: Final = ("faint", "info")
_BAD: Final = ("in-bad", "error")

_WORDS: Final[dict[int, str]] = {
    ReasonCode.NOT_AUTHORIZED: "The access rules do not let you publish to this topic.",
    ReasonCode.QUOTA_EXCEEDED: "It could not be kept: a queue, or the room for retained messages, is full.",
    ReasonCode.TOPIC_NAME_INVALID: "The broker takes no such topic.",
    ReasonCode.PACKET_TOO_LARGE: "It is larger than the broker takes.",
    ReasonCode.PAYLOAD_FORMAT_INVALID: "It says that it is text in UTF-8, and is not.",
}


def outcome(published: Published, retain: bool, is_empty: bool) -> Outcome:
    """Of a message with these properties."""
    code = published.reason_code
    if retain and is_empty and code in (ReasonCode.SUCCESS, ReasonCode.NO_MATCHING_SUBSCRIBERS):
        return Outcome("What was retained under this topic is deleted.", *_GOOD)
    if code == ReasonCode.SUCCESS:
        kept = ", and is retained" if retain else ""
        return Outcome(f"Somebody who subscribes gets it{kept}.", *_GOOD)
    if code == ReasonCode.NO_MATCHING_SUBSCRIBERS:
        if retain:
            return Outcome(
                "It is retained. Nobody subscribes to this topic yet; whoever does so later gets it.", *_GOOD
            )
        return Outcome("Published. Nobody subscribes to this topic now, so nobody has received it.", *_GENTLE)
    return Outcome(_WORDS.get(code, f"The broker has refused it: {published.reason}."), *_BAD)
