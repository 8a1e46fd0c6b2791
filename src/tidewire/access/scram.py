"""SCRAM-SHA-256 (RFC 5802, RFC 7677): what both sides compute, what the server keeps, and its half of the exchange.

The client proves that it knows the password and the server that it has its verifier; neither crosses the network, and
what does is of no use to who reads it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

METHOD: Final = "SCRAM-SHA-256"

ITERATIONS: Final = 100_000
"""PBKDF2 rounds of new verifiers. The client computes them at each connection: a tenth of a second on a small board's
processor that runs Linux. RFC 7677 asks for 4096 at least."""

FEWEST_ITERATIONS: Final = 4096
MOST_ITERATIONS: Final = 10_000_000
"""A verifier, or a server, that asks for more would stall who computes them."""

MESSAGE_BYTES: Final = 4096
"""Longest message of either side: names and nonces fit well."""

NONCE_BYTES: Final = 18


class ScramFault(ValueError):
    """A message of the other side is not one, or proves that it does not know what it should."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a server keeps of a password (RFC 5802, 3: StoredKey and ServerKey)."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    def __str__(self) -> str:
        """As RFC 5803 writes it: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`."""
        encoded = [base64.b64encode(part).decode() for part in (self.salt, self.stored_key, self.server_key)]
        return f"{METHOD}${self.iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def make_verifier(password: bytes, iterations: int | None = None) -> Verifier:
    """For a new password. Raises ValueError for one that is not UTF-8 or that SASLprep (RFC 4013) forbids."""
    iterations = ITERATIONS if iterations is None else iterations
    salt = secrets.token_bytes(16)
    salted = salted_password(password, salt, iterations)
    return Verifier(iterations, salt, hashlib.sha256(_mac(salted, b"Client Key")).digest(), _mac(salted, b"Server Key"))


def parse_verifier(text: str) -> Verifier:
    """Raises ValueError."""
    try:
        _, cost, keys = text.split("$")
        iterations, salt = cost.split(":")
        stored_key, server_key = keys.split(":")
        parts = [base64.b64decode(part, validate=True) for part in (salt, stored_key, server_key)]
    except ValueError:
        raise ValueError(f"a {METHOD} entry is {METHOD}$iterations:salt$StoredKey:ServerKey") from None
    if not 1 <= int(iterations) <= MOST_ITERATIONS:
        raise ValueError(f"{iterations} iterations are not between 1 and {MOST_ITERATIONS}")
    if not parts[0] or len(parts[1]) != 32 or len(parts[2]) != 32:
        raise ValueError(f"a {METHOD} entry needs a salt, and keys of 32 bytes")
    return Verifier(int(iterations), *parts)


def salted_password(password: bytes, salt: bytes, iterations: int) -> bytes:
    """Slow by intent. Raises ValueError as `saslprep` does."""
    return hashlib.pbkdf2_hmac("sha256", saslprep(password.decode()).encode(), salt, iterations)


def client_proof(salted: bytes, auth_message: bytes) -> bytes:
    """ClientProof (RFC 5802, 3)."""
    client_key = _mac(salted, b"Client Key")
    return _xor(client_key, _mac(hashlib.sha256(client_key).digest(), auth_message))


def server_signature(server_key: bytes, auth_message: bytes) -> bytes:
    """ServerSignature (RFC 5802, 3)."""
    return _mac(server_key, auth_message)


def server_key_of(salted: bytes) -> bytes:
    return _mac(salted, b"Server Key")


