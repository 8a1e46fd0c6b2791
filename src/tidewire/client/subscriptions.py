"""Which topic filters does the server know of? SUBSCRIBE and UNSUBSCRIBE, their answers, and all of it over reconnects.

| a question | it ends by |
|---|---|
| waiting: there is no connection, or `SUBSCRIBE_IDENTIFIERS` of them are unanswered | room: it is sent |
| sent | SUBACK or UNSUBACK; the connection's end, from which a SUBSCRIBE goes back to waiting |
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from tidewire.client.errors import SubscribeError
from tidewire.client.lifecycle import Lifecycle
from tidewire.client.stream import Stream
from tidewire.engine.client_connection import ClientConnection
from tidewire.engine.limits import SUBSCRIBE_IDENTIFIERS
from tidewire.engine.reception import Interest
from tidewire.wire import properties as p
from tidewire.wire.codes import V5
from tidewire.wire.packets import Suback, Subscribe, Unsuback, Unsubscribe

_REFUSED: Final = 0x80
"""Reason codes from here on say no."""


class _Question:
    """A SUBSCRIBE or UNSUBSCRIBE of one filter, and whoever waits for its answer."""

    def __init__(self, interest: Interest, leaving: bool, answer: asyncio.Future[int] | None) -> None:
        self.interest = interest
        self.leaving = leaving
        self.answer = answer

    def end(self, reason_code: int) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(reason_code)


class Subscriptions:
    """The filters of one client, as far as its server is concerned; who reads them is `engine.reception`'s."""

    def __init__(self, life: Lifecycle) -> None:
        self._life = life
        self._reception = life.session.reception
        self._asked: dict[int, _Question] = {}
        """By packet identifier."""
        self._waiting: deque[_Question] = deque()
        life.subscriptions = self

    def expects_answers(self) -> bool:
        """Whether somebody waits for something that the server has to say."""
        return bool(self._asked or self._waiting)

    def subscribe(self, interest: Interest) -> asyncio.Future[int]:
        """Ask for a filter; the reason code, if need be on a later connection."""
        answer: asyncio.Future[int] = self._life.new_future()
        self._ask(_Question(interest, False, answer))
        return answer

    def unsubscribe(self, interest: Interest) -> asyncio.Future[int]:
        """Give a filter up that nobody reads. Done at once, or when the connection ends, where there is none to ask
        on: the server is told as soon as there is one."""
        interest.leaving = True
        answer: asyncio.Future[int] = self._life.new_future()
        if self._life.connected:
            self._ask(_Question(interest, True, answer))
        else:
            answer.set_result(0)
        return answer

    # -- what the life cycle calls

    def resume(self, connection: ClientConnection, session_present: bool) -> None:
        """CONNACK came: ask for what the server does not know, before anything is published."""
        asked_for = {question.interest for question in self._waiting}
        for interest in list(self._reception.interests.values()):
            if interest.leaving:
                self._waiting.append(_Question(interest, True, None))
            elif not session_present:
                interest.newest = list(interest.inboxes)
                if interest not in asked_for:
                    self._waiting.append(_Question(interest, False, None))
        self._send(connection)

    def answered(self, packet: Suback | Unsuback) -> None:
        """SUBACK or UNSUBACK came."""
        question = self._asked.pop(packet.packet_identifier, None)
        if question is None:
            return
        interest = question.interest
        reason_code = packet.reason_codes[0] if packet.reason_codes else 0
        if question.leaving:
            if interest.leaving:
                self._reception.forget(interest)
        elif reason_code >= _REFUSED:
            error = SubscribeError({interest.request.topic_filter.decode(): reason_code})
            for inbox in interest.inboxes:
                if isinstance(inbox, Stream):
                    inbox.fail(error)
            self._reception.forget(interest)
        question.end(reason_code)
        connection = self._life.session.connection
        if self._waiting and connection is not None:
            self._send(connection)

    def pause(self) -> None:
        """The connection is gone."""
        unanswered = [*self._asked.values(), *self._waiting]
        self._asked.clear()
        self._waiting.clear()
        for question in unanswered:
            if question.leaving:
                question.end(0)
            elif question.answer is None or not question.answer.done():
                self._waiting.append(question)

    def end(self, error: BaseException) -> bool:
        """No answer will come. True: somebody outside has been told."""
        told = False
        for question in [*self._asked.values(), *self._waiting]:
            answer = question.answer
            if answer is not None and not answer.done():
                told = self._life.tell(answer, error) or told
        self._asked.clear()
        self._waiting.clear()
        return told

    # -- inside

    def _ask(self, question: _Question) -> None:
        self._waiting.append(question)
        connection = self._life.session.connection
        if connection is not None:
            self._send(connection)
            self._life.read_on()
            self._life.plan_flush()

    def _send(self, connection: ClientConnection) -> None:
        """Send what waits, as far as there are packet identifiers."""
        session = self._life.session
        level = connection.version
        while self._waiting and len(self._asked) < SUBSCRIBE_IDENTIFIERS:
            question = self._waiting.popleft()
            interest = question.interest
            if question.leaving and not interest.leaving:
                question.end(0)  # somebody wants it again
                continue
            number = session.new_subscribe_identifier()
            while number in self._asked:
                number = session.new_subscribe_identifier()
            self._asked[number] = question
            if question.leaving:
                connection.put(Unsubscribe(number, [interest.request.topic_filter]).encode(level))
                continue
            packet = Subscribe(number, [interest.request])
            if level == V5 and self._identifiers_available():
                packet.properties.subscription_identifiers = [interest.identifier]
            connection.put(packet.encode(level))

    def _identifiers_available(self) -> bool:
        connack = self._life.connack
        return connack is not None and connack.properties.flag(p.SUBSCRIPTION_IDENTIFIER_AVAILABLE, True)
