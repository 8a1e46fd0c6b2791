"""Is the window of the tree what a plain list of it would show, however topics come, are folded and searched for?"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from tidewire.console.topics import tree as topic_tree
from tidewire.console.topics.tree import RATE_S, Node, TopicTree, topic_of
from tidewire.server.admin_types import MessageProperties, TopicSeen

LEVELS = st.sampled_from(["", "a", "b2", "b10", "B", "ü"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join)
PAYLOADS = st.sampled_from([b"", b"on", b"OFF", b"\xff\x00"])


def seen(topic: str, payload: bytes = b"", messages: int = 1) -> TopicSeen:
    return TopicSeen(
        topic=topic, payload=payload, payload_bytes=len(payload), retain=False, properties=MessageProperties(),
        at=0.0, messages=messages, total_bytes=0, rate=0.0,
    )  # fmt: skip


def tree_of(*topics: str) -> TopicTree:
    tree = TopicTree(0.0)
    tree.add(map(seen, topics), 1.0, 0.0)
    return tree


def shown(tree: TopicTree, first: int = 0, count: int = 1000) -> list[str]:
    return [topic_of(node) for node in tree.window(first, count)]


def search(tree: TopicTree, text: str = "", payload: str = "") -> None:
    for _ in tree.search(text, payload):
        pass


@dataclass
class Plain:
    """The same tree, listed from its topics each time."""

    topics: dict[str, bytes]
    opened: set[str]
    text: str = ""
    payload: str = ""
    folded: frozenset[str] = frozenset()

    def matching(self) -> list[str]:
        return [
            topic
            for topic, payload in self.topics.items()
            if self.text.lower() in topic.lower() and self.payload.encode().lower() in payload.lower()
        ]

    def rows(self) -> list[str]:
        branches = {"/".join(parts[: end + 1]) for topic in self.matching() for parts in [topic.split("/")]
                    for end in range(len(parts))}  # fmt: skip
        searching = bool(self.text or self.payload)

        def is_open(branch: str) -> bool:
            return branch not in self.folded if searching else branch in self.opened

        def above(branch: str) -> list[str]:
            parts = branch.split("/")
            return ["/".join(parts[:end]) for end in range(1, len(parts))]

        return sorted((b for b in branches if all(map(is_open, above(b)))), key=lambda b: [*map(order, b.split("/"))])


def order(level: str) -> list[tuple[int, str]]:
    return [(int(part), "") if index % 2 else (0, part) for index, part in enumerate(re.split(r"(\d+)", level))]


class TreeAgainstList(RuleBasedStateMachine):
    """A tree and a list of it, told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = TopicTree(0.0)
        self.plain = Plain({}, set())
        self.messages = 0

    @rule(topics=st.lists(st.tuples(TOPICS, PAYLOADS), max_size=6))
    def publish(self, topics: list[tuple[str, bytes]]) -> None:
        self.messages += 1
        self.tree.add([seen(topic, payload, self.messages) for topic, payload in topics], 1.0, 0.0)
        self.plain.topics.update(topics)

    @rule(row=st.integers(0, 30), unfold=st.booleans())
    def fold(self, row: int, unfold: bool) -> None:
        for node in self.tree.window(row, 1):
            self.tree.fold(node, unfold)
            at: Node = node
            while True:
                self._note(topic_of(at), unfold)
                if not unfold or len(at.branches) != 1:
                    break
                at = at.branches[0]

    @rule(text=st.sampled_from(["", "a", "B", "/"]), payload=st.sampled_from(["", "on", "of"]))
    def look_for(self, text: str, payload: str) -> None:
        search(self.tree, text, payload)
        self.plain.text, self.plain.payload, self.plain.folded = text, payload, frozenset()

    @invariant()
    def the_list_is_the_same(self) -> None:
        rows = self.plain.rows()
        assert shown(self.tree) == rows
        assert self.tree.rows == len(rows)
        for first in (1, len(rows) // 2):
            assert shown(self.tree, first, 3) == rows[first : first + 3]
        assert [self.tree.row_of(node) for node in self.tree.window(0, 1000)] == list(range(len(rows)))

    @invariant()
    def the_topics_are_counted(self) -> None:
        assert self.tree.topics == len(self.plain.topics)
        assert self.tree.matches == len(self.plain.matching())
        assert sorted(each.topic for each in self.tree.all_matching()) == sorted(self.plain.matching())

    def _note(self, branch: str, unfold: bool) -> None:
        if self.tree.searching:
            self.plain.folded = self.plain.folded - {branch} if unfold else self.plain.folded | {branch}
        else:
            (self.plain.opened.add if unfold else self.plain.opened.discard)(branch)


TestTreeAgainstList = TreeAgainstList.TestCase
TestTreeAgainstList.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)


