"""Retained messages (3.3.1.3): the last message of each topic, found by filter and delivered at the socket's pace."""

from __future__ import annotations

from itertools import islice
from typing import Final

from tidewire.engine.message import Message
from tidewire.engine.ports import Access, Principal, Provenance

_EXPIRY_STEP_S: Final = 60.0
"""How finely messages that expire are told apart: what nobody asks for is forgotten up to so much later."""


class _Node:
    """A level of the tree of topics that have a retained message."""

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] | None = None
        self.message: Message | None = None
        self.number = 0
        """Of its message, in the order in which they were set."""
        self.publisher: Principal | None = None
        """Who may have to answer for the message: None where nobody is known to."""
        self.provenance: Provenance | None = None
        self.access_epoch = -1
        """Of the access rules that `kept` goes by."""
        self.kept = True


class RetainedMessages:
    """The retained message of every topic."""

    def __init__(self, messages_limit: int, bytes_limit: int, levels_limit: int) -> None:
        self.count = 0
        self.bytes = 0
        self.levels = 0
        """Levels of all topics, each counted once where topics begin alike."""
        self.last_number = 0
        """Of the message set last: what a new subscription gets has this number or a lower one."""
        self._messages_limit = messages_limit
        self._bytes_limit = bytes_limit
        self._levels_limit = levels_limit
        self._root = _Node()
        self._expiring: dict[int, dict[bytes, None]] = {}
        """Step of time → topics whose message has expired when that step is over."""
        self._swept_to = 0

    def set(
        self,
        message: Message,
        publisher: Principal | None = None,
        provenance: Provenance | None = None,
        access_epoch: int = -1,
    ) -> bool:
        """Make it the retained message of its topic, or clear the topic when the payload is empty
        [MQTT-3.3.1-5, 3.3.1-6]. False: a limit is reached, and the topic stays as it was.

        `publisher` was allowed to publish it by the access rules of that epoch; None: the rules do not concern it."""
        if not message.payload:
            self.clear(message.topic)
            return True
        before = self.current(message.topic)
        grows = message.size() - (before.size() if before is not None else 0)
        if grows > 0 and self.bytes + grows > self._bytes_limit:
            return False
        levels = message.topic.split(b"/")
        if before is None and (self.count >= self._messages_limit or self.levels + len(levels) > self._levels_limit):
            return False
        node = self._root
        for level in levels:
            children = node.children
            if children is None:
                children = node.children = {}
            child = children.get(level)
            if child is None:
                child = children[level] = _Node()
                self.levels += 1
            node = child
        if before is not None:
            self._no_longer_expires(before)
        if message.expires_at > 0.0:
            self._expiring.setdefault(self._step_of(message), {})[message.topic] = None
        node.message = message
        node.publisher = publisher
        node.provenance = provenance
        node.access_epoch = access_epoch
        node.kept = True
        self.last_number += 1
        node.number = self.last_number
        self.bytes += grows
        if before is None:
            self.count += 1
        return True

    def current(self, topic: bytes) -> Message | None:
        """The retained message of a topic."""
        node = self._node(topic)
        return node.message if node is not None else None

    def provenance(self, topic: bytes) -> Provenance | None:
        """Who published the retained message of a topic."""
        node = self._node(topic)
        return node.provenance if node is not None else None

    def is_kept(self, message: Message, access: Access) -> bool:
        """Whether it still is its topic's message, and its publisher still may publish there."""
        node = self._node(message.topic)
        if node is None or node.message is not message:
            return False
        publisher = node.publisher
        if publisher is None or access.unrestricted:
            return True
        if node.access_epoch != access.epoch:
            node.kept = access.may_keep(publisher, message.publisher, message.topic)
            node.access_epoch = access.epoch
        return node.kept

    def _node(self, topic: bytes) -> _Node | None:
        node = self._root
        for level in topic.split(b"/"):
            children = node.children
            if children is None:
                return None
            child = children.get(level)
            if child is None:
                return None
            node = child
        return node

    def clear(self, topic: bytes) -> None:
        path: list[_Node] = [self._root]
        levels = topic.split(b"/")
        for level in levels:
            children = path[-1].children
            child = children.get(level) if children is not None else None
            if child is None:
                return
            path.append(child)
        message = path[-1].message
        if message is None:
            return
        path[-1].message = None
        path[-1].publisher = None
        path[-1].provenance = None
        self._no_longer_expires(message)
        self.count -= 1
        self.bytes -= message.size()
        for depth in range(len(levels), 0, -1):
            if path[depth].message is not None or path[depth].children:
                break
            children = path[depth - 1].children
            assert children is not None
            del children[levels[depth - 1]]
            self.levels -= 1

    def match(self, topic_filter: bytes) -> list[Message]:
        """The retained messages of all topics that a filter (without share name) matches."""
        walk = self.walk(topic_filter, self.last_number)
        while not walk.is_done():
            walk.go_on(self.levels + 1)
        return walk.found

    def walk(self, topic_filter: bytes, last_number: int) -> Walk:
        """`match` for the messages up to a number, a part at a time."""
        return Walk(self._root, topic_filter.split(b"/"), last_number)

    def expire(self, message: Message) -> None:
        """Forget a message that has expired, if it is still its topic's."""
        if self.current(message.topic) is message:
            self.clear(message.topic)

    def sweep(self, now: float, most: int) -> list[bytes]:
        """Forget messages that have expired, at most so many; returns their topics."""
        swept: list[bytes] = []
        current = int(now / _EXPIRY_STEP_S)
        if current == self._swept_to:
            return swept
        for step in sorted([step for step in self._expiring if step < current]):
            for topic in list(islice(self._expiring[step], most - len(swept))):
                self.clear(topic)
                swept.append(topic)
            if len(swept) >= most:
                return swept  # the next call goes on
        self._swept_to = current
        return swept

    def _step_of(self, message: Message) -> int:
        return int(message.expires_at / _EXPIRY_STEP_S)

    def _no_longer_expires(self, message: Message) -> None:
        if message.expires_at > 0.0:
            step = self._step_of(message)
            topics = self._expiring[step]
            del topics[message.topic]
            if not topics:
                del self._expiring[step]


