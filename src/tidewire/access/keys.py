"""By which key is a token signed? A secret, a public key, or a key set from a file or the web.

The kind of key says which algorithms it is for, so a token cannot choose: a public key is never taken for a secret.
`find` may wait for disk and network, so it is for a thread.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from time import monotonic
from typing import Any, Final, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tidewire.access.web import FetchError, WebClient

logger = logging.getLogger("tidewire")

SECRET_BYTES: Final = 32
"""Shortest secret: that of HS256 (RFC 7518, 3.2). A shorter one can be found by trying."""

KEY_SET_LIFETIME_S: Final = 300.0
"""How long a key set is used before it is fetched again: so late is a key that was withdrawn."""

KEY_SET_PAUSE_S: Final = 30.0
"""Shortest time between two fetches: tokens that name keys which do not exist must not make us flood the issuer."""

KEY_SET_TIMEOUT_S: Final = 5.0
KEY_SET_BYTES: Final = 1024 * 1024
"""Largest key set: hundreds of keys with their certificates."""

_ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)


class KeyFault(ValueError):
    """A key cannot be used, or there is none for a token; the text says why."""


class Keys(Protocol):
    """Where keys come from."""

    def find(self, token: str) -> tuple[Any, list[str]]:
        """The key for a token and the algorithms that it is for. Raises KeyFault or `jwt.PyJWTError`."""


class OneKey:
    """A key from a file: a PEM public key, or a secret of at least `SECRET_BYTES` bytes."""

    def __init__(self, key: Any, algorithms: list[str]) -> None:
        self._found = (key, algorithms)

    def find(self, token: str) -> tuple[Any, list[str]]:
        return self._found


def read_secret(path: Path) -> OneKey:
    """A shared secret, without the line end after it. Raises OSError or KeyFault."""
    secret = path.read_bytes().rstrip(b"\r\n")
    if secret.startswith(b"-----BEGIN"):
        raise KeyFault(f"{path} is a PEM file, not a secret; name it as public_key_file")
    if len(secret) < SECRET_BYTES:
        raise KeyFault(f"the secret in {path} is too short; make one: openssl rand -base64 48 > {path}")
    return OneKey(secret, ["HS256", "HS384", "HS512"])


def read_public_key(path: Path) -> OneKey:
    """A PEM public key. Raises OSError or KeyFault."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFault(f"{path} has no PEM public key; make one: openssl pkey -in KEY -pubout -out {path}") from error
    if isinstance(key, rsa.RSAPublicKey):
        return OneKey(key, ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
    if isinstance(key, ec.EllipticCurvePublicKey):
        return OneKey(key, ["ES256", "ES384", "ES512"])
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return OneKey(key, ["EdDSA"])
    raise KeyFault(f"{path} has a key of a kind that signs no tokens; use RSA, an elliptic curve or Ed25519")


class KeySet:
    """A JSON Web Key Set (RFC 7517) from a file or a URL, read again when it changes or gets old."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._web = WebClient(KEY_SET_TIMEOUT_S, KEY_SET_BYTES)
        self._lock = threading.Lock()
        self._keys: list[jwt.PyJWK] = []
        self._read_at = float("-inf")
        self._changed_at = 0.0
        """Of a file."""

    def find(self, token: str) -> tuple[Any, list[str]]:
        """The key that the token names, or the only one there is. Raises KeyFault or `jwt.PyJWTError`."""
        identifier = jwt.get_unverified_header(token).get("kid")
        with self._lock:
            key = None if self._is_old() else self._named(identifier)
            if key is None and monotonic() - self._read_at >= (0.0 if self._is_file() else KEY_SET_PAUSE_S):
                self._read()
            key = key or self._named(identifier)
        if key is None:
            raise KeyFault(f"the key set has no key {identifier!r}")
        return key, [key.algorithm_name]

    def _named(self, identifier: object) -> jwt.PyJWK | None:
        if identifier is None and len(self._keys) == 1:
            return self._keys[0]
        return next((key for key in self._keys if identifier is not None and key.key_id == identifier), None)

    def _is_file(self) -> bool:
        return "://" not in self.source

    def _is_old(self) -> bool:
        if self._is_file():
            try:
                return Path(self.source).stat().st_mtime != self._changed_at
            except OSError:
                return True
        return monotonic() - self._read_at >= KEY_SET_LIFETIME_S

    def _read(self) -> None:
        """Read the set anew. What cannot be had leaves the keys of before in use, with a line in the log."""
        self._read_at = monotonic()
        try:
            if self._is_file():
                path = Path(self.source)
                self._changed_at = path.stat().st_mtime
                text = path.read_bytes()
            else:
                text = self._web.fetch(self.source)
            keys = jwt.PyJWKSet.from_dict(json.loads(text)).keys
        except (OSError, FetchError, ValueError, AttributeError, jwt.PyJWTError) as error:
            logger.error("cannot read the key set %s: %s", self.source, error)
            return
        self._keys = [key for key in keys if key.algorithm_name in _ASYMMETRIC and key.public_key_use in (None, "sig")]
