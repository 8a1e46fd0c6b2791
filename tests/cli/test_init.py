"""Does `tidewire init` write what starts at once, is closed to strangers, and overwrites nothing?"""

from __future__ import annotations

import os
import re
import shlex
import socket
import ssl
import stat
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.process import BrokerProcess, tidewire
from tidewire.access.passwords import read_passwords
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.certificate_reading import alternative_names, read_certificates
from tidewire.server.config import read_config


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def commands(output: str) -> tuple[list[str], list[str]]:
    """`serve` and `pub`, as it prints them."""
    serve, pub = (shlex.split(line)[1:] for line in output.splitlines() if line.startswith("  tidewire "))
    return serve, pub


def password(output: str) -> str:
    match = re.search(r"^The password of \w+, which is shown this once: (\w+)$", output, re.MULTILINE)
    assert match
    return match.group(1)


def test_the_commands_that_it_prints_start_a_broker_and_publish_to_it(here: Path) -> None:
    output = run("init", "--port", free_port()).stdout
    serve, pub = commands(output)
    assert serve[0] == "serve"
    with BrokerProcess(*serve[1:]) as broker:
        published = tidewire(*pub)
        assert (published.returncode, published.stderr) == (0, ""), broker.log
        # Nobody else gets in: not with another password, not without one, not without TLS.
        assert tidewire(*pub[: pub.index("-P")], "-P", "wrong", "-t", "hello", "-m", "world").returncode == 134
        assert tidewire(*pub[: pub.index("-u")], "-t", "hello", "-m", "world").returncode == 135
        plain = ["-h", "127.0.0.1", "-p", pub[pub.index("-p") + 1]]
        assert tidewire("pub", *plain, *pub[pub.index("-u") :]).returncode not in (0, 134, 135)


def test_the_user_may_write_and_read_everything_and_what_the_broker_says_of_itself(here: Path) -> None:
    serve, pub = commands(run("init", "--port", free_port()).stdout)
    flags = pub[1 : pub.index("-t")]
    with BrokerProcess(*serve[1:]):
        assert tidewire("pub", *flags, "-t", "a/b", "-m", "x", "-r", "-q", "1").returncode == 0
        for topic_filter in ("#", "$SYS/#"):
            assert tidewire("sub", *flags, "-t", topic_filter, "-C", "1", "-W", "30").returncode == 0


def test_on_the_usual_port_the_command_needs_three_flags(here: Path) -> None:
    output = run("init").stdout
    assert commands(output)[1] == [
        *["pub", "--cafile", "certificates/ca.pem", "-u", "admin", "-P", password(output)],
        *["-t", "hello", "-m", "world"],
    ]


def test_the_password_is_long_shown_once_and_kept_as_a_hash_only(here: Path) -> None:
    first, second = (password(run("init", name).stdout) for name in ("one", "two"))
    assert len(first) == len(second) == 24
    assert first != second
    assert read_passwords(here / "one" / "passwords").verify("admin", first.encode())
    for file in (path for path in here.rglob("*") if path.is_file()):
        assert first not in file.read_text()


@pytest.mark.skipif(os.name != "posix", reason="rights of files are of POSIX")
def test_secrets_are_for_their_owner_alone(here: Path) -> None:
    run("init")
    secrets = [here / "passwords", *(here / "certificates").glob("*.key")]
    assert len(secrets) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}


@pytest.mark.parametrize("there", ["broker.toml", "passwords"])
def test_nothing_is_overwritten(here: Path, there: str) -> None:
    Path(there).write_text("mine")
    result = run("init")
    assert result.exit_code == 2
    assert result.stderr == f"tidewire: {there} exists already; choose another directory: tidewire init DIRECTORY\n"
    assert [path.name for path in here.iterdir()] == [there]
    assert Path(there).read_text() == "mine"


def test_certificates_that_are_there_are_used(here: Path) -> None:
    run("certs", "make", "certificates", "--host", "broker.example")
    before = Path("certificates/server.pem").read_bytes()
    assert run("init").exit_code == 0
    assert Path("certificates/server.pem").read_bytes() == before


def test_the_certificate_is_for_the_hosts_and_for_the_addresses_that_are_listened_on(here: Path) -> None:
    output = run("init", "--host", "broker.example", "--bind", "192.0.2.1", "--bind", "192.0.2.2").stdout
    names = alternative_names(read_certificates(CertificateDirectory(here / "certificates").file("server"))[0])
    assert names == ["broker.example", "192.0.2.1", "192.0.2.2", "localhost", "127.0.0.1", "::1"]
    pub = commands(output)[1]
    assert pub[pub.index("-h") + 1] == "192.0.2.1"
    assert [listener.bind for listener in read_config(Path("broker.toml")).listeners] == [["192.0.2.1", "192.0.2.2"]]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--host", "bad host"], "'bad host' is neither a DNS name nor an IP address"),
        (["--user", "a:b"], "'a:b' cannot be a user name"),
    ],
)
def test_a_mistake_is_one_line_and_no_configuration(here: Path, flags: list[str], said: str) -> None:
    result = run("init", *flags)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"tidewire: {said}")
    assert result.stderr.count("\n") == 1
    assert not Path("broker.toml").exists()


def test_a_client_certificate_of_its_authority_can_be_asked_for_later(here: Path) -> None:
    run("init")
    run("certs", "make", "certificates", "--client", "alice")
    place = CertificateDirectory(Path("certificates"))
    context = ssl.create_default_context(cafile=place.file("ca"))
    context.load_cert_chain(place.file("alice"), place.key_file("alice"))
