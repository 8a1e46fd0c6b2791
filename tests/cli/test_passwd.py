"""Does `tidewire passwd` make files that the broker reads, and refuse what it could not?"""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.process import tidewire
from tidewire.access.passwords import read_passwords, set_password


def test_a_password_is_set_in_a_file_that_is_made_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    run = tidewire("passwd", file, "alice", "--password", "sëcret")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_passwords(file).verify("alice", "sëcret".encode())
    assert not read_passwords(file).verify("alice", b"secret")


def test_the_password_is_asked_for_twice_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    run = tidewire("passwd", file, "alice", stdin="secret\nsecret\n")
    assert run.returncode == 0
    assert "secret" not in run.stdout
    assert read_passwords(file).verify("alice", b"secret")


def test_two_different_answers_set_nothing(tmp_path: Path) -> None:
    run = tidewire("passwd", tmp_path / "passwords", "alice", stdin="secret\nsceret\n")
    assert run.returncode == 2
    assert run.stderr.endswith("tidewire: aborted\n")
    assert not (tmp_path / "passwords").exists()


def test_changing_a_password_keeps_the_other_users_and_the_comments(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    for name, password in (("alice", b"1"), ("bob", b"2")):
        set_password(file, name, password)
    file.write_text("# our people\n" + file.read_text())
    set_password(file, "alice", b"3")
    passwords = read_passwords(file)
    assert len(passwords) == 2
    assert passwords.verify("alice", b"3")
    assert passwords.verify("bob", b"2")
    assert file.read_text().startswith("# our people\n")


@pytest.mark.parametrize("name", ["", " ", "a:b", "a\nb", "a\n", "a\x85b", "a\u2028b", "#alice"])
def test_a_name_that_the_file_could_not_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a user name"):
        set_password(tmp_path / "passwords", name, b"secret")
    assert not (tmp_path / "passwords").exists()


def test_a_refusal_is_one_clear_line(tmp_path: Path) -> None:
    for file, name in ((tmp_path / "passwords", "a:b"), (tmp_path / "no" / "passwords", "alice")):
        run = tidewire("passwd", file, name, "--password", "secret")
        assert run.returncode == 2
        assert run.stderr.startswith("tidewire: ")
        assert run.stderr.count("\n") == 1


def test_the_help_shows_how_it_is_used() -> None:
    run = tidewire("passwd", "--help")
    assert run.returncode == 0
    assert "tidewire passwd passwords.txt alice" in run.stdout
    assert "--password-file passwords.txt" in run.stdout
