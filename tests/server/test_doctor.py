"""Is each thing that can be wrong found, told in one line with its mend, and nothing found where all is well?"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.process import BrokerProcess
from tidewire.access.passwords import set_password
from tidewire.server import doctor
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.doctor import examine
from tidewire.server.first_configuration import first_configuration
from tidewire.server.port_holder import PortHolder

NOW = datetime.now(UTC)
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def healthy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is so of the machine that these tests run on is of no account."""
    monkeypatch.setattr(doctor, "form", lambda: "compiled")
    monkeypatch.setattr(doctor, "open_files", lambda: 65_536)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**10))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """As `tidewire init` writes it, on a free port."""
    certificates = CertificateDirectory(tmp_path / "certificates")
    certificates.make(["broker.example"], (), 90, "ec", NOW)
    set_password(tmp_path / "passwords", "admin", b"secret")
    file = tmp_path / "broker.toml"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file.write_text(first_configuration(certificates, port, ["0.0.0.0"], tmp_path / "passwords", "admin"))
    return file


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of 127.0.0.1 that this program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def found(file: Path | None, now: datetime = NOW) -> list[str]:
    return [str(finding) for finding in examine(file, now)]


def the_one(file: Path | None, now: datetime = NOW) -> str:
    (line,) = found(file, now)
    assert len(line.splitlines()) == 1
    return line


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_what_init_writes_is_well(config: Path) -> None:
    assert found(config) == []


def test_a_file_that_cannot_be_read_is_told_and_the_machine_is_looked_at_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "form", lambda: "pure")
    lines = found(tmp_path / "no" / "broker.toml")
    assert lines[0] == f"wrong: config: cannot read {tmp_path}/no/broker.toml: No such file or directory"
    assert [line.partition(":")[0] for line in lines[1:]] == ["hint"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("password_file", "pasword_file", "did you mean password_file?"),
        ("[access]", "[limits]\nno_such_limit = 1\n[access]", "limits.no_such_limit: does not exist"),
        ('passwords"', 'nowhere"', "cannot read the password file"),
    ],
)
def test_what_the_broker_would_refuse_to_start_with_is_told(config: Path, old: str, new: str, said: str) -> None:
    change(config, old, new)
    line = the_one(config)
    assert line.startswith("wrong: config: ")
    assert said in line


def test_a_broker_that_is_open_to_strangers_is_told(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text('bind = ["0.0.0.0"]\nport = 0\n')
    assert the_one(file).startswith("wrong: config: refusing to listen on 0.0.0.0")


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux says who listens")
def test_a_taken_port_is_told_with_who_took_it(tmp_path: Path, taken: int) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(f'bind = ["127.0.0.1"]\nport = {taken}\n')
    line = the_one(file)
    assert line.startswith(f"wrong: ports: port {taken} of 127.0.0.1 is taken by ")
    assert line.endswith(f"(process {os.getpid()}); choose another, or end that program: kill {os.getpid()}")


def test_a_port_taken_by_somebody_unknown_is_told_with_the_command_that_shows_who(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "port_holder", lambda port: None)
    file = tmp_path / "broker.toml"
    file.write_text(f'bind = ["127.0.0.1"]\nport = {taken}\n')
    assert the_one(file).endswith(f"is taken; see by whom: sudo ss -ltnp 'sport = :{taken}'")


def test_a_port_that_a_broker_of_ours_serves_is_not_wrong(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "port_holder", lambda port: PortHolder(1, ["tidewire", "serve"]))
    file = tmp_path / "broker.toml"
    file.write_text(f'bind = ["127.0.0.1"]\nport = {taken}\n')
    assert found(file) == []


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux says who listens")
def test_a_running_broker_is_known_by_its_process(tmp_path: Path) -> None:
    with BrokerProcess("--bind", "127.0.0.1", "--port", "0") as broker:
        file = tmp_path / "broker.toml"
        file.write_text(f'bind = ["127.0.0.1"]\nport = {broker.port}\n')
        assert found(file) == []


def test_two_listeners_with_one_port_are_told(config: Path) -> None:
    change(config, "[access]", '[[listener]]\nbind = ["127.0.0.1"]\nport = 1\n' * 2 + "[access]")
    assert any(line.startswith("wrong: ports: two listeners have port 1 of 127.0.0.1; ") for line in found(config))


@pytest.mark.parametrize("address", ["192.0.2.1", "no such host"])
def test_an_address_of_another_machine_is_told(config: Path, address: str) -> None:
    change(config, "0.0.0.0", address)
    assert the_one(config) == f"wrong: ports: {address!r} is not an address of this machine; see which are: ip address"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EACCES, "this user may not listen on port 883; choose one above 1023, as 1883 or 8883"),
        (errno.ENOBUFS, "cannot listen on 127.0.0.1 port 883: "),
    ],
)
def test_a_port_that_cannot_be_had_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    def refuse(address: str, port: int) -> socket.socket:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(doctor, "tcp_socket", refuse)
    file = tmp_path / "broker.toml"
    file.write_text('bind = ["127.0.0.1"]\nport = 883\n')
    assert the_one(file).startswith(f"wrong: ports: {said}")


def test_a_certificate_that_ends_soon_is_told(config: Path) -> None:
    line = the_one(config, NOW + timedelta(days=70))
    assert line.startswith("wrong: certificates: ")
    assert line.endswith(f"renew it: tidewire certs make {config.parent}/certificates --force")


def test_a_key_of_another_certificate_is_told(config: Path) -> None:
    change(config, "server.key", "ca.key")
    line = the_one(config)
    assert line.startswith("wrong: certificates: ")
    assert f"{config.parent}/certificates/ca.key" in line
    assert line.endswith(": tidewire certs make NEW-DIRECTORY")


