"""Why may a client do something, or not? The rule that decides, and what it decides, for people."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidewire.access.control import Grants, Policy, RuleAccess, names_of
from tidewire.access.rules import Asked, Rule, RuleSet, overlapping
from tidewire.engine.ports import Principal, Undecided
from tidewire.engine.router import SYS_PREFIX
from tidewire.wire.topics import check_topic_filter, check_topic_name, has_wildcard, split_share


@dataclass(frozen=True, slots=True)
class Case:
    """A client that wants to do something."""

    user_name: str | None
    client_identifier: str
    action: Asked
    topic: str
    """A topic name to publish to, or a topic filter to subscribe to."""

    def __post_init__(self) -> None:
        """Raises ValueError, which InvalidTopic is as well."""
        for text in (self.user_name or "", self.client_identifier, self.topic):
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{text!r} is not UTF-8 text") from None
        check = check_topic_name if self.action == "publish" else check_topic_filter
        check(self.topic.encode())

    def __str__(self) -> str:
        who = self.user_name if self.user_name is not None else "an anonymous client"
        client = f", client {self.client_identifier}," if self.client_identifier else ""
        return f"{who}{client} {self.action} {self.topic}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is decided, and why."""

    allowed: bool | None
    """None: the call-out is asked."""
    reason: str
    """In one line."""
    details: list[str] = field(default_factory=list)
    """More, a line each."""


def explain(policy: Policy, case: Case, own_rules: RuleSet | None = None) -> Explanation:
    """What a broker with this policy says to a case; `own_rules` are those of the client's token, if it has one.

    No call-out is asked, so those that it gives a client are not known.
    """
    topic = split_share(case.topic.encode())[1] if case.action == "subscribe" else case.topic.encode()
    if case.action == "publish" and topic.startswith(SYS_PREFIX):
        return Explanation(False, "nobody may publish below $SYS/, whatever the rules say")
    if not policy.restricted:
        return Explanation(True, "there are no rules, so everything is allowed")
    access = RuleAccess(policy)
    principal = Principal(case.user_name, case.client_identifier)
    if own_rules is not None:
        principal.grants = Grants(own_rules)
    principal = access.admitted(principal, case.client_identifier)
    if case.action == "subscribe" and has_wildcard(topic):
        return _explain_filter(access, principal, topic)
    rule = access.deciding_rule(principal, case.action, topic)
    if rule is not None:
        return Explanation(rule.effect == "allow", told(rule), _unusable_names(access, principal))
    return _undecided(access, principal)


def _explain_filter(access: RuleAccess, principal: Principal, topic_filter: bytes) -> Explanation:
    """A filter stands for many topics, and several rules may have their part in it."""
    found = list(overlapping(access.rule_sets(principal), names_of(principal), "subscribe", topic_filter))
    allows = [(rule, both) for rule, both in found if rule.effect == "allow"]
    denies = [told(rule) for rule, _ in found if rule.effect == "deny"]
    try:
        granted = access.may_subscribe(principal, topic_filter)
    except Undecided:
        return _undecided(access, principal)
    unusable = _unusable_names(access, principal)
    if not granted:
        if not allows:
            return _undecided(access, principal)
        return Explanation(False, "rules deny whatever others allow of it", [*denies, *unusable])
    whole = next((rule for rule, both in allows if both == topic_filter), None)
    if whole is not None and not denies:
        return Explanation(True, told(whole), unusable)
    details = [f"delivered: {told(whole)}"] if whole is not None else [f"delivered: {told(rule)}" for rule, _ in allows]
    details += [f"withheld: {line}" for line in denies]
    return Explanation(True, "the subscription is granted, and its messages are filtered", [*details, *unusable])


def told(rule: Rule) -> str:
    """A rule and where it stands."""
    return f"{rule.origin}: {rule}"


def _undecided(access: RuleAccess, principal: Principal) -> Explanation:
    """What happens where no rule matches."""
    unusable = _unusable_names(access, principal)
    call_out = access.policy.call_out
    if call_out is not None and call_out.authorizes:
        return Explanation(None, f"no rule decides, so {call_out.url} is asked", unusable)
    return Explanation(False, "no rule allows it", unusable)


def _unusable_names(access: RuleAccess, principal: Principal) -> list[str]:
    """Names that rules speak of and that stand for nothing."""
    names = names_of(principal)
    rules = [rule for rules in access.rule_sets(principal) for rule in rules.rules if not rule.literal]
    return [
        f"note: {placeholder.decode()} matches nothing here: this {what} is missing, or has a /, + or #"
        for placeholder, what in ((b"%c", "client identifier"), (b"%u", "user name"))
        if names.substitute(placeholder) is None and any(placeholder in rule.topic_filter for rule in rules)
    ]
