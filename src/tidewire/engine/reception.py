"""Which inboxes get a message: the subscriptions of one client, found by identifier or by filter.

In 5.0 each topic filter has a Subscription Identifier, made from its text, so that it is the same in the next life of
the program, and the server says for which filters a message comes. Where it does not, filters are matched here.
A filter that several inboxes want is subscribed to once and counted.
"""

from __future__ import annotations

from collections import deque
from typing import Final
from zlib import crc32

from tidewire.engine.limits import REMEMBERED_TOPICS
from tidewire.engine.received import Inbox, Message
from tidewire.wire.packets import SubscriptionRequest
from tidewire.wire.topics import matches, split_share

ONE_BYTE_IDENTIFIERS: Final = 127
"""Subscription Identifiers up to this take one byte (1.5.5)."""


class Interest:
    """One topic filter that the client is subscribed to, and who wants it."""

    def __init__(self, request: SubscriptionRequest, identifier: int) -> None:
        self.request = request
        self.identifier = identifier
        """The Subscription Identifier (3.8.2.1.2)."""
        self.matched = split_share(request.topic_filter)[1]
        self.inboxes: list[Inbox] = []
        self.newest: list[Inbox] = []
        """Those for whom the last SUBSCRIBE was sent: retained messages come for them alone."""
        self.leaving = False
        """Nobody wants it any more, but the server has not said that it knows."""


class Reception:
    """All interests of one client."""

    def __init__(self) -> None:
        self.interests: dict[bytes, Interest] = {}
        """By topic filter, in order of subscribing."""
        self.epoch = 0
        """Moves when a route may have changed."""
        self.parked: deque[Message] = deque()
        """QoS 1 and 2 messages that nobody has subscribed to yet in this life of the program: those of a resumed
        session. They stay unacknowledged until somebody does."""
        self.unclaimed = 0
        """Messages that nobody wanted."""
        self.inherits = True
        """Whether the session may have subscriptions from an earlier life of the program."""
        self._by_identifier: dict[int, Interest] = {}
        self._left: set[bytes] = set()
        """Filters that this life has unsubscribed from: what the server had queued for them may still come."""

    def interest(self, request: SubscriptionRequest) -> Interest:
        """The interest for a filter, with the options of `request` and the higher QoS of all who want it."""
        topic_filter = request.topic_filter
        interest = self.interests.get(topic_filter)
        if interest is None:
            interest = Interest(request, self._new_identifier(topic_filter))
            self.interests[topic_filter] = interest
            self._by_identifier[interest.identifier] = interest
        elif not interest.inboxes:
            interest.request = request
        else:
            qos = max(request.qos, interest.request.qos)
            interest.request = SubscriptionRequest(
                topic_filter, qos, request.no_local, request.retain_as_published, request.retain_handling
            )
        interest.leaving = False
        self.epoch += 1
        return interest

    def attach(self, interest: Interest, inbox: Inbox) -> None:
        """An inbox wants what comes for an interest, what has come before it was there included."""
        interest.newest = [inbox]
        if inbox not in interest.inboxes:
            interest.inboxes.append(inbox)
        self.epoch += 1
        kept: deque[Message] = deque()
        for message in self.parked:
            if not matches(interest.matched, message.topic.encode()):
                kept.append(message)
                continue
            message.readers = 1
            if not inbox.add(message):
                message.ack()
        self.parked = kept

    def park(self, messages: list[Message]) -> None:
        """A reader is gone and has not dealt with these: the next one for them gets them."""
        for message in messages:
            if message.readers > 1:
                message.readers -= 1
            elif message.readers == 1:
                self.parked.append(message)

    def detach(self, interest: Interest, inbox: Inbox) -> None:
        """An inbox is gone."""
        if inbox in interest.newest:
            interest.newest = []
        if inbox in interest.inboxes:
            interest.inboxes.remove(inbox)
        self.epoch += 1

    def forget(self, interest: Interest) -> None:
        """The server knows that nobody wants it any more, or has refused it."""
        if self.interests.get(interest.request.topic_filter) is not interest:
            return
        del self.interests[interest.request.topic_filter]
        del self._by_identifier[interest.identifier]
        self.epoch += 1
        if not interest.leaving:
            return
        if len(self._left) >= REMEMBERED_TOPICS:
            self._left.clear()
        self._left.add(interest.matched)
        parked, self.parked = self.parked, deque()
        for message in parked:
            topic = message.topic.encode()
            if not matches(interest.matched, topic) or self.may_be_wanted(self.route(topic, []), topic):
                self.parked.append(message)
            else:
                message.ack()

    def may_be_wanted(self, interests: list[Interest], topic: bytes) -> bool:
        """Whether a message that comes for these interests, which have no inboxes, should wait for one."""
        if interests:
            return not all([interest.leaving for interest in interests])
        return self.inherits and not any([matches(left, topic) for left in self._left])

    def route(self, topic: bytes, identifiers: list[int]) -> list[Interest]:
        """The interests that a message comes for."""
        found: list[Interest] = []
        for identifier in identifiers:
            known = self._by_identifier.get(identifier)
            if known is not None and matches(known.matched, topic):  # it may stem from an earlier life
                found.append(known)
        if not found:
            for interest in self.interests.values():
                if matches(interest.matched, topic):
                    found.append(interest)
        return found

    def _new_identifier(self, topic_filter: bytes) -> int:
        """A small one, since it comes with every message; the same in the next life of the program, unless taken."""
        identifier = crc32(topic_filter) % ONE_BYTE_IDENTIFIERS + 1
        if identifier in self._by_identifier:
            identifier = len(self._by_identifier) + 1  # not 1: thousands of filters would each try all before them
            while identifier in self._by_identifier:
                identifier += 1
        return identifier


def inboxes_of(interests: list[Interest], retained: bool) -> list[Inbox]:
    """Who gets a message, each once; a retained one only those who have just subscribed."""
    found: list[Inbox] = []
    for interest in interests:
        only_newest = retained and not interest.request.retain_as_published and interest.newest
        for inbox in interest.newest if only_newest else interest.inboxes:
            if inbox not in found:
                found.append(inbox)
    return found
