"""Retained messages (3.3.1.3): the last message of each topic, found by filter and delivered at the socket's pace."""

from __future__ import annotations

from tidewire.engine.message import Message


class _Node:
    """A level of the tree of topics that have a retained message."""

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] | None = None
        self.message: Message | None = None


class RetainedMessages:
    """The retained message of every topic."""

    def __init__(self, messages_limit: int, bytes_limit: int) -> None:
        self.count = 0
        self.bytes = 0
        self._messages_limit = messages_limit
        self._bytes_limit = bytes_limit
        self._root = _Node()

    def set(self, message: Message) -> bool:
        """Make it the retained message of its topic, or clear the topic when the payload is empty
        [MQTT-3.3.1-5, 3.3.1-6]. False: a limit is reached, and the topic stays as it was."""
        if not message.payload:
            self.clear(message.topic)
            return True
        before = self.current(message.topic)
        grows = message.size() - (before.size() if before is not None else 0)
        if grows > 0 and self.bytes + grows > self._bytes_limit:
            return False
        if before is None and self.count >= self._messages_limit:
            return False
        node = self._root
        for level in message.topic.split(b"/"):
            children = node.children
            if children is None:
                children = node.children = {}
            child = children.get(level)
            if child is None:
                child = children[level] = _Node()
            node = child
        node.message = message
        self.bytes += grows
        if before is None:
            self.count += 1
        return True

    def current(self, topic: bytes) -> Message | None:
        """The retained message of a topic."""
        node = self._root
        for level in topic.split(b"/"):
            children = node.children
            if children is None:
                return None
            child = children.get(level)
            if child is None:
                return None
            node = child
        return node.message

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
        self.count -= 1
        self.bytes -= message.size()
        for depth in range(len(levels), 0, -1):
            if path[depth].message is not None or path[depth].children:
                break
            children = path[depth - 1].children
            assert children is not None
            del children[levels[depth - 1]]

    def match(self, topic_filter: bytes) -> list[Message]:
        """The retained messages of all topics that a filter (without share name) matches."""
        found: list[Message] = []
        _collect(self._root, topic_filter.split(b"/"), 0, found)
        return found

    def expire(self, message: Message) -> None:
        """Forget a message that has expired, if it is still its topic's."""
        if self.current(message.topic) is message:
            self.clear(message.topic)


def _collect(node: _Node, levels: list[bytes], depth: int, found: list[Message]) -> None:
    if depth == len(levels):
        if node.message is not None:
            found.append(node.message)
        return
    level = levels[depth]
    if level == b"#":
        _collect_all(node, found, depth == 0)
        return
    children = node.children
    if children is None:
        return
    if level == b"+":
        for name, child in children.items():
            if depth or name[:1] != b"$":  # [MQTT-4.7.2-1]
                _collect(child, levels, depth + 1, found)
        return
    child_or_none = children.get(level)
    if child_or_none is not None:
        _collect(child_or_none, levels, depth + 1, found)


def _collect_all(node: _Node, found: list[Message], at_root: bool) -> None:
    if node.message is not None:
        found.append(node.message)
    if node.children is not None:
        for name, child in node.children.items():
            if not (at_root and name[:1] == b"$"):
                _collect_all(child, found, False)


class RetainedDelivery:
    """Retained messages on their way to one new subscription.

    A message that was replaced meanwhile is left out: the subscription has already had the newer one.
    """

    def __init__(self, messages: list[Message], qos: int, identifier: bytes) -> None:
        self.messages = messages
        self.qos = qos
        self.identifier = identifier
        self.position = 0
