"""Is a token taken only from its issuer, while it holds, and for what it says?"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.access.web_service import WebService
from tidewire.access import keys
from tidewire.access.keys import KeyFault, KeySet, read_public_key, read_secret
from tidewire.access.rules import Rule
from tidewire.access.tokens import InvalidToken, Token, Tokens

SECRET = b"0123456789abcdef0123456789abcdef"
RSA = rsa.generate_private_key(65537, 2048)
PRIVATE: dict[str, Any] = {
    "RS256": RSA,
    "PS512": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def claims(**others: object) -> dict[str, object]:
    return {"sub": "alice", "exp": int(time.time()) + 60, **others}


def pem(algorithm: str) -> bytes:
    key: bytes = PRIVATE[algorithm].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return key


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    """By a shared secret."""
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    return Tokens(read_secret(tmp_path / "secret"), leeway_s=0)


def test_a_token_names_its_client_and_what_it_may_do(tokens: Tokens) -> None:
    expires_at = int(time.time()) + 60
    token = jwt.encode(
        {"sub": "alice", "exp": expires_at, "publish": ["a/#", "b/%c"], "subscribe": "c/+"}, SECRET, "HS256"
    )
    assert tokens.verify(token) == Token(
        "alice",
        expires_at,
        [Rule("allow", "publish", b"a/#"), Rule("allow", "publish", b"b/%c"), Rule("allow", "subscribe", b"c/+")],
    )


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_every_kind_of_public_key_verifies_what_its_private_key_has_signed(tmp_path: Path, algorithm: str) -> None:
    (tmp_path / "key.pem").write_bytes(pem(algorithm))
    tokens = Tokens(read_public_key(tmp_path / "key.pem"))
    assert tokens.verify(jwt.encode(claims(), PRIVATE[algorithm], algorithm)).user_name == "alice"
    stranger = rsa.generate_private_key(65537, 2048)
    with pytest.raises(InvalidToken):
        tokens.verify(jwt.encode(claims(), stranger, "RS256"))


def test_a_public_key_is_never_taken_for_a_secret(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(pem("RS256"))
    tokens = Tokens(read_public_key(tmp_path / "key.pem"))
    with pytest.raises(InvalidToken):
        tokens.verify(signed_by_hand({"alg": "HS256"}, claims(), pem("RS256")))


def signed_by_hand(header: dict[str, object], body: dict[str, object], key: bytes) -> str:
    """A token that no library would make: HS256 with whatever key."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, body)]
    signature = hmac.digest(key, b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


@pytest.mark.parametrize(
    "body",
    [
        claims(exp=int(time.time()) - 1),
        claims(nbf=int(time.time()) + 1000),
        {"sub": "alice"},
        {"exp": int(time.time()) + 60},
        claims(sub=""),
        claims(sub=7),
        claims(sub=None),
        claims(exp="soon"),
        claims(publish=["a/#/b"]),
        claims(publish=[7]),
        claims(publish={"a": 1}),
        claims(subscribe=[f"a/{number}" for number in range(1001)]),
        claims(aud="others"),
    ],
)
def test_a_token_that_does_not_hold_proves_nothing(tokens: Tokens, body: dict[str, object]) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify(signed_by_hand({"alg": "HS256"}, body, SECRET))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        "ey..",
        jwt.encode(claims(), None, "none"),
        jwt.encode(claims(), SECRET[::-1], "HS256"),
        jwt.encode(claims(), SECRET, "HS256")[:-4] + "AAAA",
        signed_by_hand({"alg": "none"}, claims(), SECRET),
        signed_by_hand({"alg": ["HS256"]}, claims(), SECRET),
        signed_by_hand({"alg": "HS256"}, claims(exp=float("inf")), SECRET),
        base64.urlsafe_b64encode(b'{"a":' + b"[" * 9000).decode() + ".e30.x",
    ],
)
def test_a_token_that_nobody_has_signed_proves_nothing(tokens: Tokens, token: str) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify(token)


def test_issuer_and_audience_are_looked_at_where_they_are_named(tokens: Tokens) -> None:
    strict = Tokens(tokens.keys, issuer="https://id.example", audience="mqtt")
    good = {"iss": "https://id.example", "aud": ["web", "mqtt"]}
    assert strict.verify(jwt.encode(claims(**good), SECRET, "HS256"))
    for wrong in ({"iss": "https://evil.example"}, {"aud": "web"}, {"iss": None}):
        with pytest.raises(InvalidToken):
            strict.verify(signed_by_hand({"alg": "HS256"}, claims(**{**good, **wrong}), SECRET))
    for missing in good:
        with pytest.raises(InvalidToken):
            strict.verify(jwt.encode(claims(**{k: v for k, v in good.items() if k != missing}), SECRET, "HS256"))


def test_clocks_may_differ_by_the_leeway_and_the_token_holds_as_long(tokens: Tokens) -> None:
    expired = int(time.time()) - 20
    patient = Tokens(tokens.keys, leeway_s=60)
    assert patient.verify(jwt.encode(claims(exp=expired), SECRET, "HS256")).expires_at == expired + 60


