"""Which topic filters does the server know of, and for which streams? Also over reconnects.

| a question | it ends by |
|---|---|
| waiting: there is no connection, or `SUBSCRIBE_IDENTIFIERS` of them are unanswered | room: it is sent |
| sent | SUBACK or UNSUBACK; the connection's end, from which a SUBSCRIBE goes back to waiting |
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from tidewire.client.errors import SubscribeError
from tidewire.client.stream import Stream
from tidewire.engine.client_connection import ClientConnection
from tidewire.engine.limits import SUBSCRIBE_IDENTIFIERS
from tidewire.engine.received import Message
from tidewire.engine.reception import Interest
from tidewire.wire import properties as p
from tidewire.wire.codes import V5
from tidewire.wire.packets import Suback, Subscribe, SubscriptionRequest, Unsuback, Unsubscribe

if TYPE_CHECKING:
    from tidewire.client.lifecycle import Lifecycle

_REFUSED: Final = 0x80
"""Reason codes from here on say no."""


class Subscriptions:
    """The filters and open streams of one client; which stream gets a message is `engine.reception`'s."""

    def __init__(self, life: Lifecycle) -> None:
        self._life = life
        self._session = life.session
        self._reception = life.session.reception
        self._traffic = life.traffic
        self._streams: list[Stream] = []
        self._dropped = 0
        """By streams that are over."""
        self._asked: dict[int, _Question] = {}
        """By packet identifier."""
        self._waiting: deque[_Question] = deque()

    # -- what the client calls

    @property
    def dropped(self) -> int:
        """Messages that open streams had no room for."""
        return self._dropped + sum(stream.dropped for stream in self._streams)

    async def end_all(self, requests: list[SubscriptionRequest]) -> None:
        """Unsubscribe from filters, known here or only to the server; streams go on with those that they have left."""
        known = self._reception.interests
        interests = [known.get(request.topic_filter) or self._reception.interest(request) for request in requests]
        for stream in list(self._streams):
            for interest in interests:
                stream.withdraw(interest)
        await self.unsubscribe(interests)

    def forget_session(self) -> None:
        """The next connection begins another session."""
        self._reception.parked.clear()
        for interest in list(self._reception.interests.values()):
            if not interest.inboxes:
                self._reception.forget(interest)

    # -- what streams call

    async def subscribe(self, stream: Stream) -> None:
        """Attach a stream and SUBSCRIBE; returns when the server has answered, if need be on a later connection.

        Raises SubscribeError.
        """
        self._life.check_open()
        self._streams.append(stream)
        answers: list[asyncio.Future[int]] = []
        for request in stream.requests:
            interest = self._reception.interest(request)
            stream.interests.append(interest)
            self._reception.attach(interest, stream)
            answer = self.new_future()
            answers.append(answer)
            self._ask(_Question(interest, False, answer))
        stream.granted = list(await asyncio.gather(*answers))
        refused = {
            request.topic_filter.decode(): code
            for request, code in zip(stream.requests, stream.granted, strict=True)
            if code >= _REFUSED
        }
        if refused:
            raise SubscribeError(refused)

    async def unsubscribe(self, interests: list[Interest]) -> None:
        """Tell the server of those that nobody wants any more. Done when it has answered, or when the connection ends;
        where there is none, at once: the server is told as soon as there is one."""
        unread = [interest for interest in dict.fromkeys(interests) if not interest.inboxes and not interest.leaving]
        await asyncio.gather(*[self._leave(interest) for interest in unread])

    def abandon(self, interests: list[Interest]) -> None:
        """The same for those of a stream that never opened, without waiting; a lasting session keeps them."""
        if not self._life.settings.session_expiry and self._life.connected:
            known = self._reception.interests.values()  # without those that were refused
            for interest in dict.fromkeys(interests):
                if not interest.inboxes and not interest.leaving and interest in known:
                    self._leave(interest)

    def detach(self, stream: Stream, undone: list[Message]) -> None:
        """A stream is over; what its reader has not dealt with waits for the next one."""
        for interest in stream.interests:
            self._reception.detach(interest, stream)
        self._reception.park(undone)
        if stream in self._streams:
            self._streams.remove(stream)
            self._dropped += stream.dropped
        self.read_on()

    def detach_interest(self, stream: Stream, interest: Interest) -> None:
        """A stream goes on without one of its filters."""
        self._reception.detach(interest, stream)

    def new_future(self) -> asyncio.Future[Any]:
        """What a stream's reader waits for."""
        return self._life.waiting.new_future()

    def is_outside(self, waiters: list[asyncio.Future[None]]) -> bool:
        """Whether somebody of these is not a task of the client's own."""
        return any(self._life.waiting.is_outside(waiter) for waiter in waiters)

    def read_on(self) -> None:
        """A stream has room again."""
        self._traffic.read_on()

    def read_on_if_below(self, stream: Stream) -> None:
        """The same, if it is half empty."""
        connection = self._session.connection
        if connection is not None and connection.reading_paused and len(stream.messages) * 2 <= stream.maximum:
            self._traffic.read_on()

    # -- what the connection and the life cycle call

    def expects_answers(self) -> bool:
        """Whether somebody waits for something that the server has to say."""
        return bool(self._asked or self._waiting)

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
        connection = self._session.connection
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
        """No message and no answer will come. True: somebody outside has been told."""
        told = any([stream.fail(error) for stream in list(self._streams)])
        for question in [*self._asked.values(), *self._waiting]:
            told = self._life.waiting.tell(question.answer, error) or told
        self._asked.clear()
        self._waiting.clear()
        return told

    # -- inside

    def _leave(self, interest: Interest) -> asyncio.Future[Any]:
        interest.leaving = True
        answer = self.new_future()
        if self._life.connected:
            self._ask(_Question(interest, True, answer))
        else:
            answer.set_result(0)
        return answer

    def _ask(self, question: _Question) -> None:
        self._waiting.append(question)
        connection = self._session.connection
        if connection is not None:
            self._send(connection)
            self._traffic.read_on()
            self._traffic.plan_flush()

    def _send(self, connection: ClientConnection) -> None:
        """Send what waits, as far as there are packet identifiers."""
        session = self._session
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
        connack = self._life.server.connack
        return connack is not None and connack.properties.flag(p.SUBSCRIPTION_IDENTIFIER_AVAILABLE, True)


class _Question:
    """A SUBSCRIBE or UNSUBSCRIBE of one filter, and whoever waits for its answer."""

    def __init__(self, interest: Interest, leaving: bool, answer: asyncio.Future[int] | None) -> None:
        self.interest = interest
        self.leaving = leaving
        self.answer = answer

    def end(self, reason_code: int) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(reason_code)
