"""Is the rule found that decides, and never a wider one, whatever a client calls itself?"""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import many
from tidewire.access.rules import Asked, Names, Rule, RuleSet, decide, intersection, overlapping, readable
from tidewire.wire.topics import check_topic_filter, matches

LEVELS = ["a", "b", "$a", ""]
FRESH = "z"  # a level that no filter names: it stands for all of them
TOPICS = [
    topic.encode() for count in range(1, 6) for topic in map("/".join, product([*LEVELS, FRESH], repeat=count)) if topic
]

filters = st.builds(
    lambda levels, rest: ("/".join([*levels, "#"] if rest or not "/".join(levels) else levels)).encode(),
    st.lists(st.sampled_from([*LEVELS, "+", "+"]), max_size=3),
    st.booleans(),
)


@cache
def matched(topic_filter: bytes) -> frozenset[bytes]:
    """The topics that a filter matches, by trying all."""
    return frozenset(topic for topic in TOPICS if matches(topic_filter, topic))


@many
@given(filters, filters)
def test_the_intersection_of_two_filters_agrees_with_trying_all_topics(one: bytes, other: bytes) -> None:
    both = intersection(one, other)
    assert (matched(both) if both is not None else frozenset()) == matched(one) & matched(other)


effects = st.sampled_from(["allow", "deny"])
rules = st.lists(
    st.builds(
        Rule,
        st.sampled_from(["allow", "deny"]),
        st.sampled_from(["publish", "subscribe", "all"]),
        filters,
        st.sampled_from([None, "alice", "bob"]),
    )
    | st.builds(lambda effect, topic_filter: Rule(effect, "all", topic_filter, anonymous=True), effects, filters),
    min_size=1,
    max_size=5,
)


ACTIONS: tuple[Asked, ...] = ("publish", "subscribe")


@many
@given(rules, st.sampled_from([None, "alice", "bob"]), st.sampled_from(TOPICS))
def test_a_deny_beats_every_allow_and_silence_decides_nothing(
    given_rules: list[Rule], user_name: str | None, topic: bytes
) -> None:
    for action in ACTIONS:
        matching = [
            rule
            for rule in given_rules
            if rule.action in (action, "all")
            and (user_name is None if rule.anonymous else rule.user_name in (user_name, None))
            and matches(rule.topic_filter, topic)
        ]
        rule = decide([RuleSet(given_rules)], Names(user_name, "client"), action, topic)
        assert (rule is None) == (not matching)
        if rule is not None:
            assert rule in matching
            assert rule.effect == min((rule.effect for rule in matching), key=["deny", "allow"].index)


@many
@given(rules, rules, st.sampled_from(TOPICS))
def test_several_sets_decide_as_one_with_the_rules_of_all(one: list[Rule], other: list[Rule], topic: bytes) -> None:
    names = Names("alice", "client")
    together = decide([RuleSet([*one, *other])], names, "publish", topic)
    apart = decide([RuleSet(one), RuleSet(other)], names, "publish", topic)
    assert (together and together.effect) == (apart and apart.effect)


@many
@given(rules, filters)
def test_a_filter_is_readable_when_and_only_when_it_matches_a_readable_topic(
    given_rules: list[Rule], topic_filter: bytes
) -> None:
    sets = [RuleSet(given_rules)]
    names = Names("alice", "client")
    allowed = [decide(sets, names, "subscribe", topic) for topic in matched(topic_filter)]
    assert readable(sets, names, topic_filter) == any(rule is not None and rule.effect == "allow" for rule in allowed)


@many
@given(rules, filters)
def test_the_rules_that_overlap_a_filter_are_those_that_share_a_topic_with_it(
    given_rules: list[Rule], topic_filter: bytes
) -> None:
    names = Names("alice", "client")
    found = {rule for rule, _ in overlapping([RuleSet(given_rules)], names, "publish", topic_filter)}
    concerned = {
        rule
        for rule in given_rules
        if rule.action != "subscribe" and not rule.anonymous and rule.user_name in (None, "alice")
    }
    assert found == {rule for rule in concerned if matched(rule.topic_filter) & matched(topic_filter)}


# -- names in rules

NASTY = ["+", "#", "/", "a/b", "a/#", "+/a", "", "$SYS", "$share", "%c", "%u", "a", "a+", "#a", "\u00e4", "a b"]
names_of_clients = st.sampled_from(NASTY) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6
)
templates = st.lists(st.sampled_from(["a", "%c", "%u", "x%c", "%u-%c", "+"]), min_size=1, max_size=4).map(
    "/".join
) | st.sampled_from(["%c/#", "a/%u/#", "%u", "#"])


