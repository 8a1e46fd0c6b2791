"""Does `tidewire passwd` make files that the broker reads, and refuse what it could not?"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.mosquitto import OURS
from tests.cli.running import run
from tests.process import PATIENCE_S, tidewire
from tidewire.access.passwords import read_passwords, set_password


def test_a_password_is_set_in_a_file_that_is_made_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    done = tidewire("passwd", file, "alice", "--password", "sëcret")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_passwords(file).verify("alice", "sëcret".encode())
    assert not read_passwords(file).verify("alice", b"secret")


def test_on_a_terminal_the_password_is_asked_for_twice_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    controlling, terminal = os.openpty()
    with subprocess.Popen(
        [*OURS, "passwd", file, "alice"], stdin=terminal, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        for question in ("Password: ", "Repeat for confirmation: "):
            asked = ""
            while not asked.endswith(question):
                asked += (letter := process.stderr.read(1))
                assert letter, asked
            os.write(controlling, b"secret\n")
        assert process.wait(PATIENCE_S) == 0
        assert "secret" not in process.stderr.read()
    os.set_blocking(controlling, False)
    os.close(terminal)
    with contextlib.suppress(OSError):
        assert b"secret" not in os.read(controlling, 1000)
    os.close(controlling)
    assert read_passwords(file).verify("alice", b"secret")


@pytest.mark.parametrize("typed", ["secret", "secret\n", "secret\nsecret\n"])
def test_without_a_terminal_the_password_is_a_line_of_standard_input(tmp_path: Path, typed: str) -> None:
    file = tmp_path / "passwords"
    done = tidewire("passwd", file, "alice", stdin=typed)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert read_passwords(file).verify("alice", b"secret")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "",
            "there is no terminal to ask for the password on; "
            "pipe the password into it, or: tidewire passwd -b FILE NAME PASSWORD",
        ),
        ("secret\nsceret\n", "the two lines of standard input differ, and should both be the password"),
    ],
)
def test_no_password_or_two_of_them_set_nothing(tmp_path: Path, typed: str, said: str) -> None:
    done = tidewire("passwd", tmp_path / "passwords", "alice", stdin=typed)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"tidewire: {said}\n")
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
        done = tidewire("passwd", file, name, "--password", "secret")
        assert done.returncode == 2
        assert done.stderr.startswith("tidewire: ")
        assert done.stderr.count("\n") == 1


def test_the_options_of_mosquitto_passwd_do_what_they_do_there(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    assert run("passwd", "-c", "-b", file, "alice", "one").exit_code == 0
    assert run("passwd", "-b", file, "bob", "").exit_code == 0
    assert run("passwd", "--list", file).output == "alice\nbob\n"
    assert run("passwd", "-D", file, "alice").exit_code == 0
    users = read_passwords(file)
    assert "alice" not in users
    assert users.verify("bob", b"")
    assert run("passwd", "-c", "-b", file, "carol", "three").exit_code == 0
    assert run("passwd", "-l", file).output == "carol\n"
    file.write_text("dave:open\n")
    assert run("passwd", "-U", file).output == "1 passwords hashed\n"
    assert read_passwords(file).verify("dave", b"open")


def test_the_kind_of_hash_can_be_chosen(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    for options, begins in (
        ([], "$argon2id$"),
        (["-H", "sha512-pbkdf2"], "$7$"),
        (["--scram"], "SCRAM-SHA-256$"),
        (["-H", "scram-sha-256"], "SCRAM-SHA-256$"),
    ):
        assert run("passwd", *options, "-b", file, "alice", "secret").exit_code == 0
        assert file.read_text().startswith(f"alice:{begins}")
        assert read_passwords(file).verify("alice", b"secret")


@pytest.mark.skipif(shutil.which("mosquitto_passwd") is None, reason="mosquitto_passwd is not installed")
@pytest.mark.parametrize("kind", ["sha512", "sha512-pbkdf2"])
def test_files_of_mosquitto_passwd_are_read_as_they_are(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "passwords"
    file.touch()
    subprocess.run(["mosquitto_passwd", "-H", kind, "-b", file, "alice", "s\u00ebcret"], check=True)
    assert read_passwords(file).verify("alice", "s\u00ebcret".encode())
    assert not read_passwords(file).verify("alice", b"secret")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-D", "-U", "{file}"], "choose one of"),
        (["-D", "-b", "{file}", "alice", "x"], "choose one of"),
        (["-U", "{file}", "alice"], "take a FILE alone"),
        (["-b", "{file}", "alice"], "-b FILE NAME PASSWORD"),
        (["{file}", "alice", "secret"], "-b FILE NAME PASSWORD"),
        (["-D", "{file}", "nobody"], "has no user 'nobody'"),
        (["-D", "{file}.none", "alice"], "No such file"),
        (["--scram", "-b", "{file}", "alice", "a\u0007"], "control character"),
        (["-H", "md5", "{file}", "alice"], "'md5' is not one of"),
    ],
)
def test_a_wrong_use_is_one_clear_line_and_changes_nothing(tmp_path: Path, arguments: list[str], said: str) -> None:
    file = tmp_path / "passwords"
    set_password(file, "alice", b"secret")
    before = file.read_text()
    result = run("passwd", *(argument.format(file=file) for argument in arguments))
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert said in result.output
    assert file.read_text() == before


def test_the_help_shows_how_it_is_used() -> None:
    done = tidewire("passwd", "--help")
    assert done.returncode == 0
    assert "tidewire passwd passwords.txt alice" in done.stdout
    assert "--password-file passwords.txt" in done.stdout
