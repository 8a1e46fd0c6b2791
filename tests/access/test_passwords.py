"""Are password files read as `mosquitto_passwd` writes them, written so that they can be read, else refused?"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from argon2 import Type
from argon2.low_level import hash_secret_raw

from tidewire.access import hashes
from tidewire.access.passwords import (
    PasswordFileError,
    Passwords,
    delete_user,
    hash_plain_passwords,
    read_passwords,
    set_password,
)
from tidewire.access.scram import parse_verifier


@pytest.fixture(autouse=True)
def cheap(cheap_passwords: None) -> None:
    """Every test here."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "passwords"


def test_a_password_that_was_set_is_verified_and_no_other(path: Path) -> None:
    set_password(path, "alice", b"wonder land")
    set_password(path, "böb", b"")
    users = read_passwords(path)
    assert len(users) == 2
    assert users.verify("alice", b"wonder land")
    assert users.verify("böb", b"")
    assert not users.verify("alice", b"wonder")
    assert not users.verify("alice", b"")
    assert not users.verify("böb", b"wonder land")


def test_a_user_that_does_not_exist_has_no_password(path: Path) -> None:
    set_password(path, "alice", b"a")
    users = read_passwords(path)
    assert not users.verify("carol", b"a")
    assert not users.verify("", b"")
    assert not users.verify("alice:", b"a")


def test_setting_a_password_again_changes_it_and_leaves_the_others(path: Path) -> None:
    set_password(path, "alice", b"old")
    set_password(path, "bob", b"his")
    set_password(path, "alice", b"new")
    users = read_passwords(path)
    assert len(users) == 2
    assert users.verify("alice", b"new")
    assert not users.verify("alice", b"old")
    assert users.verify("bob", b"his")


@pytest.mark.parametrize("kind", hashes.KINDS)
def test_every_kind_of_hash_is_verified_and_has_another_salt_each_time(path: Path, kind: str) -> None:
    set_password(path, "alice", b"same", kind)
    set_password(path, "bob", b"same", kind)
    users = read_passwords(path)
    for name in ("alice", "bob"):
        assert users.verify(name, b"same")
        assert not users.verify(name, b"Same")
        assert not users.verify(name, b"\xff\0")
        assert not users.verify(name, b"")
    first, second = path.read_text().splitlines()
    assert first.split(":", 1)[1] != second.split(":", 1)[1]


def test_a_new_password_is_kept_as_argon2id(path: Path) -> None:
    set_password(path, "alice", b"secret")
    assert path.read_text().startswith("alice:$argon2id$v=19$")


@pytest.mark.parametrize("kind", [*hashes.KINDS, "$6$"])
def test_trying_an_unknown_user_costs_what_trying_most_known_ones_costs(path: Path, kind: str) -> None:
    if kind == "$6$":
        path.write_text(MOSQUITTO_6)
    else:
        set_password(path, "alice", b"secret", kind)
        set_password(path, "bob", b"secret", kind)
    tried: list[tuple[str, int]] = []

    class Told:
        def __init__(self, entry: hashes.Hash) -> None:
            self.entry = entry

        def fits(self, password: bytes) -> bool:
            tried.append(self.entry.cost())
            return self.entry.fits(password)

        def unmatched(self) -> Told:
            return Told(self.entry.unmatched())

        def cost(self) -> tuple[str, int]:
            return self.entry.cost()

    known = {name: Told(hashes.parse_hash(entry)) for name, _, entry in map(split, path.read_text().splitlines())}
    users = Passwords(known)  # type: ignore[arg-type]
    assert not users.verify("nobody", b"secret")
    assert not users.verify(next(iter(known)), b"wrong")
    assert tried[0] == tried[1]


