"""Is the web service asked what it must know, and is whatever is not a clear yes a no?"""

from __future__ import annotations

import pytest

from tests.access.web_service import WebService
from tidewire.access import call_out as module
from tidewire.access.call_out import FAILURE_PAUSE_S, Answer, CallOut, Question
from tidewire.access.rules import Rule, RuleSet

CONNECT = Question("connect", "alice", "7", password=b"secret", address="192.0.2.1")
PUBLISH = Question("publish", "alice", "7", "boards/7/state")


def ask(body: bytes, status: int = 200, question: Question = CONNECT, **headers: str) -> Answer:
    with WebService() as service:
        service.body, service.status, service.headers = body, status, headers
        return CallOut(service.url).ask(question)


def test_it_is_told_who_asks_for_what() -> None:
    with WebService() as service:
        service.body = b'{"allow": true}'
        asks = CallOut(service.url, headers={"Authorization": "Bearer us"})
        for question in (CONNECT, PUBLISH, Question("connect", None, "7", password=b"\xff\0")):
            assert asks.ask(question).allowed
        assert [asked for _, asked in service.requests] == [
            {"action": "connect", "username": "alice", "client_id": "7", "address": "192.0.2.1", "password": "secret"},
            {"action": "publish", "username": "alice", "client_id": "7", "topic": "boards/7/state"},
            {"action": "connect", "username": None, "client_id": "7", "address": "", "password_base64": "/wA="},
        ]
        headers = service.requests[0][0]
        assert headers["Authorization"] == "Bearer us"
        assert headers["Content-Type"] == "application/json"


def test_a_yes_may_say_who_it_is_and_what_it_may_do() -> None:
    answer = ask(
        b'{"allow": true, "user_name": "al", "publish": ["a/%c"], "subscribe": ["b/#"], "expires_in": 60, "x": 1}'
    )
    assert (answer.allowed, answer.user_name, answer.expires_in) == (True, "al", 60)
    assert isinstance(answer.rules, RuleSet)
    assert answer.rules.rules == (Rule("allow", "publish", b"a/%c"), Rule("allow", "subscribe", b"b/#"))


def test_a_no_is_a_no() -> None:
    answer = ask(b'{"allow": false}')
    assert not answer.allowed
    assert not answer.failed


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"allow": true}', 201),
        (b'{"allow": true}', 403),
        (b'{"allow": true}', 500),
        (b"", 200),
        (b"yes", 200),
        (b"true", 200),
        (b"{}", 200),
        (b'{"allow": "true"}', 200),
        (b'{"allow": 1}', 200),
        (b'{"allow": null}', 200),
        (b'{"allow": true, "publish": ["a/#/b"]}', 200),
        (b'{"allow": true, "publish": "a"}', 200),
        (b'{"allow": true, "expires_in": "never"}', 200),
        (b'{"allow": true, "expires_in": 0}', 200),
        (b'{"allow": true, "expires_in": -1e99}', 200),
        (b'{"allow": true', 200),
        (b'{"allow": true}' + b" " * 70_000, 200),
        (b"\xff", 200),
    ],
)
def test_whatever_is_not_a_clear_yes_is_a_failure_and_denied(body: bytes, status: int) -> None:
    answer = ask(body, status)
    assert not answer.allowed
    assert answer.failed


def test_a_redirection_is_not_followed() -> None:
    with WebService() as elsewhere:
        elsewhere.body = b'{"allow": true}'
        assert ask(b"", 302, Location=elsewhere.url).failed
        assert ask(b"", 307, Location=elsewhere.url).failed
        assert elsewhere.requests == []


def test_a_service_that_is_not_there_or_does_not_answer_denies() -> None:
    with WebService() as service:
        url = service.url
        service.held.clear()
        assert CallOut(url, timeout_s=0.05).ask(CONNECT).failed
    assert CallOut(url).ask(CONNECT).failed


class Asked:
    """A call-out whose clock the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.call_out = CallOut("http://127.0.0.1:9/", cache_s=60, clock=lambda: self.now)


def test_an_answer_holds_for_its_time_and_for_its_question_only() -> None:
    asked = Asked()
    asked.call_out.remember(CONNECT, Answer(True))
    assert asked.call_out.known(CONNECT) == Answer(True)
    for other in (
        PUBLISH,
        Question("connect", "alice", "7", password=b"Secret", address="192.0.2.1"),
        Question("connect", "alice", "8", password=b"secret", address="192.0.2.1"),
    ):
        assert asked.call_out.known(other) is None
    asked.now += 59
    assert asked.call_out.known(CONNECT) == Answer(True)
    assert not asked.call_out.forget_expired()
    asked.now += 1
    assert asked.call_out.known(CONNECT) is None
    assert asked.call_out.forget_expired()
    assert not asked.call_out.forget_expired()


def test_after_a_failure_everything_is_denied_for_a_moment_without_asking() -> None:
    asked = Asked()
    asked.call_out.remember(PUBLISH, Answer(True))
    asked.call_out.remember(CONNECT, Answer(False, failed=True))
    assert asked.call_out.known(CONNECT) == Answer(False)
    assert asked.call_out.known(PUBLISH) == Answer(True)  # what is known needs no asking
    asked.now += FAILURE_PAUSE_S
    assert asked.call_out.known(CONNECT) is None
    assert asked.call_out.forget_expired()  # so that who was denied asks again


def test_answers_are_bounded_and_hold_no_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWERS", 3)
    asked = Asked()
    questions = [Question("connect", f"user {number}", "7", password=b"hidden") for number in range(5)]
    for question in questions:
        asked.call_out.remember(question, Answer(True))
    assert [asked.call_out.known(question) is not None for question in questions] == [False, False, True, True, True]
    assert b"hidden" not in repr(vars(asked.call_out)).encode()