def test_a_branch_with_one_child_shows_what_is_below_that_too() -> None:
    tree = tree_of("plant/hall/motor/rpm", "plant/hall/motor/on")
    tree.fold(tree.window(0, 1)[0], True)
    assert shown(tree) == ["plant", "plant/hall", "plant/hall/motor", "plant/hall/motor/on", "plant/hall/motor/rpm"]
    tree.fold(tree.window(0, 1)[0], False)
    assert shown(tree) == ["plant"]


def test_the_list_unfolds_as_far_as_it_stays_short() -> None:
    tree = tree_of(*(f"a/{number}" for number in range(4)), *(f"b/{number}" for number in range(40)))
    tree.unfold_some(10)
    assert shown(tree) == ["a", "a/0", "a/1", "a/2", "a/3", "b"]


def test_numbers_in_names_are_sorted_as_numbers() -> None:
    assert shown(tree_of("motor10", "motor2", "Motor", "motor")) == ["Motor", "motor", "motor2", "motor10"]


def test_a_branch_counts_what_is_below_it_and_a_message_looked_at_stands_for_more() -> None:
    tree = TopicTree(0.0)
    tree.add([seen("a/b", messages=3), seen("a/c", messages=1), seen("d")], 5.0, 1.0)
    tree.add([seen("a/b", messages=4)], 1.0, 1.0)
    assert [(topic_of(node), node.count) for node in tree.window(0, 9)] == [("a", 21.0), ("d", 5.0)]
    assert tree.root.count == 26.0


@given(per_second=st.integers(1, 1000), seconds=st.integers(1, 60))
def test_a_steady_rate_is_known_from_the_first_second_on_and_fades_afterwards(per_second: int, seconds: int) -> None:
    tree = TopicTree(0.0)
    for second in range(1, seconds + 1):
        tree.add([seen("a/b", messages=per_second * second)], 1.0, float(second))
    node = tree.window(0, 1)[0]
    assert tree.rate(node, float(seconds)) == pytest.approx(per_second, rel=0.06)
    assert tree.rate(node, seconds + 10 * RATE_S) < per_second / 100


def test_a_topic_of_very_many_levels_is_one_of_few() -> None:
    topic = "/".join("x" * 30_000)
    tree = tree_of(topic)
    tree.fold(tree.window(0, 1)[0], True)
    assert tree.rows == topic_tree.LEVELS
    assert shown(tree)[-1] == topic


def test_topics_beyond_the_bound_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_tree, "NODES", 5)
    tree = tree_of(*"abcdef")
    assert tree.full
    assert shown(tree) == ["a", "b", "c", "d"]


def test_topics_beyond_the_bound_of_their_names_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_tree, "NAMES_CHARACTERS", 10)
    tree = tree_of("a/bcd", "e/fghijkl", "m", "a/bcd")
    assert tree.full
    assert shown(tree) == ["a", "m"]


def test_properties_count_as_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_tree, "PAYLOADS_BYTES", 1000)
    tree = TopicTree(0.0)
    properties = MessageProperties(content_type="x" * 700)
    tree.add([replace(seen(topic, b"on"), properties=properties) for topic in "ab"], 1.0, 0.0)
    kept = {node.name: node.seen.properties for node in tree.window(0, 9) if node.seen is not None}
    assert kept == {"a": properties, "b": MessageProperties()}


def test_long_payloads_beyond_the_bound_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_tree, "PAYLOADS_BYTES", 1000)
    tree = TopicTree(0.0)
    tree.add([seen("a", b"x" * 900), seen("b", b"y" * 900), seen("a", b"x"), seen("c", b"z" * 700)], 1.0, 0.0)
    kept = {node.name: len(node.seen.payload) for node in tree.window(0, 9) if node.seen is not None}
    assert kept == {"a": 1, "b": topic_tree.PAYLOAD_CUT_BYTES, "c": 700}


def test_a_topic_that_comes_while_something_is_searched_for_is_shown_if_it_is_that() -> None:
    tree = tree_of("a/lamp", "a/door")
    search(tree, "lamp")
    tree.add([seen("b/lamp"), seen("b/door")], 1.0, 0.0)
    assert shown(tree) == ["a", "a/lamp", "b", "b/lamp"]


def test_a_search_lets_others_have_the_loop() -> None:
    tree = tree_of(*(f"{number}" for number in range(10 * topic_tree.SLICE)))
    assert sum(1 for _ in tree.search("1", "")) == 10
