"""How is a password kept? Each kind of hash that a password file may have, and how long it takes to try one.

| entry | is | made by |
|---|---|---|
| `$argon2id$…` | argon2id (RFC 9106) | `tidewire passwd`, Mosquitto from 2.1 on |
| `$7$iterations$salt$hash` | PBKDF2 with SHA-512 | `mosquitto_passwd` of Mosquitto 1.6 to 2.0 |
| `$6$salt$hash` | one round of SHA-512 | older ones |
| `SCRAM-SHA-256$iterations:salt$…` | a verifier of RFC 5803 | `tidewire passwd --scram` |
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, Self

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from tidewire.access.scram import (
    METHOD,
    Verifier,
    make_verifier,
    parse_verifier,
    salted_password,
    saslprep,
    server_key_of,
)

ARGON2_MEMORY_KIB: Final = 19 * 1024
ARGON2_PASSES: Final = 2
"""OWASP's figures for argon2id in one thread: some 30 ms, and a thousand log-ins that wait do not fill the memory."""

PBKDF2_ITERATIONS: Final = 210_000
"""OWASP's figure for SHA-512."""

MOST_PBKDF2_ITERATIONS: Final = 10_000_000
MOST_ARGON2_MEMORY_KIB: Final = 1024 * 1024
MOST_ARGON2_PASSES: Final = 100
"""A file that asks for more would stall every log-in."""


class Hash(Protocol):
    """One kept password."""

    def fits(self, password: bytes) -> bool:
        """Slow by intent; compares in constant time."""

    def unmatched(self) -> Self:
        """One that takes as long to try, and that nothing fits."""

    def cost(self) -> tuple[str, int]:
        """Equal where trying takes equally long."""


@dataclass(frozen=True, slots=True)
class Argon2:
    """argon2id, in the form that its reference implementation writes."""

    text: str

    def fits(self, password: bytes) -> bool:
        try:
            return argon2.PasswordHasher().verify(self.text, password)
        except (VerificationError, InvalidHashError):
            return False

    def unmatched(self) -> Argon2:
        parameters = argon2.extract_parameters(self.text)
        return Argon2(argon2.PasswordHasher.from_parameters(parameters).hash(secrets.token_bytes(32)))

    def cost(self) -> tuple[str, int]:
        parameters = argon2.extract_parameters(self.text)
        return "argon2id", parameters.memory_cost * parameters.time_cost


@dataclass(frozen=True, slots=True)
class Pbkdf2:
    """Mosquitto's `$7$`."""

    iterations: int
    salt: bytes
    digest: bytes

    def fits(self, password: bytes) -> bool:
        actual = hashlib.pbkdf2_hmac("sha512", password, self.salt, self.iterations, len(self.digest))
        return hmac.compare_digest(actual, self.digest)

    def unmatched(self) -> Pbkdf2:
        return Pbkdf2(self.iterations, self.salt, secrets.token_bytes(len(self.digest)))

    def cost(self) -> tuple[str, int]:
        return "$7$", self.iterations


@dataclass(frozen=True, slots=True)
class Sha512:
    """Mosquitto's `$6$`: quick to try, so change it to another."""

    salt: bytes
    digest: bytes

    def fits(self, password: bytes) -> bool:
        return hmac.compare_digest(hashlib.sha512(password + self.salt).digest(), self.digest)

    def unmatched(self) -> Sha512:
        return Sha512(self.salt, secrets.token_bytes(64))

    def cost(self) -> tuple[str, int]:
        return "$6$", 1


@dataclass(frozen=True, slots=True)
class Scram:
    """A verifier, which a password can be held against as well."""

    verifier: Verifier

    def fits(self, password: bytes) -> bool:
        try:
            saslprep(password.decode())
        except ValueError:
            return False  # nobody's: it could not have been set
        salted = salted_password(password, self.verifier.salt, self.verifier.iterations)
        return hmac.compare_digest(server_key_of(salted), self.verifier.server_key)

    def unmatched(self) -> Scram:
        verifier = self.verifier
        return Scram(Verifier(verifier.iterations, verifier.salt, secrets.token_bytes(32), secrets.token_bytes(32)))

    def cost(self) -> tuple[str, int]:
        return METHOD, self.verifier.iterations


def parse_hash(entry: str) -> Hash:
    """What stands behind the name in a password file. Raises ValueError."""
    parts = entry.split("$")
    if entry.startswith("$argon2id$"):
        try:
            parameters = argon2.extract_parameters(entry)
        except InvalidHashError:
            raise ValueError("the argon2id hash is not whole") from None
        if parameters.memory_cost > MOST_ARGON2_MEMORY_KIB or parameters.time_cost > MOST_ARGON2_PASSES:
            raise ValueError(f"more than {MOST_ARGON2_MEMORY_KIB} KiB or {MOST_ARGON2_PASSES} passes of argon2id")
        return Argon2(entry)
    if parts[0] == METHOD:
        return Scram(parse_verifier(entry))
    if len(parts) == 5 and parts[:2] == ["", "7"]:
        iterations = int(parts[2])
        if not 1 <= iterations <= MOST_PBKDF2_ITERATIONS:
            raise ValueError(f"{iterations} iterations are not between 1 and {MOST_PBKDF2_ITERATIONS}")
        return Pbkdf2(iterations, _decoded(parts[3], 0), _decoded(parts[4], 1))
    if len(parts) == 4 and parts[:2] == ["", "6"]:
        return Sha512(_decoded(parts[2], 0), _decoded(parts[3], 64))
    raise ValueError("this is no hash that is read; if it is a password, hash them all: tidewire passwd -U FILE")


def _decoded(text: str, least_bytes: int) -> bytes:
    decoded = base64.b64decode(text, validate=True)
    if len(decoded) < least_bytes:
        raise ValueError("the hash is empty or cut off")
    return decoded


def _argon2id(password: bytes) -> str:
    return argon2.PasswordHasher(ARGON2_PASSES, ARGON2_MEMORY_KIB, 1).hash(password)


def _pbkdf2(password: bytes) -> str:
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password, salt, PBKDF2_ITERATIONS, 64)
    return f"$7${PBKDF2_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _scram(password: bytes) -> str:
    return str(make_verifier(password))


KINDS: Final[dict[str, Callable[[bytes], str]]] = {
    "argon2id": _argon2id,
    "sha512-pbkdf2": _pbkdf2,
    "scram-sha-256": _scram,
}
"""The hashes that are made: name → entry for a password."""
