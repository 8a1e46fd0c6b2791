"""Which topics are there, branch by branch, and which rows of them stand in the window? A model without a page.

Every node knows how many rows its subtree has in the list as it is unfolded, so a window is found without listing what
stands above it. A change travels from its node up to the root, and no farther than it makes a difference.
"""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec.structs import replace

from tidewire.server.admin_messages import NO_PROPERTIES, kept_bytes
from tidewire.server.admin_types import TopicSeen

LEVELS: Final = 64
"""Of a topic; what is deeper stands in the last of them. A peer may send thousands."""

NODES: Final = 150_000
"""Branches and topics together, three for each topic of a feed; topics beyond are not listed …"""

NAMES_CHARACTERS: Final = 8_000_000
"""… nor are those past so many of their names, each of which is held several times: 160 for each topic of a feed."""

PAYLOADS_BYTES: Final = 32 * 1024 * 1024
"""Last values that are kept for one page, with their properties …"""

PAYLOAD_CUT_BYTES: Final = 256
"""… and what is kept of each after that, without them."""

SEARCHED_BYTES: Final = 4 * 1024
"""Of a payload, so that one take is looked through in a millisecond."""

RATE_S: Final = 10.0
"""What a rate is counted over: its weight falls to a third in this time, so that it neither jumps nor lags."""

SLICE: Final = 250
"""Nodes that a search looks at before others get the loop: about half a millisecond."""

_SORTED_CHARACTERS: Final = 200
"""Of a name; names that begin with the same are sorted as text."""

_DIGITS: Final = re.compile(r"[0-9]+")


class Node:
    """A level of one or more topics."""

    __slots__ = (
        "at",
        "branches",
        "children",
        "count",
        "depth",
        "folded_in",
        "inner",
        "level",
        "matched",
        "matches",
        "name",
        "number",
        "opened",
        "orders",
        "parent",
        "rows",
        "seen",
        "topics",
    )

    def __init__(self, name: str, parent: Node | None, number: int) -> None:
        self.name = name
        self.parent = parent
        self.number = number
        """Of the tree, from 0: the root's."""
        self.depth: int = -1 if parent is None else parent.depth + 1
        self.children = _NO_CHILDREN
        self.branches = _NO_BRANCHES
        """The children in order …"""
        self.orders = _NO_ORDERS
        """… and what they are sorted by."""
        self.seen: TopicSeen | None = None
        """The last message of the topic that ends here, if there is one."""
        self.topics = 0
        """That end here or below."""
        self.matched = False
        """The topic that ends here is one of those that are searched for."""
        self.matches = 0
        """Such topics, here and below."""
        self.opened = False
        """Somebody has unfolded it."""
        self.folded_in = 0
        """The search during which somebody has folded it."""
        self.rows = 0
        """In the list, its own included; 0: it is not shown."""
        self.inner = 0
        """Rows of its children."""
        self.count = 0.0
        """Messages, here and below."""
        self.level = 0.0
        """Messages of late, weighted by their age at …"""
        self.at = 0.0
        """… this time."""


_NO_CHILDREN: Final[dict[str, Node]] = {}
_NO_BRANCHES: Final[list[Node]] = []
_NO_ORDERS: Final[list[str]] = []
"""What all nodes without children share, and nobody changes: most are such, and three empty containers each would
keep the garbage collector busy."""


