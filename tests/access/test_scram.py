"""Does the server's half of SCRAM-SHA-256 let in who knows the password, and nobody else?"""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import many
from tidewire.access.scram import (
    ScramFault,
    ServerExchange,
    Verifier,
    client_proof,
    make_verifier,
    parse_verifier,
    salted_password,
    saslprep,
)

# The exchange of RFC 7677, section 3: user "user", password "pencil".
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"


RFC_VERIFIER = Verifier(
    4096,
    SALT,
    base64.b64decode("WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="),
    base64.b64decode("wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="),
)


def exchange(verifier: Verifier = RFC_VERIFIER) -> ServerExchange:
    return ServerExchange(lambda user_name: verifier, NONCE)


def test_the_exchange_of_rfc_7677_goes_as_it_is_written_there() -> None:
    server = exchange()
    assert server.first(CLIENT_FIRST) == SERVER_FIRST
    assert server.last(CLIENT_FINAL) == SERVER_FINAL
    assert server.user_name == "user"


def test_a_verifier_is_read_as_it_was_written() -> None:
    assert parse_verifier(str(RFC_VERIFIER)) == RFC_VERIFIER
    made = make_verifier(b"pencil", 4096)
    assert parse_verifier(str(made)) == made
    assert made.salt != make_verifier(b"pencil", 4096).salt


def final(password: bytes, verifier: Verifier = RFC_VERIFIER) -> bytes:
    """What a client with this password says after `SERVER_FIRST`."""
    without_proof = CLIENT_FINAL.rpartition(b",p=")[0]
    auth_message = CLIENT_FIRST[3:] + b"," + SERVER_FIRST + b"," + without_proof
    proof = client_proof(salted_password(password, verifier.salt, verifier.iterations), auth_message)
    return without_proof + b",p=" + base64.b64encode(proof)


@many
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8))
def test_only_the_password_opens(password: str) -> None:
    server = exchange()
    server.first(CLIENT_FIRST)
    if password == "pencil":
        assert server.last(final(b"pencil")) == SERVER_FINAL
    else:
        with pytest.raises(ScramFault, match="wrong password"):
            server.last(final(password.encode()))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,",
        b"n,,n=user",
        b"n,,r=x,n=user",
        b"n,,n=,r=x",
        b"p=tls-unique,,n=user,r=x",
        b"x,,n=user,r=x",
        b"n,a=other,n=user,r=x",
        b"n,,m=ext,n=user,r=x",
        b"n,,n=us=er,r=x",
        b"\xff,,n=user,r=x",
        b"n,,n=user,r=" + b"x" * 5000,
    ],
)
def test_a_first_message_that_is_none_is_refused(message: bytes) -> None:
    with pytest.raises(ScramFault):
        exchange().first(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        CLIENT_FINAL.replace(b"biws", b"eSws"),  # another header than the first message had
        CLIENT_FINAL.replace(b"r=r", b"r=R"),
        CLIENT_FINAL.replace(b"%hv", b"%Hv"),
        CLIENT_FINAL.rpartition(b",p=")[0],
        CLIENT_FINAL[:-4],
        CLIENT_FINAL[:-1] + b"*",
        b"r=x,c=biws,p=aa==",
        SERVER_FINAL,
    ],
)
def test_a_last_message_that_is_none_is_refused(message: bytes) -> None:
    server = exchange()
    server.first(CLIENT_FIRST)
    with pytest.raises(ScramFault):
        server.last(message)


@many
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_message_breaks_the_exchange(first: bytes, last: bytes) -> None:
    server = exchange()
    with pytest.raises(ScramFault):
        server.first(first)
    server = exchange()
    server.first(CLIENT_FIRST)
    with pytest.raises(ScramFault):
        server.last(last)


def test_a_name_with_commas_and_equals_signs_arrives_whole() -> None:
    server = exchange()
    server.first(b"n,a=a=2Cb=3Dc,n=a=2Cb=3Dc,r=x")
    assert server.user_name == "a,b=c"


@pytest.mark.parametrize(
    ("text", "prepared"),
    [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")],
)
def test_text_is_prepared_as_in_rfc_4013(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "a\u0627", "\ue000"])
def test_text_that_rfc_4013_forbids_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it "):
        saslprep(text)
