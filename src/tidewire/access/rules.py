"""Access rules: what matches a `deny` is denied; else what matches an `allow` is allowed; all else is denied.

With no rules at all everything is allowed but what the engine itself forbids (publishing to `$SYS`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tidewire.access.passwords import Passwords
from tidewire.engine.connection import Connection
from tidewire.engine.ports import EVERYBODY, Access, Principal
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Connect
from tidewire.wire.topics import matches

Effect = Literal["allow", "deny"]
Action = Literal["publish", "subscribe", "all"]

_NAMELESS = b"\0"  # in no topic filter [MQTT-4.7.3-2]


@dataclass(frozen=True, slots=True)
class Rule:
    """Allow or deny an action on the topics that a filter matches, for one user (None: for everybody)."""

    effect: Effect
    action: Action
    topic_filter: bytes
    user_name: str | None = None

    def concerns(self, user_name: str | None, action: Action) -> bool:
        return self.action in ("all", action) and self.user_name in (None, user_name)


class RuleAccess(Access):
    """Users from a password file, and rules."""

    def __init__(self, rules: list[Rule], passwords: Passwords | None, anonymous: bool, disclose: bool) -> None:
        """`disclose`: say "not authorized" (0x87) of a refusal rather than "unspecified error" (0x80)."""
        super().__init__()
        self.rules = rules
        self.passwords = passwords
        self.anonymous = anonymous
        self.unrestricted = not rules
        self.denied_code = ReasonCode.NOT_AUTHORIZED if disclose else ReasonCode.UNSPECIFIED_ERROR
        self._principals: dict[str, Principal] = {}

    def authenticate(self, packet: Connect, connection: Connection) -> tuple[int, Principal | None] | None:
        """Anonymous at once; a password is left to `verify`, which takes its time elsewhere."""
        if packet.user_name is None or self.passwords is None:
            if not self.anonymous:
                return ReasonCode.NOT_AUTHORIZED, None
            # Without a password file a user name is not proven, so no rule is granted by it.
            return 0, EVERYBODY
        return None

    def verify(self, packet: Connect) -> tuple[int, Principal | None]:
        """Check user name and password; slow on purpose, so not for the event loop."""
        user_name = packet.user_name
        assert user_name is not None and self.passwords is not None
        if not self.passwords.verify(user_name, packet.password or b""):
            return ReasonCode.BAD_USER_NAME_OR_PASSWORD, None
        return 0, self._principals.setdefault(user_name, Principal(user_name, ""))

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        return self._decide(principal, "publish", lambda rule: matches(rule.topic_filter, topic))

    def may_read(self, principal: Principal, topic: bytes) -> bool:
        return self._decide(principal, "subscribe", lambda rule: matches(rule.topic_filter, topic))

    def may_subscribe(self, principal: Principal, topic_filter: bytes) -> bool:
        depth = 1 + max([rule.topic_filter.count(b"/") + 1 for rule in self.rules], default=0)
        for rule in self.rules:
            if rule.effect == "allow" and rule.concerns(principal.user_name, "subscribe"):
                both = intersection(rule.topic_filter, topic_filter)
                if both is not None and any(self.may_read(principal, topic) for topic in _examples(both, depth)):
                    return True
        return False

    def _decide(self, principal: Principal, action: Action, applies: Callable[[Rule], bool]) -> bool:
        allowed = False
        for rule in self.rules:
            if rule.concerns(principal.user_name, action) and applies(rule):
                if rule.effect == "deny":
                    return False
                allowed = True
        return allowed


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
    if levels[-1] != b"#":
        return [b"/".join(levels)]
    topics = [b"/".join([*levels[:-1], *[_NAMELESS] * below]) for below in range(depth + 1)]
    return [topic for topic in topics if topic]
