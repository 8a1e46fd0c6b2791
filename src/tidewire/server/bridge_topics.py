"""What is a topic called on the other side of a bridge?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tidewire.server.bridge_config import BridgeTopic
from tidewire.wire.topics import matches


@dataclass(frozen=True, slots=True)
class Rule:
    """Messages of these topics cross in one direction."""

    topic_filter: str
    """As it is subscribed to where they come from."""
    qos: int
    prefix: str
    """What is taken off …"""
    new_prefix: str
    """… and put in its place."""


class Rules:
    """All rules of one direction, in their order."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = list(rules)

    def translate(self, topic: str) -> str | None:
        """The topic on the other side; None: it does not cross."""
        encoded = topic.encode()
        for rule in self.rules:
            if matches(rule.topic_filter.encode(), encoded):
                return rule.new_prefix + topic[len(rule.prefix) :]
        return None

    def origin(self, topic: str) -> str | None:
        """The other way round: the topic that becomes this one here."""
        for rule in self.rules:
            if topic.startswith(rule.new_prefix):
                before = rule.prefix + topic[len(rule.new_prefix) :]
                if self.translate(before) == topic:
                    return before
        return None

    def keeps_name(self, topic: str) -> bool:
        """Whether it crosses and is called the same on the other side."""
        return self.translate(topic) == topic


def outward(topics: list[BridgeTopic]) -> Rules:
    """From here to the other broker."""
    return Rules(
        Rule(each.local_prefix + each.filter, each.qos, each.local_prefix, each.remote_prefix)
        for each in topics
        if each.direction != "in"
    )


def inward(topics: list[BridgeTopic]) -> Rules:
    """From the other broker to here."""
    return Rules(
        Rule(each.remote_prefix + each.filter, each.qos, each.remote_prefix, each.local_prefix)
        for each in topics
        if each.direction != "out"
    )
