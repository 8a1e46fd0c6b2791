"""Who gets a message: subscriptions in a topic tree (4.7), shared subscriptions (4.8), and the route of a topic.

A route is found once by walking the tree and then remembered by the topic's bytes; whatever could change any route
(a subscription made or ended, an access change) starts a new epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidewire.engine.meter import Branch
from tidewire.wire.fields import encode_variable_byte_integer
from tidewire.wire.topics import has_wildcard, split_share

if TYPE_CHECKING:
    from tidewire.engine.session import Session


class Subscription:
    """One topic filter of one session, with the options of 3.8.3.1."""

    def __init__(
        self,
        session: Session,
        topic_filter: bytes,
        qos: int,
        no_local: bool,
        retain_as_published: bool,
        identifier: int,
    ) -> None:
        self.session = session
        self.topic_filter = topic_filter
        self.qos = qos
        self.no_local = no_local
        self.retain_as_published = retain_as_published
        self._identifier = identifier
        self.identifier = b"\x0b" + encode_variable_byte_integer(identifier) if identifier else b""
        """The Subscription Identifier as an encoded property, empty for none (3.8.2.1.2)."""

    def options(self) -> tuple[int, bool, bool, int]:
        """QoS, No Local, Retain As Published, Subscription Identifier: as a store keeps them."""
        return self.qos, self.no_local, self.retain_as_published, self._identifier

    def is_plain(self) -> bool:
        """Whether a message needs no change for it but perhaps a lower QoS."""
        return not (self.no_local or self.retain_as_published or self.identifier)


class ShareGroup:
    """The sessions that share one subscription (4.8.2), and whose turn it is."""

    def __init__(self) -> None:
        self.members: dict[Session, Subscription] = {}
        self.turn = 0


class SharedTargets:
    """A share group as one topic sees it: the members that may read the topic."""

    def __init__(self, group: ShareGroup, members: list[Subscription]) -> None:
        self.group = group
        self.members = members

    def choose(self, qos: int) -> Subscription | None:
        """The member whose turn it is, the ready before the busy, the connected before the offline [MQTT-4.8.2-3]."""
        members = self.members
        count = len(members)
        group = self.group
        busy: Subscription | None = None
        offline: Subscription | None = None
        for step in range(count):
            position = (group.turn + step) % count
            member = members[position]
            link = member.session.link
            if link is None:
                if offline is None and qos and member.qos:
                    offline = member
            elif link.blocked or member.session.queue is not None:
                if busy is None:
                    busy = member
            else:
                group.turn = position + 1
                return member
        group.turn += 1
        return busy if busy is not None else offline


class Route:
    """Everybody who gets the messages of one topic."""

    def __init__(self, branch: Branch | None = None) -> None:
        self.branch = branch if branch is not None else Branch()
        """Where the meter counts the topic."""
        self.plain: list[Session] = []
        """Sessions whose messages need no change but perhaps a lower QoS …"""
        self.plain_qos: list[int] = []
        """… and the highest QoS granted to each [MQTT-3.3.4-2]."""
        self.onlookers = 0
        """How many of these only look: nobody is told that they subscribe."""
        self.special: list[list[Subscription]] = []
        """Per other session, its matching subscriptions."""
        self.shared: list[SharedTargets] = []

    def is_empty(self) -> bool:
        return not (self.plain or self.special or self.shared)

    def size(self) -> int:
        """Entries it has for sessions and subscriptions."""
        size = len(self.plain) + len(self.special)
        for targets in self.shared:
            size += len(targets.members)
        return size


class _Node:
    """A level of the topic tree."""

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] | None = None
        self.subscriptions: dict[Session, Subscription] | None = None
        self.groups: dict[bytes, ShareGroup] | None = None

    def is_bare(self) -> bool:
        return not (self.children or self.subscriptions or self.groups)


class Matches:
    """What the tree has for one topic."""

    def __init__(self) -> None:
        self.subscriptions: list[Subscription] = []
        self.groups: list[ShareGroup] = []

    def add(self, node: _Node) -> None:
        if node.subscriptions is not None:
            self.subscriptions.extend(node.subscriptions.values())
        if node.groups is not None:
            self.groups.extend(node.groups.values())


class TopicTree:
    """Subscriptions by topic filter; a walk costs more with more levels of the topic, not with more subscriptions."""

    def __init__(self) -> None:
        self.levels = 0
        """Levels of all topic filters, each counted once where filters begin alike."""
        self._root = _Node()

    def add(self, subscription: Subscription) -> Subscription | None:
        """Add or replace [MQTT-3.8.4-3]; returns the subscription that was there."""
        share_name, topic_filter = split_share(subscription.topic_filter)
        node = self._root
        for level in topic_filter.split(b"/"):
            children = node.children
            if children is None:
                children = node.children = {}
            child = children.get(level)
            if child is None:
                child = children[level] = _Node()
                self.levels += 1
            node = child
        if share_name:
            groups = node.groups
            if groups is None:
                groups = node.groups = {}
            group = groups.get(share_name)
            if group is None:
                group = groups[share_name] = ShareGroup()
            members = group.members
        else:
            if node.subscriptions is None:
                node.subscriptions = {}
            members = node.subscriptions
        replaced = members.get(subscription.session)
        members[subscription.session] = subscription
        return replaced

    def remove(self, subscription: Subscription) -> None:
        """Remove a subscription that is in the tree, and the levels that nobody needs any more."""
        share_name, topic_filter = split_share(subscription.topic_filter)
        path: list[_Node] = [self._root]
        levels = topic_filter.split(b"/")
        for level in levels:
            children = path[-1].children
            assert children is not None
            path.append(children[level])
        node = path[-1]
        if share_name:
            assert node.groups is not None
            members = node.groups[share_name].members
            del members[subscription.session]
            if not members:
                del node.groups[share_name]
        else:
            assert node.subscriptions is not None
            del node.subscriptions[subscription.session]
        for depth in range(len(levels), 0, -1):
            if not path[depth].is_bare():
                break
            children = path[depth - 1].children
            assert children is not None
            del children[levels[depth - 1]]
            self.levels -= 1

    def match(self, topic: bytes) -> Matches:
        """Everything whose filter matches a topic name; a leading wildcard does not match `$…` [MQTT-4.7.2-1]."""
        matches = Matches()
        levels = topic.split(b"/")
        if topic[:1] == b"$":
            children = self._root.children
            child = children.get(levels[0]) if children is not None else None
            if child is not None:
                _match_below(child, levels, 1, matches)
        else:
            _match_below(self._root, levels, 0, matches)
        return matches


def _match_below(node: _Node, levels: list[bytes], depth: int, matches: Matches) -> None:
    children = node.children
    if children is not None:
        rest = children.get(b"#")
        if rest is not None:
            matches.add(rest)  # also the parent level itself (4.7.1.2)
    if depth == len(levels):
        matches.add(node)
        return
    if children is None:
        return
    child = children.get(levels[depth])
    if child is not None:
        _match_below(child, levels, depth + 1, matches)
    child = children.get(b"+")
    if child is not None:
        _match_below(child, levels, depth + 1, matches)


class RouteCache:
    """Routes by topic; bounded, and started anew when it is full or a change could touch many of them."""

    def __init__(self, topics_limit: int, topic_bytes_limit: int, entries_limit: int) -> None:
        self.epoch = 0
        """Moves whenever a route that somebody holds may be out of date."""
        self.routes: dict[bytes, Route] = {}
        self.entries = 0
        """What all of them are in size together."""
        self._topics_limit = topics_limit
        self._topic_bytes_limit = topic_bytes_limit
        self._entries_limit = entries_limit

    def keep(self, topic: bytes, route: Route) -> None:
        if len(topic) > self._topic_bytes_limit:
            return
        size = route.size()
        if len(self.routes) >= self._topics_limit or self.entries + size > self._entries_limit:
            self._forget_all()
        self.routes[topic] = route
        self.entries += size

    def changed(self, topic_filter: bytes) -> None:
        """A subscription with this filter came or went."""
        self.epoch += 1
        topic = split_share(topic_filter)[1]
        if has_wildcard(topic):
            if self.routes:
                self._forget_all()
        elif topic in self.routes:
            self.entries -= self.routes.pop(topic).size()

    def clear(self) -> None:
        """Anything may have changed."""
        self.epoch += 1
        self._forget_all()

    def _forget_all(self) -> None:
        self.routes.clear()
        self.entries = 0
