"""Topic names and topic filters (section 4.7), as UTF-8 bytes the way they travel."""

from __future__ import annotations

from typing import Final

from tidewire.wire.errors import InvalidTopic

SHARE_PREFIX: Final = b"$share/"


def check_topic_name(topic: bytes) -> None:
    """Raise InvalidTopic unless a message can be published to `topic` [MQTT-4.7.3-1, 4.7.1-1]."""
    if not topic:
        raise InvalidTopic("a topic name needs at least one character")
    if b"+" in topic or b"#" in topic:
        raise InvalidTopic(f"topic name {_shown(topic)} must not contain a wildcard")
    if b"\0" in topic:
        raise InvalidTopic(f"topic name {_shown(topic)} must not contain U+0000")


def check_topic_filter(topic_filter: bytes) -> None:
    """Raise InvalidTopic unless `topic_filter`, shared or not, can be subscribed to (4.7.1, 4.8.2)."""
    if b"\0" in topic_filter:
        raise InvalidTopic(f"topic filter {_shown(topic_filter)} must not contain U+0000")
    if topic_filter.startswith(SHARE_PREFIX):
        group, _, topic_filter = topic_filter[len(SHARE_PREFIX) :].partition(b"/")
        if not group or b"+" in group or b"#" in group:
            raise InvalidTopic("a share name needs a character and no wildcard: $share/NAME/FILTER")
        if not topic_filter:
            raise InvalidTopic("a shared subscription needs a filter: $share/NAME/FILTER")
    if not topic_filter:
        raise InvalidTopic("a topic filter needs at least one character")
    if not has_wildcard(topic_filter):
        return
    levels = topic_filter.split(b"/")
    last = len(levels) - 1
    for index, level in enumerate(levels):
        if b"#" in level and (level != b"#" or index != last):
            raise InvalidTopic(f"# must be the whole last level of topic filter {_shown(topic_filter)}")
        if b"+" in level and level != b"+":
            raise InvalidTopic(f"+ must be a whole level of topic filter {_shown(topic_filter)}")


def has_wildcard(topic_filter: bytes) -> bool:
    return b"+" in topic_filter or b"#" in topic_filter


def split_share(topic_filter: bytes) -> tuple[bytes, bytes]:
    """(share name, topic filter) of a checked filter; the share name is empty when it is not shared (4.8.2)."""
    if not topic_filter.startswith(SHARE_PREFIX):
        return b"", topic_filter
    share_name, _, rest = topic_filter[len(SHARE_PREFIX) :].partition(b"/")
    return share_name, rest


def matches(topic_filter: bytes, topic: bytes) -> bool:
    """Whether a checked, unshared filter matches a topic name (4.7.1, 4.7.2).

    The plain statement of the rules: what the topic tree of `engine.routing` is held against.
    """
    if topic[:1] == b"$" and topic_filter[:1] in (b"+", b"#"):
        return False
    filter_levels = topic_filter.split(b"/")
    topic_levels = topic.split(b"/")
    for index, level in enumerate(filter_levels):
        if level == b"#":
            return True
        if index >= len(topic_levels) or level not in (b"+", topic_levels[index]):
            return False
    return len(filter_levels) == len(topic_levels)


def _shown(topic: bytes) -> str:
    """For people: as the text that it is."""
    return repr(topic.decode("utf-8", "backslashreplace"))
