"""Password files: `name:$7$iterations$salt$hash` lines, the format of Mosquitto's `mosquitto_passwd`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Final

ITERATIONS: Final = 210_000
"""PBKDF2 rounds for new entries: OWASP's figure for SHA-512."""

MAXIMUM_ITERATIONS: Final = 10_000_000
"""A file that asks for more would stall every log-in."""


class PasswordFileError(ValueError):
    """A line of a password file is not one; the text names file, line and fault."""


class Passwords:
    """User names and their password hashes."""

    def __init__(self, hashes: dict[str, tuple[int, bytes, bytes]]) -> None:
        self._hashes = hashes
        self._nobody = (ITERATIONS, secrets.token_bytes(12), secrets.token_bytes(64))

    def __len__(self) -> int:
        return len(self._hashes)

    def verify(self, user_name: str, password: bytes) -> bool:
        """Whether the password is the user's; takes as long for a user that does not exist."""
        iterations, salt, expected = self._hashes.get(user_name, self._nobody)
        actual = hashlib.pbkdf2_hmac("sha512", password, salt, iterations, len(expected))
        return hmac.compare_digest(actual, expected)


def read_passwords(path: Path) -> Passwords:
    """Read a password file. Raises OSError, or PasswordFileError with the line that is wrong."""
    hashes: dict[str, tuple[int, bytes, bytes]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user_name, separator, entry = line.partition(":")
        try:
            if not separator or not user_name:
                raise ValueError("expected name:hash")
            hashes[user_name] = _parse(entry.strip())
        except ValueError as error:
            raise PasswordFileError(f"{path}, line {number}: {error}") from None
    return Passwords(hashes)


def set_password(path: Path, user_name: str, password: bytes) -> None:
    """Add a user to a password file, or change the password of one; a missing file is made, for its owner only."""
    if user_name.splitlines() != [user_name] or ":" in user_name or user_name.startswith("#") or not user_name.strip():
        raise ValueError(f"{user_name!r} cannot be a user name: it must not be empty, have a colon or start with #")
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password, salt, ITERATIONS, 64)
    entry = f"{user_name}:$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.partition(":")[0] != user_name]
    fresh = path.with_name(path.name + ".new")
    fresh.touch(mode=path.stat().st_mode & 0o777 if path.exists() else 0o600)
    fresh.write_text("\n".join([*kept, entry]) + "\n", encoding="utf-8")
    fresh.replace(path)  # whoever reads it meanwhile reads the whole of one or the other


def _parse(entry: str) -> tuple[int, bytes, bytes]:
    parts = entry.split("$")
    if len(parts) != 5 or parts[0] or parts[1] != "7":
        raise ValueError("only $7$ (PBKDF2) hashes are read; make one with: tidewire passwd FILE NAME")
    iterations = int(parts[2])
    if not 1 <= iterations <= MAXIMUM_ITERATIONS:
        raise ValueError(f"{iterations} iterations are not between 1 and {MAXIMUM_ITERATIONS}")
    digest = base64.b64decode(parts[4], validate=True)
    if not digest:
        raise ValueError("the hash is empty")
    return iterations, base64.b64decode(parts[3], validate=True), digest
