"""Who is this client? Found out in threads where it takes time, with as little as possible for who guesses passwords.

One proof decides: the certificate if the listener goes by it, else the token if there is one, else the password file
for its users, else the call-out. What none of them confirms is refused, and so is what none could be asked about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import time
from typing import TYPE_CHECKING, Final

from tidewire.access.back_off import BackOff
from tidewire.access.call_out import Answer, CallOut, Question
from tidewire.access.control import Grants, Policy, RuleAccess, question_of
from tidewire.access.passwords import Passwords
from tidewire.access.rules import Asked, RuleSet
from tidewire.access.scram import METHOD, ScramFault, ServerExchange
from tidewire.engine.connection import Connection
from tidewire.engine.ports import Exchange, Principal, Undecided
from tidewire.server.log import logger, quoted
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Connect

if TYPE_CHECKING:
    from tidewire.access.tokens import Tokens
    from tidewire.server.server import Server

PASSWORD_CHECKS: Final = 1
"""Threads that verify passwords: slow by intent, so they must not take every core."""

CALLS: Final = 16
"""Threads that verify tokens and ask the call-out: they wait for the network, not for a core."""

WAITING: Final = 1_000
"""Log-ins that may wait for their verification, and clients that may wait for the call-out; more are told that the
server is busy."""

LOG_INS: Final = 8
"""Log-ins of people, at the console, that may wait for their verification at a time, one from each address: who asks
for a hundred at once would have a hundred guesses before the first has failed."""

SWEEP_S: Final = 1.0
"""How often answers of the call-out that are too old are forgotten."""

_REFUSED: Final = (ReasonCode.BAD_USER_NAME_OR_PASSWORD, None)

Verdict = tuple[int, Principal | None]


class Verification(RuleAccess):
    """A policy, with the proofs of who a client is, on the running event loop."""

    def __init__(self, policy: Policy, server: Server) -> None:
        super().__init__(policy)
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._passwords = ThreadPoolExecutor(PASSWORD_CHECKS, "password")
        self._calls = ThreadPoolExecutor(CALLS, "access")
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: dict[Question, asyncio.Task[Answer]] = {}
        """One for all who wait for the same answer."""
        self._log_ins: set[str] = set()
        """Addresses from which somebody is logging in who is no client."""
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_later()

    def adopt(self, policy: Policy) -> None:
        super().adopt(policy)
        self._back_off = BackOff(policy.attempts)
        self._principals: dict[str, Principal] = {}
        """Of users of the password file: the connections of one share what was decided."""

    def close(self) -> None:
        """Leave the log-ins that still wait: nobody is there to answer them."""
        if self._sweep is not None:
            self._sweep.cancel()
        for task in [*self._tasks, *self._asking.values()]:
            task.cancel()
        for threads in (self._passwords, self._calls):
            threads.shutdown(wait=False, cancel_futures=True)

    # -- what the engine asks

    def authenticate(self, packet: Connect, connection: Connection) -> Verdict | None:
        """At once where nothing is to be found out; else the answer comes by `connection.authenticated`."""
        return self._with_answer(self._known(packet, connection), packet, connection)

    def proven(self, packet: Connect, principal: Principal, connection: Connection) -> Verdict | None:
        return self._with_answer((0, principal), packet, connection)

    def _with_answer(self, answer: Verdict | None, packet: Connect, connection: Connection) -> Verdict | None:
        """An answer, if it need not wait for more."""
        asks_about_will = self.fetches and packet.will is not None and (answer is None or answer[0] == 0)
        if answer is not None and not asks_about_will:
            return answer
        if len(self._tasks) >= WAITING:
            return ReasonCode.SERVER_BUSY, None
        self._start(self._authenticate(packet, connection, answer), connection)
        return None

    async def who_is(self, user_name: str, password: bytes, peer: str) -> Verdict:
        """The same of somebody who is no client, and shows a name and a password or a token."""
        if self.must_wait(peer):
            return ReasonCode.CONNECTION_RATE_EXCEEDED, None
        address = peer.rpartition(":")[0]
        if address in self._log_ins or len(self._log_ins) >= LOG_INS:
            return ReasonCode.SERVER_BUSY, None
        policy = self.policy
        self._log_ins.add(address)
        try:
            answer = await self._find_out(Connect(user_name=user_name, password=password), peer)
        finally:
            self._log_ins.discard(address)
        if policy is not self.policy:  # it may not hold any more
            return ReasonCode.SERVER_BUSY, None
        if self.must_wait(peer):  # others from there, as clients or out of the same network, have failed meanwhile
            answer = ReasonCode.CONNECTION_RATE_EXCEEDED, None
        elif answer == _REFUSED:
            self.failed(peer)
        return answer

    def exchange(self, method: str, connection: Connection) -> Exchange | None:
        passwords = self.policy.passwords
        if method != METHOD or passwords is None or not passwords.has_scram:
            return None
        return _ScramExchange(self, passwords, connection.peer)

    def decide(self, undecided: Undecided, connection: Connection) -> None:
        if len(self._tasks) >= WAITING:
            self._loop.call_soon(self._turn_away, connection)
            return
        self._start(self._decide(undecided, connection), connection)

    # -- finding out

    def _known(self, packet: Connect, connection: Connection) -> Verdict | None:
        """What can be said without delay: None if that is nothing yet."""
        policy = self.policy
        certificate = connection.certificate
        if certificate is not None and certificate.identity:
            return 0, Principal(certificate.identity, "")
        proves = (
            policy.passwords is not None or policy.tokens is not None or self._authenticating_call_out() is not None
        )
        if not proves or (packet.user_name is None and packet.password is None):
            return super().authenticate(packet, connection)  # a name that cannot be proven gives no rights
        if self._back_off.must_wait(connection.peer, self._server.clock()):
            return ReasonCode.CONNECTION_RATE_EXCEEDED, None
        user_name = packet.user_name
        passwords = policy.passwords
        if passwords is not None and user_name is not None and passwords.remembers(user_name, packet.password or b""):
            return 0, self.principal(user_name)
        return None

    async def _authenticate(self, packet: Connect, connection: Connection, answer: Verdict | None) -> None:
        if answer is None:
            answer = await self._find_out(packet, connection.peer)
            if answer == _REFUSED:
                self.failed(connection.peer)
        principal = answer[1]
        if self.fetches and packet.will is not None and principal is not None:
            answer = 0, await self._with_will(principal, packet.client_identifier, packet.will.topic)
        connection.authenticated(*answer, self._server.clock())
        self._server.plan_flush()

    async def _find_out(self, packet: Connect, peer: str) -> Verdict:
        policy = self.policy
        token = policy.tokens.token_of(packet.user_name, packet.password) if policy.tokens is not None else None
        if policy.tokens is not None and token is not None:
            return await self._by_token(policy.tokens, token, peer)
        user_name = packet.user_name
        password = packet.password or b""
        if user_name is None:
            return _REFUSED
        passwords = policy.passwords
        if passwords is not None:
            if await self._loop.run_in_executor(self._passwords, passwords.verify, user_name, password):
                passwords.remember(user_name, password)
                return 0, self.principal(user_name)
            if user_name in passwords:
                return _REFUSED
        call_out = self._authenticating_call_out()
        if call_out is None:
            return _REFUSED
        return await self._by_call_out(
            call_out,
            Question(
                "connect", user_name, packet.client_identifier, password=password, address=peer.rpartition(":")[0]
            ),
        )

    async def _by_token(self, tokens: Tokens, shown: str, peer: str) -> Verdict:
        from tidewire.access.tokens import InvalidToken  # noqa: PLC0415 (loads a library that few brokers need)

        try:
            token = await self._loop.run_in_executor(self._calls, tokens.verify, shown)
        except InvalidToken as error:
            logger.warning("refused token peer=%s detail=%s", peer, quoted(str(error)))
            return _REFUSED
        principal = Principal(token.user_name, "")
        principal.expires_at = self._server.clock() + token.expires_at - time()
        principal.grants = Grants(RuleSet(token.rules))
        return 0, principal

    async def _by_call_out(self, call_out: CallOut, question: Question) -> Verdict:
        answer = await self._ask(call_out, question)
        if not answer.allowed:
            return (ReasonCode.SERVER_UNAVAILABLE if answer.failed else ReasonCode.BAD_USER_NAME_OR_PASSWORD), None
        principal = Principal(answer.user_name or question.user_name, "")
        if answer.expires_in is not None:
            principal.expires_at = self._server.clock() + answer.expires_in
        principal.grants = Grants(answer.rules if answer.rules is not None else RuleSet())
        return 0, principal

    async def _with_will(self, principal: Principal, client_identifier: str, topic: bytes) -> Principal:
        """The principal, with what the call-out says of its will: at the end there is no time to ask."""
        own = self.admitted(principal, client_identifier)
        if self.deciding_rule(own, "publish", topic) is None and isinstance(own.grants, Grants):
            call_out = self.policy.call_out
            assert call_out is not None
            answer = await self._ask(call_out, question_of(own, "publish", topic))
            own.grants = replace(own.grants, will=(topic, answer.allowed))
        return own

    async def _decide(self, undecided: Undecided, connection: Connection) -> None:
        call_out = self.policy.call_out
        if call_out is not None:
            question = question_of(undecided.principal, _asked(undecided), undecided.topic)
            await self._ask(call_out, question)
        self._decided(connection)

    def _turn_away(self, connection: Connection) -> None:
        connection.close(ReasonCode.SERVER_BUSY, "too many questions wait for their answers", self._server.clock())
        self._server.plan_flush()

    def _decided(self, connection: Connection) -> None:
        connection.decided(self._server.clock())
        self._server.plan_flush()

    async def _ask(self, call_out: CallOut, question: Question) -> Answer:
        """The call-out's answer, remembered or new."""
        known = call_out.known(question)
        if known is not None:
            return known
        asking = self._asking.get(question)
        if asking is None:
            asking = self._asking[question] = self._loop.create_task(self._fetch(call_out, question))
        return await asyncio.shield(asking)

    async def _fetch(self, call_out: CallOut, question: Question) -> Answer:
        try:
            answer = await self._loop.run_in_executor(self._calls, call_out.ask, question)
            call_out.remember(question, answer)
            return answer
        finally:
            del self._asking[question]

    def _start(self, work: Coroutine[None, None, None], connection: Connection) -> None:
        task = self._loop.create_task(self._guarded(work, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[None, None, None], connection: Connection) -> None:
        """An error of ours costs the one client that it is about."""
        try:
            await work
        except Exception as error:
            connection.failed(error, self._server.clock())
            self._server.plan_flush()

    def _authenticating_call_out(self) -> CallOut | None:
        call_out = self.policy.call_out
        return call_out if call_out is not None and call_out.authenticates else None

    def _sweep_later(self) -> None:
        self._sweep = self._loop.call_later(SWEEP_S, self._forget_old_answers)

    def _forget_old_answers(self) -> None:
        call_out = self.policy.call_out
        if call_out is not None and call_out.forget_expired():
            self.epoch += 1
            self._server.broker.publish_permissions_changed()
        self._sweep_later()

    # -- what an exchange needs

    def principal(self, user_name: str) -> Principal:
        """Of a user of the password file."""
        return self._principals.setdefault(user_name, Principal(user_name, ""))

    def must_wait(self, peer: str) -> bool:
        """Whether it has failed too often."""
        return self._back_off.must_wait(peer, self._server.clock())

    def failed(self, peer: str) -> None:
        """A proof was wrong."""
        self._back_off.failed(peer, self._server.clock())


class _ScramExchange(Exchange):
    """SCRAM-SHA-256 with the verifiers of the password file: a few microseconds a step, so no thread."""

    def __init__(self, verification: Verification, passwords: Passwords, peer: str) -> None:
        super().__init__()
        self._verification = verification
        self._exchange = ServerExchange(passwords.scram_verifier)
        self._peer = peer
        self._answered = False

    def step(self, data: bytes) -> tuple[int, bytes, Principal | None]:
        if self._verification.must_wait(self._peer):
            return ReasonCode.NOT_AUTHORIZED, b"", None
        try:
            if not self._answered:
                self._answered = True
                return ReasonCode.CONTINUE_AUTHENTICATION, self._exchange.first(data), None
            signature = self._exchange.last(data)
        except ScramFault:
            self._verification.failed(self._peer)
            return ReasonCode.NOT_AUTHORIZED, b"", None
        return 0, signature, self._verification.principal(self._exchange.user_name)


def _asked(undecided: Undecided) -> Asked:
    return "publish" if undecided.action == "publish" else "subscribe"
