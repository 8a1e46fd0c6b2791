"""Does the client's half of SCRAM-SHA-256 prove its password, and take nobody for its server who does not know it?"""

from __future__ import annotations

import asyncio
import inspect

import pytest

from tidewire.access.scram import ScramFault, ServerExchange, Verifier, make_verifier
from tidewire.client.options import Authentication
from tidewire.client.scram import scram


@pytest.fixture
def verifier() -> Verifier:
    return make_verifier(b"secret", 4096)


def said(authentication: Authentication, data: bytes | None) -> bytes:
    """What the client says to this."""

    async def ask() -> bytes | None:
        answer = authentication.callback(data)
        return await answer if inspect.isawaitable(answer) else answer

    return asyncio.run(ask()) or b""


@pytest.mark.parametrize("user_name", ["alice", "a,b=c", "\u00e9"])
def test_it_agrees_with_the_servers_half_at_each_connection(verifier: Verifier, user_name: str) -> None:
    authentication = scram(user_name, "secret")
    assert authentication.method == "SCRAM-SHA-256"
    messages = set()
    for _ in range(3):
        server = ServerExchange(lambda _: verifier)
        first = said(authentication, None)
        final = server.last(said(authentication, server.first(first)))
        assert server.user_name == user_name
        assert said(authentication, final) == b""
        messages.add(first)
    assert len(messages) == 3


def test_another_password_proves_nothing(verifier: Verifier) -> None:
    authentication = scram("alice", "Secret")
    server = ServerExchange(lambda _: verifier)
    answer = said(authentication, server.first(said(authentication, None)))
    with pytest.raises(ScramFault, match="wrong password"):
        server.last(answer)


def test_a_server_that_does_not_prove_itself_is_not_believed(verifier: Verifier) -> None:
    authentication = scram("alice", "secret")
    server = ServerExchange(lambda _: verifier)
    with pytest.raises(ScramFault, match="the server does not know the password"):
        said(authentication, b"v=" + b"A" * 43 + b"=")  # before anything was proved
    said(authentication, server.first(said(authentication, None)))
    with pytest.raises(ScramFault, match="the server does not know the password"):
        said(authentication, b"v=" + b"A" * 43 + b"=")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"nonsense",
        b"r={nonce},s=c2FsdA==,i=4096",  # nothing of the server's own
        b"r=other,s=c2FsdA==,i=4096",
        b"r={nonce}x,s=*,i=4096",
        b"r={nonce}x,s=c2FsdA==,i=many",
        b"r={nonce}x,s=c2FsdA==,i=1",  # would give the password away
        b"r={nonce}x,s=c2FsdA==,i=99999999999",  # would never end
        b"s=c2FsdA==,r={nonce}x,i=4096",
    ],
)
def test_a_message_that_is_none_ends_the_exchange(message: bytes) -> None:
    authentication = scram("alice", "secret")
    nonce = said(authentication, None).rpartition(b"r=")[2]
    with pytest.raises(ScramFault):
        said(authentication, message.replace(b"{nonce}", nonce))


@pytest.mark.parametrize(("user_name", "password"), [("a\u0007", "secret"), ("alice", "a\u0007")])
def test_what_saslprep_forbids_is_said_at_once(user_name: str, password: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        scram(user_name, password)