class ServerExchange:
    """The server's half: `first` answers the client's first message, `last` its second."""

    def __init__(self, find: Callable[[str], Verifier], nonce: str = "") -> None:
        """`find` has a verifier for every name: one that nothing fits, and that never changes, for those who are none.

        `nonce` is for tests.
        """
        self.user_name = ""
        self._find = find
        self._nonce = nonce or base64.b64encode(secrets.token_bytes(NONCE_BYTES)).decode()
        self._header = b""
        self._messages = ""
        self._verifier: Verifier | None = None

    def first(self, data: bytes) -> bytes:
        """server-first-message. Raises ScramFault."""
        text = _text(data)
        flag, _, rest = text.partition(",")
        authorization, _, bare = rest.partition(",")
        if flag.startswith("p="):
            raise ScramFault("channel binding is not supported")
        if flag not in ("n", "y"):
            raise ScramFault("the message does not begin with n,, or y,,")
        attributes = _attributes(bare, "nr")
        self.user_name = _unescape(attributes["n"])
        if authorization not in ("", f"a={attributes['n']}"):
            raise ScramFault("to act for another user is not supported")
        self._header = f"{flag},{authorization},".encode()
        self._nonce = attributes["r"] + self._nonce
        verifier = self._verifier = self._find(self.user_name)
        answer = f"r={self._nonce},s={base64.b64encode(verifier.salt).decode()},i={verifier.iterations}"
        self._messages = f"{bare},{answer},"
        return answer.encode()

    def last(self, data: bytes) -> bytes:
        """server-final-message, if the client has proved its password. Raises ScramFault."""
        text = _text(data)
        without_proof, _, encoded_proof = text.rpartition(",p=")
        attributes = _attributes(without_proof, "cr")
        verifier = self._verifier
        assert verifier is not None
        if _decoded(attributes["c"]) != self._header or attributes["r"] != self._nonce:
            raise ScramFault("the message does not belong to this exchange")
        auth_message = (self._messages + without_proof).encode()
        signature = _mac(verifier.stored_key, auth_message)
        proof = _decoded(encoded_proof)
        if len(proof) != len(signature):
            raise ScramFault("the proof has a wrong length")
        if not hmac.compare_digest(hashlib.sha256(_xor(proof, signature)).digest(), verifier.stored_key):
            raise ScramFault("wrong password")
        return b"v=" + base64.b64encode(server_signature(verifier.server_key, auth_message))


def escape(name: str) -> str:
    """A user name as it travels (RFC 5802, 5.1)."""
    return saslprep(name).replace("=", "=3D").replace(",", "=2C")


def attributes_of(data: bytes, names: str) -> dict[str, str]:
    """The attributes of a message, which must begin with those named, in order. Raises ScramFault."""
    return _attributes(_text(data), names)


def saslprep(text: str) -> str:
    """Text in the one form in which passwords are compared (RFC 4013). Raises ValueError for what is not allowed."""
    mapped = "".join(
        " " if stringprep.in_table_c12(letter) else letter for letter in text if not stringprep.in_table_b1(letter)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    forbidden = (
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
    )
    if any(table(letter) for letter in prepared for table in forbidden):
        raise ValueError("it has a character that a password cannot have, such as a control character")
    if any(map(stringprep.in_table_d1, prepared)) and (
        any(map(stringprep.in_table_d2, prepared))
        or not (stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1]))
    ):
        raise ValueError("it mixes scripts that are written from right to left with others")
    return prepared


def _text(data: bytes) -> str:
    if len(data) > MESSAGE_BYTES:
        raise ScramFault(f"the message has more than {MESSAGE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ScramFault("the message is not UTF-8") from None


def _attributes(text: str, names: str) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, attribute in zip(names, text.split(","), strict=False):
        if not attribute.startswith(f"{name}=") or len(attribute) == 2:
            raise ScramFault(f"the message has no {name}= where it belongs")
        attributes[name] = attribute[2:]
    if len(attributes) < len(names):
        raise ScramFault(f"the message has no {names[len(attributes)]}=")
    return attributes


def _unescape(name: str) -> str:
    if "=" in name.replace("=2C", "").replace("=3D", ""):
        raise ScramFault("the user name has an = that stands for nothing")
    return name.replace("=2C", ",").replace("=3D", "=")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ScramFault("the message is not base64 where it should be") from None


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