def test_a_certificate_for_this_machine_alone_is_told_only_of_a_listener_for_others(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    place = CertificateDirectory(config.parent / "certificates")
    place.make(["localhost"], (), 90, "ec", NOW, replace=True)
    assert "only, but the listener is for other machines" in the_one(config)
    change(config, "0.0.0.0", "127.0.0.1")
    assert found(config) == []


@pytest.mark.parametrize("proof", ["passwords", "tokens"])
def test_what_proves_names_in_the_clear_is_a_hint(config: Path, proof: str) -> None:
    change(config, "[access]", '[[listener]]\nbind = ["0.0.0.0"]\nport = 0\n\n[access]')
    if proof == "tokens":
        secret = config.parent / "jwt.secret"
        secret.write_text("0123456789" * 4)
        change(config, "password_file", f'jwt.secret_file = "{secret}" # password_file')
        secret.chmod(0o600)
    assert the_one(config) == (
        "hint: secrecy: passwords and tokens cross the network readably to 0.0.0.0 port 0; "
        "make certificates for TLS: tidewire certs make"
    )


@pytest.mark.skipif(os.name != "posix", reason="rights of files are of POSIX")
@pytest.mark.parametrize("name", ["passwords", "certificates/server.key", "certificates/ca.key"])
def test_a_secret_that_everybody_may_read_is_told(config: Path, name: str) -> None:
    file = config.parent / name
    file.chmod(0o644)
    assert the_one(config) == f"wrong: rights: everybody may read {file}; chmod o= {file}"
    file.chmod(0o640)
    assert found(config) == []


@pytest.mark.skipif(os.name != "posix", reason="rights of files are of POSIX")
def test_what_stands_in_the_configuration_or_beside_it_is_a_secret_where_it_lets_others_in(config: Path) -> None:
    secret = config.parent / "jwt.secret"
    secret.write_text("0123456789" * 4)
    for file in (secret, config):
        file.chmod(0o644)
    change(
        config,
        "# admin",
        '[access.jwt]\nsecret_file = "SECRET"\n[access.http]\nurl = "https://localhost:1/"\n'
        'headers = { Authorization = "Bearer x" }\n# admin',
    )
    change(config, "SECRET", str(secret))
    assert found(config) == [f"wrong: rights: everybody may read {file}; chmod o= {file}" for file in (secret, config)]


@pytest.mark.skipif(os.name != "posix", reason="rights of files are of POSIX")
def test_a_configuration_that_everybody_may_change_is_told(config: Path) -> None:
    config.chmod(0o666)
    assert the_one(config) == f"wrong: rights: everybody may change {config}; chmod o-w {config}"


def test_more_connections_than_open_files_are_told(config: Path) -> None:
    change(config, "bind = []", "bind = []\nconnections = 100000")
    assert the_one(config) == (
        "wrong: open files: 100000 connections need 100064 open files, and 65536 are allowed; "
        "allow more where the broker is started: ulimit -Hn 100064"
    )


def test_few_open_files_are_a_hint(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "open_files", lambda: 256)
    assert the_one(config).startswith("hint: open files: 256 are allowed, so only 192 clients can be connected; ")


def test_a_clock_that_stands_before_what_was_written_is_told(config: Path) -> None:
    lines = found(config, datetime(1970, 1, 1, tzinfo=UTC))
    assert any(line.startswith("wrong: clock: it is 1970-01-01 here, but ") for line in lines)
    assert any("is not valid before" in line for line in lines)
    assert not any("clock:" in line for line in found(config, NOW - timedelta(hours=1)))


def test_the_uncompiled_form_is_a_hint(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "form", lambda: "pure")
    monkeypatch.setenv("TIDEWIRE_PURE", "1")
    said = "hint: form: Tidewire runs uncompiled, which is slower; "
    assert the_one(config) == f"{said}take TIDEWIRE_PURE out of the environment"
    monkeypatch.delenv("TIDEWIRE_PURE")
    compiler = "install it again where there is a C compiler (Debian: apt install gcc python3-dev): "
    assert the_one(config) == f"{said}{compiler}make -C {ROOT} build"
    for origin, place in (
        ('{"url": "file:///home/a%20b/tidewire", "dir_info": {}}', "file:///home/a%20b/tidewire"),
        (None, "tidewire"),
    ):
        monkeypatch.setattr(
            doctor, "distribution", lambda name, origin=origin: SimpleNamespace(read_text=lambda file: origin)
        )
        assert the_one(config) == f"{said}{compiler}pip install --force-reinstall --no-deps {place}"


def test_a_full_disk_is_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=50 * 1024**2))
    assert the_one(config).startswith(f"wrong: disk: 50 MB are left at {config.parent}; ")


def test_nothing_is_told_twice(config: Path) -> None:
    listener = config.read_text().partition("[[listener]]")[2].partition("[access]")[0]
    change(config, "[access]", f"[[listener]]{listener.replace('port = ', 'port = 0 # ')}[access]")
    (config.parent / "passwords").chmod(0o644)
    assert len(found(config, NOW + timedelta(days=70))) == 2


def test_a_data_directory_that_cannot_be_written_and_one_that_others_see(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIDEWIRE_DURABILITY", raising=False)
    directory = tmp_path / "data"
    config.write_text(f'data = "{directory}"\n{config.read_text()}')
    assert found(config) == []
    directory.mkdir(0o755)
    assert the_one(config) == (
        f"hint: data: others may look into {directory}, where messages are kept; chmod 700 {directory}"
    )
    directory.rmdir()
    directory.write_text("a file")
    assert the_one(config).startswith(f"wrong: data: this user cannot write {directory}, ")
