"""Are topic names and filters told apart, and matched, as section 4.7 says?"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import many, topic_filters, topic_names
from tidewire.wire import topics
from tidewire.wire.errors import InvalidTopic

LEVEL = rb"(?:\+|[^+#/\0]*)"
FILTER = rb"(?:#|" + LEVEL + rb"(?:/" + LEVEL + rb")*(?:/#)?)"
TOPIC_FILTER = re.compile(rb"(?!\$share/)(?=.)" + FILTER + rb"|\$share/[^+#/\0]+/(?=.)" + FILTER, re.DOTALL)
TOPIC_NAME = re.compile(rb"[^+#\0]+")

written_filters = st.text("a/+#$\0", max_size=8).map(str.encode)
shared_filters = st.text("a/+#\0", max_size=6).map(lambda rest: b"$share/" + rest.encode())
names = st.lists(st.sampled_from(["a", "b", "", "$a", "höhe"]), min_size=1, max_size=6).map(
    lambda levels: ("/".join(levels) or "a").encode()
)


def reference(topic_filter: bytes, topic: bytes) -> bool:
    """4.7.1 and 4.7.2 again, as a regular expression."""
    pattern = re.escape(topic_filter).replace(rb"\+", rb"[^/]*").replace(rb"\#", rb"#")
    if pattern == b"#":
        pattern = rb".*"
    elif pattern.endswith(b"/#"):
        pattern = pattern[:-2] + rb"(?:/.*)?"
    hidden = topic.startswith(b"$") and topic_filter[0] in b"+#"
    return not hidden and re.fullmatch(pattern, topic, re.DOTALL) is not None


@many
@given(topic_filters(), names)
def test_matching_agrees_with_the_reference(topic_filter: bytes, topic: bytes) -> None:
    assert topics.matches(topic_filter, topic) == reference(topic_filter, topic)


@many
@given(names, st.data())
def test_a_filter_made_from_a_topic_matches_it(topic: bytes, data: st.DataObject) -> None:
    levels = [level if data.draw(st.booleans()) else b"+" for level in topic.split(b"/")]
    cut = data.draw(st.integers(0, len(levels)))
    made = b"/".join([*levels[:cut], b"#"] if data.draw(st.booleans()) else levels)
    if made and not (topic.startswith(b"$") and made[:1] in (b"+", b"#")):
        assert topics.matches(made, topic)


@many
@given(topic_names)
def test_a_filter_without_wildcards_matches_its_own_topic_alone(topic: bytes) -> None:
    assert not topics.has_wildcard(topic)
    assert topics.matches(topic, topic)
    assert not topics.matches(topic, topic + b"/")
    assert not topics.matches(topic, b"/" + topic)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("#", "a/b", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/uptime", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        ("a/#", "a/$SYS", True),
        ("a/+", "a/$SYS", True),
        ("ACCOUNTS", "Accounts", False),
        ("a/b", "a", False),
        ("a", "a/b", False),
    ],
)
def test_the_examples_of_section_4_7_hold(topic_filter: str, topic: str, expected: bool) -> None:
    assert topics.matches(topic_filter.encode(), topic.encode()) is expected
    assert reference(topic_filter.encode(), topic.encode()) is expected


@many
@given(written_filters | shared_filters | topic_filters() | topic_filters(shared=True))
def test_a_filter_is_accepted_exactly_when_the_grammar_has_it(topic_filter: bytes) -> None:
    if TOPIC_FILTER.fullmatch(topic_filter):
        topics.check_topic_filter(topic_filter)
    else:
        with pytest.raises(InvalidTopic):
            topics.check_topic_filter(topic_filter)


@many
@given(written_filters)
def test_a_name_is_accepted_exactly_when_the_grammar_has_it(topic: bytes) -> None:
    if TOPIC_NAME.fullmatch(topic):
        topics.check_topic_name(topic)
    else:
        with pytest.raises(InvalidTopic):
            topics.check_topic_name(topic)


@given(topic_names)
def test_every_topic_name_can_be_subscribed_to_unless_it_looks_shared(topic: bytes) -> None:
    if not topic.startswith(topics.SHARE_PREFIX):
        topics.check_topic_filter(topic)


@given(topic_filters(), st.text("abc $", min_size=1, max_size=4).map(str.encode))
def test_a_shared_filter_splits_into_what_it_was_made_of(topic_filter: bytes, share_name: bytes) -> None:
    assert topics.split_share(b"$share/" + share_name + b"/" + topic_filter) == (share_name, topic_filter)


@pytest.mark.parametrize("topic_filter", [b"a/b", b"$share", b"$shared/a/b", b"x/$share/g/a"])
def test_a_filter_that_is_not_shared_has_no_share_name(topic_filter: bytes) -> None:
    assert topics.split_share(topic_filter) == (b"", topic_filter)