def meant(level: str, topic_level: str, user_name: str | None, client_identifier: str) -> bool:
    """Whether one level of a rule stands for one of a topic: the names are text and nothing else."""
    if level == "+":
        return True
    parts = level.replace("%c", "\0c\0").replace("%u", "\0u\0").split("\0")
    named = {"c": client_identifier, "u": user_name or ""}
    if any(not named[part] for part in parts[1::2]):
        return False
    return "".join(named[part] if index % 2 else part for index, part in enumerate(parts)) == topic_level


@many
@given(templates, names_of_clients | st.none(), names_of_clients, st.data())
def test_a_name_in_a_rule_is_a_literal_level_and_never_widens_it(
    template: str, user_name: str | None, client_identifier: str, data: st.DataObject
) -> None:
    rule = Rule("allow", "all", template.encode())
    candidates = [client_identifier, user_name or "", f"x{client_identifier}", f"{user_name}-{client_identifier}", "a"]
    levels = data.draw(st.lists(st.sampled_from(candidates) | names_of_clients, min_size=1, max_size=5))
    topic = "/".join(levels).replace("+", "-").replace("#", "-")  # which are in no topic name
    names = Names(user_name, client_identifier)
    allowed = decide([RuleSet([rule])], names, "publish", topic.encode()) is not None
    wanted = template.split("/")
    actual = topic.split("/")
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        actual = actual[: len(wanted)]
    expected = (
        len(wanted) == len(actual)
        and all(meant(level, name, user_name, client_identifier) for level, name in zip(wanted, actual, strict=True))
        and not (topic[:1] == "$" and template[:1] != "$")
    )
    assert allowed == expected


@many
@given(templates, names_of_clients | st.none(), names_of_clients)
def test_a_name_in_a_rule_brings_neither_levels_nor_wildcards_into_what_it_lets_a_client_read(
    template: str, user_name: str | None, client_identifier: str
) -> None:
    sets = [RuleSet([Rule("allow", "all", template.encode())])]
    for _, both in overlapping(sets, Names(user_name, client_identifier), "subscribe", b"#"):
        check_topic_filter(both)
        assert [both.count(mark) for mark in (b"/", b"+", b"#")] == [template.count(mark) for mark in "/+#"]


@pytest.mark.parametrize("client_identifier", ["+", "#", "a/b", "a/#", "", "$SYS"])
def test_a_rule_with_a_name_that_is_more_than_a_level_matches_nothing(client_identifier: str) -> None:
    sets = [RuleSet([Rule("allow", "all", b"%c/#")])]
    names = Names("alice", client_identifier)
    for topic in (b"a", b"a/b", b"a/b/c", b"$SYS/x", b"+/x", client_identifier.encode() or b"/"):
        assert decide(sets, names, "publish", topic) is None
    for topic_filter in (b"#", b"+/b", b"a/b/#", b"$SYS/#"):
        assert not readable(sets, names, topic_filter)


def test_a_name_is_put_in_once_however_it_reads() -> None:
    sets = [RuleSet([Rule("allow", "all", b"%u/x")])]
    assert decide(sets, Names("%c", "boards"), "publish", b"boards/x") is None
    assert decide(sets, Names("%c", "boards"), "publish", b"%c/x") is not None


def test_a_literal_rule_takes_placeholders_for_text() -> None:
    sets = [RuleSet([Rule("allow", "all", b"a/%c", literal=True)])]
    assert decide(sets, Names("alice", "7"), "publish", b"a/7") is None
    assert decide(sets, Names("alice", "7"), "publish", b"a/%c") is not None


def test_many_wildcards_do_not_make_a_decision_slow() -> None:
    """A walk meets each level of the rules once for each way that leads there; a topic cannot make more ways."""
    visited = 0

    class Counting(Names):
        def substitute(self, level: bytes) -> bytes | None:
            nonlocal visited
            visited += 1
            return super().substitute(level)

    sets = [RuleSet([Rule("allow", "all", b"/".join([b"+"] * depth) + b"/%c") for depth in range(1, 60)])]
    decide(sets, Counting("alice", "x"), "publish", b"/".join([b"a"] * 128))
    assert visited <= 60