class Walk:
    """Looks for the messages that a filter matches, as far as it is told to at a time.

    What is set or cleared meanwhile may be found or not."""

    def __init__(self, root: _Node, levels: list[bytes], last_number: int) -> None:
        self.found: list[Message] = []
        self._levels = levels
        self._last_number = last_number
        self._nodes = [[root]]
        """Nodes that are still to be visited, from the root downwards: at each level the siblings, …"""
        self._positions = [0]
        """… which of them is next, …"""
        self._depths = [0]
        """… and which level of the filter they are held against; _BELOW: the filter's # has matched above."""

    def is_done(self) -> bool:
        return not self._nodes

    def go_on(self, most: int) -> int:
        """Visit at most so many nodes; returns how many were visited in vain."""
        visited = 0
        found = len(self.found)
        while self._nodes and visited < most:
            siblings, position = self._nodes[-1], self._positions[-1]
            if position >= len(siblings):
                self._nodes.pop()
                self._positions.pop()
                self._depths.pop()
                continue
            self._positions[-1] = position + 1
            self._visit(siblings[position], self._depths[-1])
            visited += 1
        return visited - (len(self.found) - found)

    def _visit(self, node: _Node, depth: int) -> None:
        levels = self._levels
        level = b"#" if depth == _BELOW else levels[depth] if depth < len(levels) else b""
        is_end = depth == len(levels)
        if (is_end or level == b"#") and node.message is not None and node.number <= self._last_number:
            self.found.append(node.message)
        children = node.children
        if children is None or is_end:
            return
        if level != b"#" and level != b"+":
            child = children.get(level)
            if child is not None:
                self._descend([child], depth + 1)
        elif depth == 0:
            named = [child for name, child in children.items() if name[:1] != b"$"]  # [MQTT-4.7.2-1]
            self._descend(named, _BELOW if level == b"#" else 1)
        else:
            self._descend(list(children.values()), _BELOW if level == b"#" else depth + 1)

    def _descend(self, siblings: list[_Node], depth: int) -> None:
        self._nodes.append(siblings)
        self._positions.append(0)
        self._depths.append(depth)


_BELOW: Final = -1


class RetainedDelivery:
    """Retained messages on their way to one new subscription.

    They are looked for when its turn has come, so that a subscription that waits is small however many they are. One
    that was set since the subscription was made, or replaced since it was found, is left out: the subscription has
    already had it.
    """

    def __init__(self, topic_filter: bytes, qos: int, no_local: bool, identifier: bytes, last_number: int) -> None:
        self.topic_filter = topic_filter
        self.qos = qos
        self.no_local = no_local
        self.identifier = identifier
        self.last_number = last_number
        self.walk: Walk | None = None
        """What looks for its messages, None before its turn has come."""
        self.position = 0
        """Of what it has found: what comes before was delivered."""
        self._repetitions = 0

    def repeat_as(self, other: RetainedDelivery) -> None:
        """Subscribed to once more while it waits: all of it comes once more [MQTT-3.8.4-5], with the new options."""
        self.qos = other.qos
        self.no_local = other.no_local
        self.identifier = other.identifier
        self.last_number = other.last_number
        self._repetitions += 1

    def begin_again(self) -> bool:
        """False: it was the last time."""
        if not self._repetitions:
            return False
        self._repetitions -= 1
        self.walk = None
        self.position = 0
        return True
