"""Are password files read as `mosquitto_passwd` writes them, written so that they can be read, else refused?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tidewire.access import passwords
from tidewire.access.passwords import PasswordFileError, read_passwords, set_password


@pytest.fixture(autouse=True)
def few_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "ITERATIONS", 10)


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


def test_the_same_password_has_another_salt_each_time(path: Path) -> None:
    set_password(path, "alice", b"same")
    set_password(path, "bob", b"same")
    first, second = path.read_text().splitlines()
    assert first.split("$")[3:] != second.split("$")[3:]


def test_a_new_file_is_for_its_owner_only(path: Path) -> None:
    set_password(path, "alice", b"a")
    assert path.stat().st_mode & 0o077 == 0


def test_empty_lines_and_comments_are_passed_over_and_stay(path: Path) -> None:
    path.write_text("# who may come in\n\n")
    set_password(path, "alice", b"a")
    assert path.read_text().startswith("# who may come in\n\n")
    assert len(read_passwords(path)) == 1


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
        ("alice:", "only \\$7\\$"),
        ("alice:secret", "only \\$7\\$"),
        ("alice:$6$" + GOOD, "only \\$7\\$"),
        ("alice:$6$10$" + GOOD, "only \\$7\\$"),
        ("alice:$7$10$" + GOOD + "$", "only \\$7\\$"),
        ("alice:x$7$10$" + GOOD, "only \\$7\\$"),
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