def test_other_claims_may_carry_name_and_topics(tokens: Tokens) -> None:
    named = Tokens(tokens.keys, user_claim="device", publish_claim="pub", subscribe_claim="sub")
    token = named.verify(jwt.encode(claims(device="d7", pub="x"), SECRET, "HS256"))
    assert (token.user_name, [rule.topic_filter for rule in token.rules]) == ("d7", [b"x", b"alice"])


def test_a_token_is_looked_for_where_it_is_said_to_be(tokens: Tokens) -> None:
    token = jwt.encode(claims(), SECRET, "HS256")
    assert tokens.token_of("alice", token.encode()) == token
    assert tokens.token_of(token, b"") is None
    assert tokens.token_of("alice", b"wonderland") is None
    assert tokens.token_of("alice", None) is None
    assert tokens.token_of("alice", b"ey" + b"x" * 20_000 + b"..") is None
    assert Tokens(tokens.keys, in_user_name=True).token_of(token, None) == token


@pytest.mark.parametrize(
    ("content", "read", "said"),
    [
        (b"short\n", read_secret, "openssl rand"),
        (pem("RS256"), read_secret, "public_key_file"),
        (b"nonsense", read_public_key, "openssl pkey"),
        (SECRET, read_public_key, "openssl pkey"),
    ],
)
def test_a_key_file_that_is_none_is_named_with_its_mend(
    tmp_path: Path, content: bytes, read: Callable[[Path], object], said: str
) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(KeyFault, match=said):
        read(tmp_path / "key")


# -- key sets


def jwk(algorithm: str, identifier: str, **others: object) -> dict[str, object]:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(PRIVATE[algorithm].public_key(), as_dict=True)
    return {**made, "kid": identifier, "alg": algorithm, **others}


def key_set(*entries: dict[str, object]) -> bytes:
    return json.dumps({"keys": entries}).encode()


def signed(algorithm: str, identifier: str | None) -> str:
    headers = {"kid": identifier} if identifier is not None else None
    return jwt.encode(claims(), PRIVATE[algorithm], algorithm, headers)


def test_the_key_of_a_set_is_the_one_that_the_token_names(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(key_set(jwk("RS256", "1"), jwk("ES256", "2"), jwk("PS512", "3", use="enc")))
    tokens = Tokens(KeySet(str(tmp_path / "keys.json")))
    assert tokens.verify(signed("RS256", "1"))
    assert tokens.verify(signed("ES256", "2"))
    for algorithm, identifier in (("RS256", "2"), ("ES256", "1"), ("RS256", None), ("RS256", "9"), ("PS512", "3")):
        with pytest.raises(InvalidToken):
            tokens.verify(signed(algorithm, identifier))


def test_the_only_key_of_a_set_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(key_set(jwk("RS256", "1")))
    assert Tokens(KeySet(str(tmp_path / "keys.json"))).verify(signed("RS256", None))


def test_a_secret_in_a_public_key_set_is_no_key(tmp_path: Path) -> None:
    secret = {"kty": "oct", "kid": "1", "k": base64.urlsafe_b64encode(SECRET).decode().rstrip("=")}
    (tmp_path / "keys.json").write_bytes(key_set(secret))
    with pytest.raises(InvalidToken):
        Tokens(KeySet(str(tmp_path / "keys.json"))).verify(jwt.encode(claims(), SECRET, "HS256", {"kid": "1"}))


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(jwk("RS256", "1")))
    tokens = Tokens(KeySet(str(path)))
    assert tokens.verify(signed("RS256", "1"))
    path.write_bytes(key_set(jwk("ES256", "2")))
    os.utime(path, (1, 1))
    assert tokens.verify(signed("ES256", "2"))
    with pytest.raises(InvalidToken):
        tokens.verify(signed("RS256", "1"))
    path.write_bytes(b"{half of it")
    os.utime(path, (2, 2))
    assert tokens.verify(signed("ES256", "2"))  # the keys of before stay in use


def test_a_set_is_fetched_when_it_gets_old_and_not_for_every_key_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(keys, "monotonic", lambda: now)
    with WebService() as service:
        service.body = key_set(jwk("RS256", "1"))
        tokens = Tokens(KeySet(service.url))
        assert tokens.verify(signed("RS256", "1"))
        for number in range(20):
            with pytest.raises(InvalidToken):
                tokens.verify(signed("RS256", f"unknown {number}"))
        assert len(service.requests) == 1
        service.body = key_set(jwk("RS256", "1"), jwk("ES256", "2"))
        now += 31
        assert tokens.verify(signed("ES256", "2"))  # a key that is new is found before the set is old
        assert len(service.requests) == 2
        service.body = key_set(jwk("ES256", "2"))
        now += 301
        with pytest.raises(InvalidToken):
            tokens.verify(signed("RS256", "1"))
        assert len(service.requests) == 3
        service.status = 500
        now += 301
        assert tokens.verify(signed("ES256", "2"))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": 7}', b'{"keys": []}', b"x" * (keys.KEY_SET_BYTES + 1)])
def test_a_set_that_is_none_opens_nothing(body: bytes) -> None:
    with WebService() as service:
        service.body = body
        with pytest.raises(InvalidToken):
            Tokens(KeySet(service.url)).verify(signed("RS256", "1"))