def split(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def test_what_was_verified_is_known_again_at_once_and_nothing_else_is(path: Path) -> None:
    set_password(path, "alice", b"secret")
    users = read_passwords(path)
    assert not users.remembers("alice", b"secret")
    users.remember("alice", b"secret")
    assert users.remembers("alice", b"secret")
    assert not users.remembers("alice", b"secre")
    assert not users.remembers("alic", b"esecret")
    assert not read_passwords(path).remembers("alice", b"secret")


def test_a_user_who_was_deleted_is_gone_and_the_others_stay(path: Path) -> None:
    set_password(path, "alice", b"a")
    set_password(path, "bob", b"b")
    delete_user(path, "alice")
    users = read_passwords(path)
    assert "alice" not in users
    assert users.verify("bob", b"b")
    with pytest.raises(ValueError, match="has no user 'alice'"):
        delete_user(path, "alice")


def test_passwords_that_stand_in_a_file_are_hashed_once(path: Path) -> None:
    set_password(path, "carol", b"c")
    path.write_text("# ours\nalice:open sesame\nbob:b:c\n" + path.read_text() + "dave:$7$damaged\n")
    assert hash_plain_passwords(path) == 2
    assert hash_plain_passwords(path) == 0
    assert "sesame" not in path.read_text()
    assert path.read_text().endswith("dave:$7$damaged\n")
    path.write_text(path.read_text().removesuffix("dave:$7$damaged\n"))
    users = read_passwords(path)
    assert users.verify("alice", b"open sesame")
    assert users.verify("bob", b"b:c")
    assert users.verify("carol", b"c")


def test_scram_verifiers_are_the_users_own_and_made_up_for_everybody_else(path: Path) -> None:
    set_password(path, "alice", b"secret", "scram-sha-256")
    set_password(path, "bob", b"secret")
    users = read_passwords(path)
    assert users.has_scram
    assert users.scram_verifier("alice") == parse_verifier(path.read_text().splitlines()[0].partition(":")[2])
    for name in ("bob", "nobody"):
        made_up = users.scram_verifier(name)
        assert made_up.salt == read_passwords(path).scram_verifier(name).salt  # the same each time, as a real one is
        assert made_up.iterations == users.scram_verifier("alice").iterations
        assert made_up.stored_key != users.scram_verifier(name).stored_key


def test_a_new_file_is_for_its_owner_only(path: Path) -> None:
    set_password(path, "alice", b"a")
    assert path.stat().st_mode & 0o077 == 0


def test_empty_lines_and_comments_are_passed_over_and_stay(path: Path) -> None:
    path.write_text("# who may come in\n\n")
    set_password(path, "alice", b"a")
    assert path.read_text().startswith("# who may come in\n\n")
    assert len(read_passwords(path)) == 1


MOSQUITTO_6 = (
    "old:$6$hguqpiCQBsF2mNxK$dBrZf9vM9oytVESnmtV25pNsuOJ970mydeWXGPm7ZBuxNr4FR2hoJKlmkHxAYRIRpkchnfnyyPis+xFCCVRtaA==\n"
)


def test_the_older_format_of_mosquitto_is_one_round_of_sha_512(path: Path) -> None:
    path.write_text(MOSQUITTO_6)
    users = read_passwords(path)
    assert users.verify("old", b"secret6")
    assert not users.verify("old", b"secret7")


def test_argon2id_is_read_with_the_parameters_of_whoever_made_it(path: Path) -> None:
    path.write_text(
        "alice:$argon2id$v=19$m=64,t=3,p=2$c29tZXNhbHQ$" + argon2_digest(b"secret", b"somesalt", 3, 64, 2) + "\n"
    )
    assert read_passwords(path).verify("alice", b"secret")
    assert not read_passwords(path).verify("alice", b"Secret")


def argon2_digest(password: bytes, salt: bytes, passes: int, memory_kib: int, lanes: int) -> str:
    raw = hash_secret_raw(password, salt, passes, memory_kib, lanes, 32, Type.ID)
    return base64.b64encode(raw).decode().rstrip("=")


def test_the_format_is_pbkdf2_with_sha_512_as_mosquitto_has_it(path: Path) -> None:
    path.write_text(
        "roger:$7$101$9ABFBbJVTDZbPX5W$"
        "VREzxKXVMTN/L7ppUmgRNG7Cs32IDjhWr0sI9jr7bT441SwBr638lIbcVfGsetQgQQRmgAzMM7p6OSOqDMhR+g==\n"
    )
    assert read_passwords(path).verify("roger", b"reindeer")


@pytest.mark.parametrize("user_name", ["", "a:b", "a\nb", "#alice", "a\rb", "a\u2028b", "a\x0bb"])
def test_a_user_name_that_could_not_be_read_again_is_refused(path: Path, user_name: str) -> None:
    with pytest.raises(ValueError, match="a user name"):
        set_password(path, user_name, b"x")
    assert not path.exists()


GOOD = "c2FsdA==$aGFzaA=="


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("alice", "expected name:hash"),
        (":$7$10$" + GOOD, "expected name:hash"),
        ("alice:", "no hash"),
        ("alice:secret", "no hash"),
        ("alice:$6$" + GOOD, "cut off"),
        ("alice:$6$10$" + GOOD, "no hash"),
        ("alice:$7$10$" + GOOD + "$", "no hash"),
        ("alice:x$7$10$" + GOOD, "no hash"),
        ("alice:$argon2id$v=19$m=64", "not whole"),
        ("alice:$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2g", "more than 1048576 KiB"),
        ("alice:$argon2id$v=19$m=64,t=1000,p=1$c29tZXNhbHQ$aGFzaGhhc2g", "100 passes"),
        ("alice:SCRAM-SHA-256$4096", "StoredKey"),
        ("alice:SCRAM-SHA-256$4096:c2FsdA==$aGFzaA==:aGFzaA==", "32 bytes"),
        ("alice:SCRAM-SHA-256$0:c2FsdA==$aGFzaA==:aGFzaA==", "0 iterations"),
        ("alice:$7$0$" + GOOD, "0 iterations are not between"),
        ("alice:$7$99999999999$" + GOOD, "iterations are not between"),
        ("alice:$7$ten$" + GOOD, "ten"),
        ("alice:$7$10$c2F*sdA==$aGFzaA==", "base64|Only base64|discouraged"),
        ("alice:$7$10$c2FsdA==$", "empty"),
    ],
)
def test_a_line_that_is_none_is_refused_with_its_place_and_fault(path: Path, line: str, fault: str) -> None:
    path.write_text(f"# first\nbob:$7$10${GOOD}\n{line}\n")
    with pytest.raises(PasswordFileError, match=f"passwords, line 3: .*({fault})"):
        read_passwords(path)


def test_a_file_that_is_missing_is_an_error_of_its_own(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_passwords(path)
