"""Which rule decides what a client wants to do? Rules, and the trees in which the ones that apply are found.

What matches a `deny` is denied; else what matches an `allow` is allowed; what no rule matches is allowed by none. The
order of the rules is of no account. Finding the rule costs more with more levels of the topic, not with more rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from tidewire.wire.topics import has_wildcard

Effect = Literal["allow", "deny"]
Action = Literal["publish", "subscribe", "all"]
Asked = Literal["publish", "subscribe"]

_PLACEHOLDER: Final = re.compile(b"(%[cu])")
_NAMELESS: Final = b"\0"
"""A level that no rule names: U+0000 is in no topic filter [MQTT-4.7.3-2]."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Allow or deny an action on the topics that a filter matches: for everybody, one user, or the anonymous.

    `subscribe` is the right to read: what may not be read is not delivered, whatever was subscribed to. `%c` and `%u`
    in the filter stand for client identifier and user name.
    """

    effect: Effect
    action: Action
    topic_filter: bytes
    user_name: str | None = None
    """Whom it concerns; None: everybody, unless `anonymous`."""
    anonymous: bool = False
    """It concerns those without a user name only."""
    literal: bool = False
    """`%c` and `%u` are just characters."""
    origin: str = field(default="", compare=False)
    """Where it stands: "acl.txt, line 7"."""

    def __str__(self) -> str:
        whom = "anonymous clients" if self.anonymous else "everybody" if self.user_name is None else self.user_name
        return f"{self.effect} {self.action} {self.topic_filter.decode()} for {whom}"

    def names_client(self) -> bool:
        return not self.literal and b"%c" in self.topic_filter


class Names:
    """Who asks: user name and client identifier, and what `%u` and `%c` become for them."""

    __slots__ = ("_client_identifier", "_levels", "user_name")

    def __init__(self, user_name: str | None, client_identifier: str) -> None:
        self.user_name = user_name
        self._client_identifier = client_identifier
        self._levels: dict[bytes, bytes | None] | None = None
        """Made when a rule asks for it, which few do."""

    def substitute(self, level: bytes) -> bytes | None:
        """A level with the names in it; None where one could be more than part of a level, or is not known.

        A rule with such a level matches nothing: no topic has a level like that name.
        """
        levels = self._levels
        if levels is None:
            levels = self._levels = {b"%u": _as_level(self.user_name or ""), b"%c": _as_level(self._client_identifier)}
        parts = [levels.get(part, part) for part in _PLACEHOLDER.split(level)]
        return None if None in parts else b"".join(part for part in parts if part is not None)


def _as_level(name: str) -> bytes | None:
    level = name.encode()
    return None if not level or b"/" in level or has_wildcard(level) else level


class RuleSet:
    """Rules, compiled."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)
        self.names_clients = any(rule.names_client() for rule in self.rules)
        """Whether it matters which client identifier a client has."""
        self.depth = 1 + max([rule.topic_filter.count(b"/") + 1 for rule in self.rules], default=0)
        """One level more than any rule names."""
        self._everybody = _Trees()
        self._anonymous = _Trees()
        self._users: dict[str, _Trees] = {}
        for rule in self.rules:
            if rule.anonymous:
                self._anonymous.add(rule)
            elif rule.user_name is None:
                self._everybody.add(rule)
            else:
                self._users.setdefault(rule.user_name, _Trees()).add(rule)

    def __len__(self) -> int:
        return len(self.rules)

    def trees(self, user_name: str | None, action: Asked) -> list[_Tree]:
        """Those with the rules that concern a user."""
        own = self._anonymous if user_name is None else self._users.get(user_name)
        everybody = self._everybody.by_action[action]
        return [everybody] if own is None else [everybody, own.by_action[action]]


def decide(sets: Iterable[RuleSet], names: Names, action: Asked, topic: bytes) -> Rule | None:
    """The rule that decides about a topic: a deny if there is one, else an allow; None where none matches."""
    levels = topic.split(b"/")
    found = _Found()
    for rules in sets:
        for tree in rules.trees(names.user_name, action):
            if tree.find(levels, names, found):
                return found.deny
    return found.allow


def overlapping(
    sets: Iterable[RuleSet], names: Names, action: Asked, topic_filter: bytes
) -> Iterator[tuple[Rule, bytes]]:
    """The rules that match some topic of a filter, each with the filter for the topics that both match."""
    levels = topic_filter.split(b"/")
    for rules in sets:
        for tree in rules.trees(names.user_name, action):
            for rule, own_filter in tree.overlapping(levels, names):
                both = intersection(own_filter, topic_filter)
                if both:  # `+` and `/#` have only the empty topic in common, which is none [MQTT-4.7.3-1]
                    yield rule, both


def readable(sets: list[RuleSet], names: Names, topic_filter: bytes) -> bool:
    """Whether a client may read any of the topics that a filter matches."""
    if not has_wildcard(topic_filter):
        return _allows(decide(sets, names, "subscribe", topic_filter))
    depth = max([rules.depth for rules in sets], default=1)
    return any(
        _allows(decide(sets, names, "subscribe", topic))
        for rule, both in overlapping(sets, names, "subscribe", topic_filter)
        if rule.effect == "allow"
        for topic in _examples(both, depth)
    )


def _allows(rule: Rule | None) -> bool:
    return rule is not None and rule.effect == "allow"


class _Trees:
    """One tree for each action: a rule about all stands in both."""

    __slots__ = ("by_action",)

    def __init__(self) -> None:
        self.by_action: dict[Asked, _Tree] = {"publish": _Tree(), "subscribe": _Tree()}

    def add(self, rule: Rule) -> None:
        for action, tree in self.by_action.items():
            if rule.action in ("all", action):
                tree.add(rule)


