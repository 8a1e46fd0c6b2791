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
        allowed = False
        for rule in self.rules:
            if rule.concerns(principal.user_name, "subscribe"):
                if rule.effect == "deny" and covers(rule.topic_filter, topic_filter):
                    return False
                allowed = allowed or (rule.effect == "allow" and overlaps(rule.topic_filter, topic_filter))
        return allowed

    def _decide(self, principal: Principal, action: Action, applies: Callable[[Rule], bool]) -> bool:
        allowed = False
        for rule in self.rules:
            if rule.concerns(principal.user_name, action) and applies(rule):
                if rule.effect == "deny":
                    return False
                allowed = True
        return allowed


def covers(wide: bytes, narrow: bytes) -> bool:
    """Whether every topic that `narrow` matches is matched by `wide`."""
    if narrow[:1] == b"$" and wide[:1] in (b"+", b"#"):
        return False
    wide_levels = wide.split(b"/")
    narrow_levels = narrow.split(b"/")
    for index, level in enumerate(wide_levels):
        if level == b"#":
            return True
        if index >= len(narrow_levels) or narrow_levels[index] == b"#":
            return False
        if level != narrow_levels[index] and level != b"+":
            return False
    return len(narrow_levels) == len(wide_levels)


def overlaps(one: bytes, other: bytes) -> bool:
    """Whether some topic is matched by both filters."""
    for first, second in ((one, other), (other, one)):
        if first[:1] == b"$" and second[:1] in (b"+", b"#"):
            return False
    one_levels = one.split(b"/")
    other_levels = other.split(b"/")
    for index in range(max(len(one_levels), len(other_levels))):
        first = one_levels[index] if index < len(one_levels) else b""
        second = other_levels[index] if index < len(other_levels) else b""
        if (first == b"#" and index < len(one_levels)) or (second == b"#" and index < len(other_levels)):
            return True
        if index >= len(one_levels) or index >= len(other_levels):
            return False
        if first != second and b"+" not in (first, second):
            return False
    return True
