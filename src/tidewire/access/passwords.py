"""Password files: a line `name:hash` for each user, in the format of `mosquitto_passwd` and with its hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from pathlib import Path

from tidewire.access.hashes import KINDS, Hash, Scram, parse_hash
from tidewire.access.scram import ITERATIONS, Verifier


class PasswordFileError(ValueError):
    """A line of a password file is not one; the text names file, line and fault."""


class Passwords:
    """User names and their password hashes."""

    def __init__(self, hashes: dict[str, Hash], key: bytes = b"") -> None:
        """`key`: something that who does not know the hashes does not know either."""
        self._hashes = hashes
        self._key = key or secrets.token_bytes(32)
        self._nobody = _usual(hashes).unmatched()
        iterations = Counter(entry.verifier.iterations for entry in hashes.values() if isinstance(entry, Scram))
        self._scram_iterations = iterations.most_common(1)[0][0] if iterations else ITERATIONS
        self.has_scram = bool(iterations)
        """Whether anybody can log in by SCRAM-SHA-256."""
        self._verified: dict[str, bytes] = {}
        """User name → keyed digest of the password that was right last time: one a user."""

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, user_name: str) -> bool:
        return user_name in self._hashes

    def user_names(self) -> list[str]:
        """In the order of the file."""
        return list(self._hashes)

    def verify(self, user_name: str, password: bytes) -> bool:
        """Whether the password is the user's; takes as long for a user that does not exist."""
        return self._hashes.get(user_name, self._nobody).fits(password) and user_name in self._hashes

    def remember(self, user_name: str, password: bytes) -> None:
        """It was right: when a thousand clients come back at once, their passwords are not worked out anew."""
        self._verified[user_name] = self._digest(user_name, password)

    def remembers(self, user_name: str, password: bytes) -> bool:
        """Whether it is the one that was right last time, which is found out at once."""
        verified = self._verified.get(user_name)
        return verified is not None and hmac.compare_digest(verified, self._digest(user_name, password))

    def scram_verifier(self, user_name: str) -> Verifier:
        """The user's; for one that has none, one that nothing fits and that looks the same each time."""
        salt = hashlib.blake2b(user_name.encode(), key=self._key, digest_size=16).digest()
        nobody = Verifier(self._scram_iterations, salt, secrets.token_bytes(32), secrets.token_bytes(32))
        entry = self._hashes.get(user_name)
        return entry.verifier if isinstance(entry, Scram) else nobody

    def _digest(self, user_name: str, password: bytes) -> bytes:
        return hashlib.blake2b(user_name.encode() + b"\0" + password, key=self._key, digest_size=32).digest()


def read_passwords(path: Path) -> Passwords:
    """Read a password file. Raises OSError, or PasswordFileError with the line that is wrong."""
    text = path.read_text(encoding="utf-8")
    hashes: dict[str, Hash] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user_name, separator, entry = line.partition(":")
        try:
            if not separator or not user_name:
                raise ValueError("expected name:hash")
            hashes[user_name] = parse_hash(entry.strip())
        except ValueError as error:
            raise PasswordFileError(f"{path}, line {number}: {error}") from None
    return Passwords(hashes, hashlib.sha256(text.encode()).digest())


def set_password(path: Path, user_name: str, password: bytes, kind: str = "argon2id") -> None:
    """Add a user to a password file, or change the password of one; a missing file is made, for its owner only.

    Raises ValueError for a name that the file cannot hold or a password that the kind of hash (`hashes.KINDS`) forbids,
    OSError for a file that cannot be had.
    """
    if user_name.splitlines() != [user_name] or ":" in user_name or user_name.startswith("#") or not user_name.strip():
        raise ValueError(f"{user_name!r} cannot be a user name: it must not be empty, have a colon or start with #")
    entry = f"{user_name}:{KINDS[kind](password)}"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    _write(path, [*(line for line in lines if _name(line) != user_name), entry])


def delete_user(path: Path, user_name: str) -> None:
    """Remove a user from a password file. Raises OSError, or ValueError where there is no such user."""
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if _name(line) != user_name]
    if len(kept) == len(lines):
        raise ValueError(f"{path} has no user {user_name!r}")
    _write(path, kept)


def hash_plain_passwords(path: Path, kind: str = "argon2id") -> int:
    """Replace the passwords that stand in a file as they are, `name:password`, by hashes; returns how many they were.

    Raises OSError or ValueError.
    """
    changed = 0
    lines = path.read_text(encoding="utf-8").splitlines()
    for index, line in enumerate(lines):
        user_name, separator, entry = line.partition(":")
        if separator and not line.startswith("#") and not _is_hash(entry):
            lines[index] = f"{user_name}:{KINDS[kind](entry.encode())}"
            changed += 1
    if changed:
        _write(path, lines)
    return changed


def _usual(hashes: dict[str, Hash]) -> Hash:
    """An entry of the kind that most have, which an unknown user is to take as long as."""
    if not hashes:
        return parse_hash(KINDS["argon2id"](secrets.token_bytes(32)))
    costs = Counter(entry.cost() for entry in hashes.values())
    usual = costs.most_common(1)[0][0]
    return next(entry for entry in hashes.values() if entry.cost() == usual)


def _is_hash(entry: str) -> bool:
    try:
        parse_hash(entry.strip())
    except ValueError:
        return entry.startswith(("$", "SCRAM-SHA-256$"))  # a damaged one is not taken for a password
    return True


def _name(line: str) -> str:
    return line.partition(":")[0]


def _write(path: Path, lines: list[str]) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.touch(mode=path.stat().st_mode & 0o777 if path.exists() else 0o600)
    fresh.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    fresh.replace(path)  # whoever reads it meanwhile reads the whole of one or the other