class _Node:
    """A level of the filters of rules."""

    __slots__ = ("children", "rules", "templates")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] = {}
        self.templates: dict[bytes, _Node] | None = None
        """Levels with `%c` or `%u` in them."""
        self.rules: list[Rule] = []


class _Found:
    """What a walk has met: it ends at the first deny."""

    __slots__ = ("allow", "deny")

    def __init__(self) -> None:
        self.allow: Rule | None = None
        self.deny: Rule | None = None

    def take(self, node: _Node) -> bool:
        for rule in node.rules:
            if rule.effect == "deny":
                self.deny = rule
                return True
            if self.allow is None:
                self.allow = rule
        return False


class _Tree:
    """Rules by topic filter."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, rule: Rule) -> None:
        node = self._root
        for level in rule.topic_filter.split(b"/"):
            levels = node.children
            if not rule.literal and _PLACEHOLDER.search(level):
                if node.templates is None:
                    node.templates = {}
                levels = node.templates
            node = levels.setdefault(level, _Node())
        node.rules.append(rule)

    def find(self, levels: list[bytes], names: Names, found: _Found) -> bool:
        """Look for the rules that match a topic. True: a deny was met, which ends it."""
        if levels[0][:1] == b"$":  # neither a wildcard nor a client's name stands for it [MQTT-4.7.2-1]
            child = self._root.children.get(levels[0])
            return child is not None and _find(child, levels, 1, names, found)
        return _find(self._root, levels, 0, names, found)

    def overlapping(self, levels: list[bytes], names: Names) -> Iterator[tuple[Rule, bytes]]:
        """The rules that match some topic of a filter, each with its own filter in which the names stand."""
        root = self._root
        if levels[0][:1] == b"$":
            child = root.children.get(levels[0])
            if child is not None:
                yield from _overlapping(child, levels, 1, names, [levels[0]])
        else:
            yield from _overlapping(root, levels, 0, names, [])


def _find(node: _Node, levels: list[bytes], depth: int, names: Names, found: _Found) -> bool:
    """True: a deny was met, which ends it."""
    children = node.children
    rest = children.get(b"#")
    if rest is not None and found.take(rest):  # also the parent level itself (4.7.1.2)
        return True
    if depth == len(levels):
        return found.take(node)
    level = levels[depth]
    for child in (children.get(level), children.get(b"+")):
        if child is not None and _find(child, levels, depth + 1, names, found):
            return True
    if node.templates is not None:
        for template, child in node.templates.items():
            if names.substitute(template) == level and _find(child, levels, depth + 1, names, found):
                return True
    return False


def _overlapping(
    node: _Node, levels: list[bytes], depth: int, names: Names, path: list[bytes]
) -> Iterator[tuple[Rule, bytes]]:
    rest = node.children.get(b"#")
    if rest is not None:
        yield from _each(rest, [*path, b"#"])
    open_ended = depth < len(levels) and levels[depth] == b"#"
    if depth == len(levels) or open_ended:
        yield from _each(node, path)
    if depth == len(levels):
        return
    any_level = open_ended or levels[depth] == b"+"
    below = depth if open_ended else depth + 1
    for level, child in node.children.items() if any_level else _named(node, levels[depth]):
        if level != b"#" and not (any_level and not path and level[:1] == b"$"):
            yield from _overlapping(child, levels, below, names, [*path, level])
    for template, child in (node.templates or {}).items():
        name = names.substitute(template)
        if name is not None and (any_level or name == levels[depth]) and (path or name[:1] != b"$"):
            yield from _overlapping(child, levels, below, names, [*path, name])


def _named(node: _Node, level: bytes) -> Iterator[tuple[bytes, _Node]]:
    """The children that a level of a filter which is no wildcard can meet."""
    for name in (level, b"+"):
        child = node.children.get(name)
        if child is not None:
            yield name, child


def _each(node: _Node, path: list[bytes]) -> Iterator[tuple[Rule, bytes]]:
    for rule in node.rules:
        yield rule, b"/".join(path)


def intersection(one: bytes, other: bytes) -> bytes | None:
    """The filter for the topics that both filters match; None where there are none."""
    for first, second in ((one, other), (other, one)):
        if first[:1] == b"$" and second[:1] in (b"+", b"#"):
            return None  # [MQTT-4.7.2-1]
    one_levels = one.split(b"/")
    other_levels = other.split(b"/")
    levels: list[bytes] = []
    for index in range(max(len(one_levels), len(other_levels))):
        if one_levels[index : index + 1] == [b"#"]:
            return b"/".join(levels + other_levels[index:])
        if other_levels[index : index + 1] == [b"#"]:
            return b"/".join(levels + one_levels[index:])
        if index >= len(one_levels) or index >= len(other_levels):
            return None
        level = one_levels[index]
        if level == b"+":
            level = other_levels[index]
        elif other_levels[index] not in (b"+", level):
            return None
        levels.append(level)
    return b"/".join(levels)


def _examples(topic_filter: bytes, depth: int) -> list[bytes]:
    """Topics that stand for all that a filter matches: one for each number of levels, down to `depth` below a `#`.

    A level that no rule can name takes the place of a wildcard: what denies the example denies all that it stands for.
    """
    levels = [_NAMELESS if level == b"+" else level for level in topic_filter.split(b"/")]
    endings = [[_NAMELESS] * below for below in range(depth + 1)] if levels[-1] == b"#" else [levels[-1:]]
    topics = [b"/".join([*levels[:-1], *ending]) for ending in endings]
    return [topic for topic in topics if topic]  # the parent level of `/#` has no name [MQTT-4.7.3-1]
