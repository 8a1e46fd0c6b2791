"""May this client do that? Rules, those of its token, and the call-out where they are silent, as the engine asks.

A deny of any of them denies; else an allow of any of them allows; else it is denied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tidewire.access.call_out import CallOut, Question
from tidewire.access.passwords import Passwords
from tidewire.access.rules import Asked, Names, Rule, RuleSet, decide, readable
from tidewire.engine.connection import Connection
from tidewire.engine.ports import EVERYBODY, Access, Principal, Undecided
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Connect
from tidewire.wire.topics import matches

if TYPE_CHECKING:
    from tidewire.access.tokens import Tokens

GRANTED_FILTERS: Final = 10_000
"""Topic filters that the call-out may grant to one client: as many as it may subscribe to, unless they change."""


@dataclass
class Policy:
    """All that the configuration says about access, read and checked."""

    rules: RuleSet = field(default_factory=RuleSet)
    restricted: bool = False
    """Whether what nobody allows is denied; else everything is allowed."""
    anonymous: bool = True
    """Whether clients may connect that prove no name."""
    disclose: bool = True
    """Whether a refusal says "not authorized" (0x87) rather than "unspecified error" (0x80)."""
    passwords: Passwords | None = None
    tokens: Tokens | None = None
    call_out: CallOut | None = None
    attempts: int = 0
    """Failures that an address has before it must wait between attempts; 0: it never has to."""
    in_force: list[str] = field(default_factory=list)
    """What is in force, a line for each source, for the log."""


@dataclass(eq=False, slots=True)
class Grants:
    """What is granted to one client alone."""

    rules: RuleSet = field(default_factory=RuleSet)
    """Those of its token."""
    will: tuple[bytes, bool] | None = None
    """The topic of its will, and what the call-out said of it when the client connected."""
    filters: set[bytes] = field(default_factory=set)
    """Topic filters that the call-out has let it subscribe to."""


class RuleAccess(Access):
    """A policy's answers. Who a client is, is not asked here: everybody is anonymous."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.adopt(policy)

    def adopt(self, policy: Policy) -> None:
        """Go by this policy from now on; `Broker.access_changed` then makes the engine ask anew."""
        self.policy = policy
        self.epoch += 1
        self.unrestricted = not policy.restricted
        self.denied_code = ReasonCode.NOT_AUTHORIZED if policy.disclose else ReasonCode.UNSPECIFIED_ERROR
        self.fetches = policy.call_out is not None and policy.call_out.authorizes

    def authenticate(self, packet: Connect, connection: Connection) -> tuple[int, Principal | None] | None:
        return (0, EVERYBODY) if self.policy.anonymous else (ReasonCode.NOT_AUTHORIZED, None)

    def admitted(self, principal: Principal, client_identifier: str) -> Principal:
        """One for this client alone, where the rules or the call-out look at the client identifier."""
        if not client_identifier or principal.client_identifier != client_identifier:
            if principal.grants is None and not self.fetches and not self.policy.rules.names_clients:
                return principal
            shared = principal
            principal = Principal(shared.user_name, client_identifier)
            principal.expires_at = shared.expires_at
            principal.grants = shared.grants
        if principal.grants is None and self.fetches:
            principal.grants = Grants()
        return principal

    def resumed(self, before: Principal, principal: Principal) -> None:
        """Subscriptions of the session were granted before, and are not made again."""
        old, new = before.grants, principal.grants
        if isinstance(old, Grants) and isinstance(new, Grants):
            new.filters |= old.filters

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        rule = self.deciding_rule(principal, "publish", topic)
        if rule is not None or not self.fetches:
            return _allows(rule)
        grants = principal.grants
        if isinstance(grants, Grants) and grants.will is not None and grants.will[0] == topic:
            return grants.will[1]
        return self._called_out(principal, "publish", topic)

    def may_keep(self, principal: Principal, client_identifier: str, topic: bytes) -> bool:
        """By the rules: the call-out was asked when the message came, and is not asked for a client that has left."""
        rule = decide(self.rule_sets(principal), Names(principal.user_name, client_identifier), "publish", topic)
        return _allows(rule) or (rule is None and self.fetches)

    def may_read(self, principal: Principal, topic: bytes) -> bool:
        rule = self.deciding_rule(principal, "subscribe", topic)
        grants = principal.grants
        if rule is not None or not isinstance(grants, Grants):
            return _allows(rule)
        return any(matches(topic_filter, topic) for topic_filter in grants.filters)

    def may_subscribe(self, principal: Principal, topic_filter: bytes) -> bool:
        if readable(self.rule_sets(principal), names_of(principal), topic_filter):
            return True
        grants = principal.grants
        if not self.fetches or not isinstance(grants, Grants):
            return False
        allowed = self._called_out(principal, "subscribe", topic_filter) and len(grants.filters) < GRANTED_FILTERS
        if allowed:
            grants.filters.add(topic_filter)
        return allowed

    def deciding_rule(self, principal: Principal, action: Asked, topic: bytes) -> Rule | None:
        """The rule that decides, None where none does."""
        return decide(self.rule_sets(principal), names_of(principal), action, topic)

    def rule_sets(self, principal: Principal) -> list[RuleSet]:
        """The policy's rules and the client's own."""
        grants = principal.grants
        return [self.policy.rules, grants.rules] if isinstance(grants, Grants) else [self.policy.rules]

    def _called_out(self, principal: Principal, action: Asked, topic: bytes) -> bool:
        """What the call-out has said, if that is still known. Raises Undecided."""
        call_out = self.policy.call_out
        assert call_out is not None
        answer = call_out.known(question_of(principal, action, topic))
        if answer is None:
            raise Undecided(principal, action, topic)
        return answer.allowed


def names_of(principal: Principal) -> Names:
    return Names(principal.user_name, principal.client_identifier)


def question_of(principal: Principal, action: Asked, topic: bytes) -> Question:
    return Question(action, principal.user_name, principal.client_identifier, topic.decode())


def _allows(rule: Rule | None) -> bool:
    return rule is not None and rule.effect == "allow"
