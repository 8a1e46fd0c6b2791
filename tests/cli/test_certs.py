"""Does one command make what works, does another say when it ends, and is every mistake one line?"""

from __future__ import annotations

import re
import shlex
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.cli.server import DeafServer
from tests.process import BrokerProcess, tidewire
from tests.server.handshake import server_context
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.wire.packets import Connack


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pub_command(output: str) -> list[str]:
    """The command that the output says to connect with."""
    return shlex.split(next(line for line in output.splitlines() if line.startswith("  tidewire pub ")))[1:]


def refusal(*arguments: str | Path) -> str:
    result = run("certs", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("tidewire: ").removesuffix("\n")


def test_the_command_that_it_prints_connects_with_a_certificate_and_without(here: Path) -> None:
    for directory, clients in (("one", ["--client", "alice"]), ("two", [])):
        command = pub_command(run("certs", "make", directory, "--host", "localhost", *clients).stdout)
        assert command[command.index("-h") + 1] == "localhost"
        place = CertificateDirectory(here / directory)
        with DeafServer(Connack(), context=server_context(place, clients_too=bool(clients))) as server:
            command[command.index("-p") + 1] = server.port
            assert tidewire(*command).returncode == 0
            assert len(server.connects) == 1


def test_a_revoked_client_is_refused_by_the_running_broker_and_others_are_not(here: Path) -> None:
    output = run("certs", "make", "--client", "alice", "--client", "bob").stdout
    listener = output[output.index("[[listener]]") : output.index("A client connects")]
    Path("broker.toml").write_text("bind = []\n" + listener.replace("8883", "0"))
    with BrokerProcess("--config", "broker.toml") as broker:

        def pub(name: str) -> int:
            certificate = ["--cert", f"certificates/{name}.pem", "--key", f"certificates/{name}.key"]
            flags = ["--cafile", "certificates/ca.pem", "-p", str(broker.port), *certificate]
            return tidewire("pub", *flags, "-t", "hello", "-m", "world", "-q", "1").returncode

        assert (pub("alice"), pub("bob")) == (0, 0)
        assert run("certs", "revoke", "alice").exit_code == 0
        broker.wait_for("certificates reloaded")
        assert pub("alice") != 0
        assert pub("bob") == 0


def test_the_listener_that_it_prints_names_the_files_that_it_made(here: Path) -> None:
    output = run("certs", "make", "--client", "alice").stdout
    listener = tomllib.loads(output[output.index("[[listener]]") : output.index("A client connects")])["listener"][0]
    files = {key: value for key, value in listener["tls"].items() if key != "client_certificate"}
    assert set(files) == {"certificate", "key", "client_ca", "revocation_list"}
    assert all(Path(file).is_relative_to(here) and Path(file).exists() for file in files.values())


def test_what_was_made_is_said_a_line_each(here: Path) -> None:
    lines = run("certs", "make", "--host", "broker.example", "--client", "alice", "--days", "90").stdout.splitlines()
    until = datetime.now(UTC) + timedelta(days=90)
    assert re.fullmatch(
        r"made certificates/ca\.pem: authority, Tidewire authority \w+, until \S+ \(3650 days\)", lines[0]
    )
    assert lines[1:3] == [
        "made certificates/server.pem: server, broker.example, localhost, 127.0.0.1, ::1, "
        f"until {until:%Y-%m-%d} (90 days)",
        f"made certificates/alice.pem: client, alice, until {until:%Y-%m-%d} (90 days)",
    ]


def test_a_client_added_later_is_told_by_which_name_the_broker_is_known(here: Path) -> None:
    run("certs", "make", "--host", "*.plant.example", "--host", "broker.example")
    output = run("certs", "make", "--client", "alice").stdout
    assert output.count("made") == 1
    assert "[[listener]]" not in output
    assert pub_command(output)[1:] == shlex.split(
        "--cafile certificates/ca.pem -h broker.example -p 8883 --cert certificates/alice.pem "
        "--key certificates/alice.key -t hello -m world"
    )


def test_a_broker_of_init_lets_a_client_in_that_was_added_later_once_it_is_told_what_is_printed(here: Path) -> None:
    told = run("init", "--bind", "127.0.0.1").stdout
    output = run("certs", "make", "--client", "bob").stdout
    lines = output[output.index("client_ca") : output.index("A client connects")]
    file = Path("broker.toml")
    text = file.read_text(encoding="utf-8").replace("8883", "0").replace("[listener.tls]\n", f"[listener.tls]\n{lines}")
    file.write_text(f'{text}\n[[access.rules]]\neffect = "allow"\ntopic = "hello"\nuser = "bob"\n', encoding="utf-8")
    with BrokerProcess("--config", file) as broker:
        for command in (pub_command(output), pub_command(told)):  # with a certificate, with a password
            named = command if "-p" in command else [*command, "-p", "8883"]
            named[named.index("-p") + 1] = str(broker.port)
            done = tidewire(*named, "-q", "1")
            assert (done.returncode, done.stderr) == (0, ""), broker.log


def test_once_more_makes_nothing_and_says_so(here: Path) -> None:
    run("certs", "make")
    assert run("certs", "make").stdout == "nothing to make: all is there; see it: tidewire certs show certificates\n"


def test_what_ends_with_its_authority_is_said_to(here: Path) -> None:
    result = run("certs", "make", "--days", "4000")
    assert result.exit_code == 0
    assert result.stderr == (
        "tidewire: certificates/server.pem ends with its authority, before the 4000 days are over\n"
    )


def test_every_mistake_is_one_line_with_the_mend(here: Path) -> None:
    assert refusal("make", "--host", "bad host") == "'bad host' is neither a DNS name nor an IP address"
    assert refusal("make", "--client", "a/b").startswith("a client cannot be called 'a/b', because its files are")
    assert refusal("show") == "there is no directory certificates here; make it: tidewire certs make"
    Path("empty").mkdir()
    assert refusal("show", "empty") == "there is no certificate in empty; make some: tidewire certs make empty"
    run("certs", "make", "--client", "alice")
    assert refusal("make", "--client", "alice") == "certificates/alice.pem exists already; --force replaces it"
    assert refusal("show", "no.pem") == "cannot read no.pem: No such file or directory"
    assert refusal("show", "certificates/ca.key") == "certificates/ca.key holds no certificate (PEM)"
    assert refusal("revoke", "alise") == "no certificate in certificates is for 'alise'; did you mean alice?"
    assert refusal("revoke", "alice", "-d", "elsewhere").startswith("no certificate in elsewhere is for 'alice'")
    Path("file").touch()
    assert refusal("make", "file/below") == "cannot use file/below: Not a directory"


def test_what_is_well_is_shown_with_status_0_and_what_ends_soon_with_status_1(here: Path) -> None:
    run("certs", "make", "--host", "broker.example", "--client", "alice")
    well = run("certs", "show")
    assert (well.exit_code, well.stderr) == (0, "")
    assert [line.partition(",")[0] for line in well.stdout.splitlines()] == [
        "certificates/alice.pem: client",
        "certificates/ca.pem: authority",
        "certificates/server.pem: server",
    ]
    run("certs", "make", "--client", "bob", "--days", "29")
    soon = run("certs", "show")
    assert soon.exit_code == 1
    assert soon.stderr == (
        f"tidewire: certificates/bob.pem (bob) ends on {datetime.now(UTC) + timedelta(days=29):%Y-%m-%d}; "
        "renew it: tidewire certs make certificates --force --client bob\n"
    )
    assert run("certs", "show", "--warn", "29").exit_code == 0
    assert run("certs", "show", "certificates/alice.pem", "certificates/ca.pem").exit_code == 0
    assert run("certs", "show", "certificates/bob.pem").exit_code == 1


def test_what_has_ended_is_shown_with_status_1(here: Path) -> None:
    CertificateDirectory(Path("certificates")).make((), (), 90, "ec", datetime.now(UTC) - timedelta(days=100))
    result = run("certs", "show")
    assert result.exit_code == 1
    assert ", ended " in result.stdout
    assert "renew it: tidewire certs make certificates --force" in result.stderr
    renewal = shlex.split(result.stderr.rpartition(": ")[2])
    assert run(*renewal[1:]).exit_code == 0
    assert run("certs", "show").exit_code == 0


def test_a_client_that_was_revoked_is_shown_to_be_and_needs_no_renewal(here: Path) -> None:
    run("certs", "make", "--client", "alice", "--days", "3")
    run("certs", "make", "--force")
    where = "A broker reads that list where revocation_list in its [listener.tls] names it.\n"
    for said in ("revoked its certificate", "was revoked before"):
        revoked = run("certs", "revoke", "alice")
        assert revoked.stdout == f"alice: {said}; the list is certificates/crl.pem\n{where}"
    shown = run("certs", "show")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[0].endswith("(3 days), revoked")


def test_every_certificate_of_a_bundle_is_shown_and_nothing_else_of_a_directory(here: Path) -> None:
    run("certs", "make")
    place = CertificateDirectory(Path("certificates"))
    bundle = Path("certificates/bundle.crt")
    bundle.write_bytes(place.file("server").read_bytes() + place.file("ca").read_bytes())
    assert [line.partition(": ")[0] for line in run("certs", "show").stdout.splitlines()] == [
        "certificates/bundle.crt",
        "certificates/bundle.crt",
        "certificates/ca.pem",
        "certificates/server.pem",
    ]


def test_the_help_shows_how_it_is_used() -> None:
    assert "tidewire certs make --host broker.example" in run("certs", "make", "--help").stdout
    assert "tidewire certs revoke alice" in run("certs", "revoke", "--help").stdout
    assert {"make", "show", "revoke"} <= set(run("certs", "--help").stdout.split())
