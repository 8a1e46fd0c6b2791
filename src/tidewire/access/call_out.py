"""What does a web service say of a client? Asked by HTTP, answers remembered for a while; no answer is a no.

`CallOut.ask` waits for the network, so it is for a thread. Everything else belongs to the event loop.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Final

import msgspec

from tidewire.access.rules import RuleSet
from tidewire.access.token_rules import rules_of_claims
from tidewire.access.web import FetchError, WebClient

logger = logging.getLogger("tidewire")

ANSWERS: Final = 100_000
"""Answers remembered; the oldest are forgotten first. Some 30 MB at most with topics of usual length."""

ANSWER_BYTES: Final = 64 * 1024
"""Largest answer that is read: a decision and some topic filters."""

FAILURE_PAUSE_S: Final = 2.0
"""After a failure everything is denied for so long without asking: a service that hangs must not be waited for by
each client in turn."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the service is asked. `password` for "connect" only, `topic` for the others."""

    action: str
    """"connect", "publish" or "subscribe"."""
    user_name: str | None
    client_identifier: str
    topic: str = ""
    password: bytes = b""
    address: str = ""


class Reply(msgspec.Struct):
    """The JSON that the service answers with; other members are passed over."""

    allow: bool
    user_name: str | None = None
    """For "connect": who it is, if not who it says."""
    publish: list[str] = []
    subscribe: list[str] = []
    expires_in: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """For "connect": seconds after which the connection is cut."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service has said."""

    allowed: bool
    user_name: str | None = None
    rules: RuleSet | None = None
    expires_in: float | None = None
    failed: bool = False
    """There was no answer."""


DENIED: Final = Answer(False)
_FAILED: Final = Answer(False, failed=True)


class CallOut:
    """A web service that is asked who a client is (`authenticates`) and what it may do (`authorizes`)."""

    def __init__(
        self,
        url: str,
        authenticates: bool = True,
        authorizes: bool = True,
        timeout_s: float = 5.0,
        cache_s: float = 60.0,
        headers: Mapping[str, str] | None = None,
        ca_file: str | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Raises OSError for a CA file that cannot be read."""
        self.url = url
        self.authenticates = authenticates
        self.authorizes = authorizes
        self._cache_s = cache_s
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._answers: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()
        """Digest of the question → until when it is known, and the answer; the oldest first."""
        self._resting_until = 0.0
        self._web = WebClient(timeout_s, ANSWER_BYTES, ca_file)

    def known(self, question: Question) -> Answer | None:
        """The answer, if it need not be fetched."""
        now = self._clock()
        found = self._answers.get(self._digest(question))
        if found is not None and now < found[0]:
            return found[1]
        return DENIED if now < self._resting_until else None

    def remember(self, question: Question, answer: Answer) -> None:
        """Keep what `ask` has returned."""
        now = self._clock()
        if answer.failed:
            self._resting_until = now + FAILURE_PAUSE_S
            return
        digest = self._digest(question)
        self._answers.pop(digest, None)
        self._answers[digest] = (now + self._cache_s, answer)
        if len(self._answers) > ANSWERS:
            self._answers.popitem(last=False)

    def forget_expired(self) -> bool:
        """Forget what is too old. True: there was something, and who went by it should ask again."""
        now = self._clock()
        before = len(self._answers)
        while self._answers and next(iter(self._answers.values()))[0] <= now:
            self._answers.popitem(last=False)
        rested = 0.0 < self._resting_until <= now
        if rested:
            self._resting_until = 0.0
        return rested or len(self._answers) < before

    def ask(self, question: Question) -> Answer:
        """Ask the service, which takes its time. Never raises: whatever is not a clear yes is a no."""
        try:
            reply = msgspec.json.decode(self._web.fetch(self.url, _encode(question), self._headers), type=Reply)
            rules = RuleSet(rules_of_claims(reply.publish, reply.subscribe, f"{self.url}, at connect"))
        except (FetchError, ValueError) as error:
            logger.error("access call-out to %s failed, so it is denied: %s", self.url, error)
            return _FAILED
        return Answer(reply.allow, reply.user_name, rules if len(rules) else None, reply.expires_in)

    def _digest(self, question: Question) -> bytes:
        """Stands for the question in the cache, which thus holds no passwords."""
        return hashlib.blake2b(_encode(question), key=self._key, digest_size=16).digest()


def _encode(question: Question) -> bytes:
    body: dict[str, Any] = {
        "action": question.action,
        "username": question.user_name,
        "client_id": question.client_identifier,
    }
    if question.action == "connect":
        body["address"] = question.address
        try:
            body["password"] = question.password.decode()
        except UnicodeDecodeError:
            body["password_base64"] = base64.b64encode(question.password).decode()
    else:
        body["topic"] = question.topic
    return msgspec.json.encode(body)