class TopicTree:
    """All of them; `now` is monotonic, in seconds."""

    def __init__(self, now: float) -> None:
        self.root = Node("", None, 0)
        self.full = False
        """There are topics that are not listed."""
        self.changed = True
        """Since the last `window` the rows are others, or in another order."""
        self._nodes = [self.root]
        self._by_topic: dict[str, Node] = {}
        self._began = now
        self._text = ""
        self._needle = b""
        self._search = 0
        """Its number; 0: none, all is shown that is unfolded."""
        self._names_characters = 0
        self._payloads_bytes = 0

    @property
    def rows(self) -> int:
        """Of the whole list."""
        return self.root.inner

    @property
    def topics(self) -> int:
        return self.root.topics

    @property
    def matches(self) -> int:
        """Topics that are searched for; all, where nothing is."""
        return self.root.matches

    @property
    def searching(self) -> bool:
        return bool(self._search)

    # -- what comes

    def add(self, topics: Iterable[TopicSeen], scale: float, now: float) -> None:
        """The last of some topics; each message that was looked at stands for `scale`."""
        counts: dict[Node, float] = {}
        for seen in topics:
            node = self._by_topic.get(seen.topic) or self._node(seen.topic)
            if node is None:
                self.full = True
                continue
            known = node.seen
            self._keep(node, seen)
            new = seen.messages - (known.messages if known is not None else 0)
            if new > 0:
                counts[node] = new * scale
            if known is None:
                _ascend(node, "topics", 1)
            if known is None or self._search:
                self._match(node)
        self._count(counts, now)

    def rate(self, node: Node, now: float) -> float:
        """Messages a second, here and below."""
        age = max(now - self._began, 0.5)
        return node.level * math.exp((node.at - now) / RATE_S) / RATE_S / -math.expm1(-age / RATE_S)

    def age(self, topic: str, now: float) -> float:
        """Seconds since it was brought last; 0 for one that is new."""
        node = self._by_topic.get(topic)
        return now - node.at if node is not None else 0.0

    # -- what is shown of it

    def window(self, first: int, count: int) -> list[Node]:
        """Rows of the list, from this one on."""
        self.changed = False
        found: list[Node] = []
        branches = [iter(self.root.branches)]
        while branches and len(found) < count:
            for node in branches[-1]:
                if node.rows <= first:
                    first -= node.rows
                    continue
                if first:
                    first -= 1
                else:
                    found.append(node)
                if node.rows > 1:
                    branches.append(iter(node.branches))
                    break
                if len(found) == count:
                    break
            else:
                branches.pop()
        return found

    def row_of(self, node: Node) -> int:
        """Which row of the list it is; -1 if it is not shown."""
        row = 0
        while node.parent is not None:
            if not node.rows or (node.parent.parent is not None and node.parent.rows < 2):
                return -1
            for before in node.parent.branches:
                if before is node:
                    break
                row += before.rows
            row += 1
            node = node.parent
        return row - 1

    def is_open(self, node: Node) -> bool:
        """Its children are shown."""
        return node.rows > 1

    def fold(self, node: Node, unfold: bool) -> None:
        """Hide or show what is below; a branch with one child shows what is below that too."""
        while True:
            if self._search:
                node.folded_in = 0 if unfold else self._search
            else:
                node.opened = unfold
            self._settle(node)
            if not unfold or len(node.branches) != 1:
                break
            node = node.branches[0]

    def unfold_some(self, rows: int) -> None:
        """Unfold branches, the uppermost first, as long as the list is no longer than so many rows."""
        waiting = list(self.root.branches)
        while waiting:
            node = waiting.pop(0)
            if not node.opened and node.branches and self.rows + len(node.branches) <= rows:
                node.opened = True
                self._settle(node)
            if node.opened:
                waiting += node.branches

    def search(self, text: str, in_payload: str) -> Iterator[None]:
        """Show only topics with `text` in their name and `in_payload` in their last value; neither minds capitals.

        It works while it is iterated, and stops for others between; an earlier search is not to be continued."""
        self._text, self._needle = text.lower(), in_payload.encode().lower()
        self._search = self._search + 1 if self._text or self._needle else 0
        for done, node in enumerate(reversed(self._nodes[1:])):  # children come before their parents
            if node.seen is not None:
                self._match(node)
            else:
                self._settle(node)
            if done % SLICE == SLICE - 1:
                yield
        self.changed = True

    def find(self, number: int) -> Node | None:
        """A node by its number."""
        return self._nodes[number] if 0 < number < len(self._nodes) else None

    def all_matching(self) -> Iterator[TopicSeen]:
        """The topics that are shown when everything is unfolded, as they are listed; others may come meanwhile."""
        branches = [iter([*self.root.branches])]
        while branches:
            node = next(branches[-1], None)
            if node is None:
                branches.pop()
            elif node.matches:
                if node.matched and node.seen is not None:
                    yield node.seen
                branches.append(iter([*node.branches]))

    # -- inside

    def _node(self, topic: str) -> Node | None:
        """The node of a topic that is not known yet; None: there is no room for it."""
        if self._names_characters + len(topic) > NAMES_CHARACTERS:
            return None
        node = self.root
        for name in topic.split("/", LEVELS - 1):
            child = node.children.get(name)
            if child is None:
                if len(self._nodes) >= NODES:
                    return None
                child = Node(name, node, len(self._nodes))
                child.at = self._began
                self._nodes.append(child)
                if not node.branches:
                    node.children, node.branches, node.orders = {}, [], []
                node.children[name] = child
                order = _order(name)
                place = bisect(node.orders, order)
                node.orders.insert(place, order)
                node.branches.insert(place, child)
            node = child
        self._names_characters += len(topic)
        self._by_topic[topic] = node
        return node

    def _keep(self, node: Node, seen: TopicSeen) -> None:
        if node.seen is not None:
            self._payloads_bytes -= kept_bytes(node.seen)
        size = kept_bytes(seen)
        if self._payloads_bytes + size > PAYLOADS_BYTES and size > PAYLOAD_CUT_BYTES:
            seen = replace(seen, payload=seen.payload[:PAYLOAD_CUT_BYTES], properties=NO_PROPERTIES)
            size = len(seen.payload)
        self._payloads_bytes += size
        node.seen = seen

    def _count(self, counts: dict[Node, float], now: float) -> None:
        """Messages of some nodes, which are those of their parents too."""
        while counts:
            above: dict[Node, float] = {}
            for node, messages in counts.items():
                node.level = node.level * math.exp((node.at - now) / RATE_S) + messages
                node.at = now
                node.count += messages
                if node.parent is not None:
                    above[node.parent] = above.get(node.parent, 0.0) + messages
            counts = above

    def _match(self, node: Node) -> None:
        """Whether a topic is searched for, as it is now."""
        seen = node.seen
        assert seen is not None
        matched = not self._search or (
            self._text in seen.topic.lower() and self._needle in seen.payload[:SEARCHED_BYTES].lower()
        )
        if matched is not node.matched:
            node.matched = matched
            _ascend(node, "matches", 1 if matched else -1)
        self._settle(node)

    def _settle(self, node: Node) -> None:
        """Set right how many rows it has, and what follows from that above."""
        at: Node | None = node
        while at is not None and at.parent is not None:
            unfolded = at.folded_in != self._search if self._search else at.opened
            rows = 0 if not at.matches else 1 + at.inner if unfolded else 1
            if rows == at.rows:
                return
            self.changed = True
            at.parent.inner += rows - at.rows
            at.rows = rows
            at = at.parent


def topic_of(node: Node) -> str:
    """The topic, or the beginning of topics, that ends there."""
    names: list[str] = []
    at = node
    while at.parent is not None:
        names.append(at.name)
        at = at.parent
    return "/".join(reversed(names))


def _ascend(node: Node, name: str, by: int) -> None:
    at: Node | None = node
    while at is not None:
        setattr(at, name, getattr(at, name) + by)
        at = at.parent


def _order(name: str) -> str:
    """Sorts as people do: each number has its length before it, so that sensor2 comes before sensor10."""
    return f"{_DIGITS.sub(_with_length, name[:_SORTED_CHARACTERS])}\0{name}"


def _with_length(number: re.Match[str]) -> str:
    digits = number[0].lstrip("0")
    return f"0{chr(len(digits))}{digits}"
