"""Is a topic called on the other side what the configuration says, both ways?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.server.bridge_config import BridgeTopic
from tidewire.server.bridge_topics import inward, outward

LEVELS = st.lists(st.sampled_from(["a", "b", "", "site"]), min_size=1, max_size=3).map("/".join)
PREFIXES = st.sampled_from(["", "a/", "site/", "b/a/"])


@pytest.mark.parametrize(
    ("topic", "there"),
    [
        ("plant/sensors/1", "site7/sensors/1"),
        ("plant/sensors", "site7/sensors"),
        ("plant/other", None),
        ("sensors/1", None),
        ("status", "site7/status"),
        ("$SYS/broker/uptime", None),
    ],
)
def test_the_prefix_of_here_is_taken_off_and_that_of_there_put_before(topic: str, there: str | None) -> None:
    topics = [
        BridgeTopic("sensors/#", local_prefix="plant/", remote_prefix="site7/"),
        BridgeTopic("status", remote_prefix="site7/"),
        BridgeTopic("commands/#", "in"),
    ]
    assert outward(topics).translate(topic) == there


def test_a_filter_of_prefixes_alone_gives_one_topic_another_name() -> None:
    rules = inward([BridgeTopic("", "in", local_prefix="here", remote_prefix="there/too")])
    assert rules.rules[0].topic_filter == "there/too"
    assert rules.translate("there/too") == "here"


def test_of_several_that_match_the_first_decides() -> None:
    rules = outward([BridgeTopic("a/b", remote_prefix="one/"), BridgeTopic("a/#", remote_prefix="two/")])
    assert (rules.translate("a/b"), rules.translate("a/c")) == ("one/a/b", "two/a/c")


def test_a_topic_that_is_not_renamed_keeps_its_name() -> None:
    rules = outward([BridgeTopic("a/#"), BridgeTopic("b/#", remote_prefix="c/")])
    assert [rules.keeps_name(topic) for topic in ("a/1", "b/1", "c/1")] == [True, False, False]


@given(LEVELS, PREFIXES, PREFIXES)
def test_what_goes_out_comes_back_under_its_name(topic: str, local: str, remote: str) -> None:
    topics = [BridgeTopic("#", "both", local_prefix=local, remote_prefix=remote)]
    there = outward(topics).translate(local + topic)
    assert there == remote + topic
    assert inward(topics).translate(there) == local + topic
    assert outward(topics).origin(there) == local + topic
