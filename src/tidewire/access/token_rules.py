"""What do lists of topic filters allow, as a token or a web service gives them?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tidewire.access.rules import Asked, Rule
from tidewire.wire.topics import check_topic_filter

FILTERS: Final = 1_000
"""Topic filters for each action that one client may bring along: more would make its every decision slow."""


def rules_of_claims(publish: object, subscribe: object, origin: str) -> list[Rule]:
    """Allow rules for two lists of topic filters, or single ones. Raises ValueError for what is none."""
    return [*_rules(publish, "publish", origin), *_rules(subscribe, "subscribe", origin)]


def _rules(claim: object, action: Asked, origin: str) -> Iterator[Rule]:
    filters: Iterable[object] = [claim] if isinstance(claim, str) else claim if isinstance(claim, list) else [claim]
    for number, topic_filter in enumerate(filters, 1):
        if number > FILTERS:
            raise ValueError(f"{action}: more than {FILTERS} topic filters")
        if not isinstance(topic_filter, str):
            raise ValueError(f"{action}: {topic_filter!r} is not a topic filter")
        encoded = topic_filter.encode()
        check_topic_filter(encoded)  # raises InvalidTopic, which is a ValueError
        yield Rule("allow", action, encoded, origin=f"{origin}, {action} {number}")
