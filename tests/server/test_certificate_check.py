"""Is everything found that clients would refuse, each with its mend, and nothing where all is well?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.server.openssl import openssl
from tidewire.server.certificate_check import troubles
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.listener_config import NamedCertificate, TlsConfig

NOW = datetime.now(UTC)


@pytest.fixture
def place(tmp_path: Path) -> CertificateDirectory:
    made = CertificateDirectory(tmp_path / "certificates")
    made.make(["broker.example"], ["alice"], 90, "ec", NOW)
    return made


@pytest.fixture
def other(tmp_path: Path) -> CertificateDirectory:
    made = CertificateDirectory(tmp_path / "other")
    made.make(["other.example"], (), 90, "ec", NOW)
    return made


def config(place: CertificateDirectory) -> TlsConfig:
    """As `tidewire certs make --client` prints it."""
    return TlsConfig(
        certificate=str(place.file("server")),
        key=str(place.key_file("server")),
        client_ca=str(place.file("ca")),
        client_certificate="required",
        revocation_list=str(place.file("crl")),
    )


def found(tls: TlsConfig, *, wide: bool = True, after: timedelta = timedelta()) -> list[str]:
    return ["; ".join(trouble) for trouble in troubles(tls, NOW + after, wide=wide)]


def the_one(tls: TlsConfig, *, wide: bool = True, after: timedelta = timedelta()) -> str:
    (line,) = found(tls, wide=wide, after=after)
    assert len(line.splitlines()) == 1
    return line


def test_what_was_just_made_is_well(place: CertificateDirectory) -> None:
    assert found(config(place)) == []


def test_a_certificate_that_ends_soon_has_the_command_that_renews_it(place: CertificateDirectory) -> None:
    line = the_one(config(place), after=timedelta(days=70))
    assert line.startswith(f"{place.file('server')} (broker.example) ends on ")
    assert line.endswith(f"renew it: tidewire certs make {place.path} --force")


def test_a_certificate_of_another_server_name_is_looked_at_as_well(
    place: CertificateDirectory, other: CertificateDirectory
) -> None:
    tls = config(place)
    other.make((), (), 10, "ec", NOW, replace=True)
    tls.names = [NamedCertificate("other.example", str(other.file("server")), str(other.key_file("server")))]
    assert the_one(tls).startswith(f"{other.file('server')} (other.example) ends on ")


def test_a_chain_that_is_none_is_named(place: CertificateDirectory, other: CertificateDirectory) -> None:
    chain = place.path.parent / "chain.pem"
    chain.write_bytes(place.file("server").read_bytes() + other.file("ca").read_bytes())
    tls = config(place)
    tls.certificate = str(chain)
    assert "chain.pem is no chain: broker.example is not signed by Tidewire authority" in the_one(tls)
    chain.write_bytes(place.file("server").read_bytes() + place.file("ca").read_bytes())
    assert found(tls) == []


def test_a_certificate_beside_an_authority_that_has_not_signed_it_is_named(
    place: CertificateDirectory, other: CertificateDirectory
) -> None:
    place.file("server").write_bytes(other.file("server").read_bytes())
    line = the_one(config(place))
    assert f"{place.file('server')} is not signed by {place.file('ca')}" in line
    assert line.endswith(f"tidewire certs make {place.path} --force")


def test_a_clients_certificate_is_not_a_servers(place: CertificateDirectory) -> None:
    tls = config(place)
    tls.certificate = str(place.file("alice"))
    assert "alice.pem is not for a server, but for: client" in the_one(tls)


def test_a_certificate_without_alternative_names_is_named(place: CertificateDirectory, tmp_path: Path) -> None:
    made, key = tmp_path / "a.pem", tmp_path / "a.key"
    openssl("genpkey", "-algorithm", "ed25519", "-out", key)
    openssl("req", "-new", "-key", key, "-subj", "/CN=broker.example", "-out", tmp_path / "a.csr")
    openssl("x509", "-req", "-in", tmp_path / "a.csr", "-signkey", key, "-days", "90", "-out", made)
    tls = config(place)
    tls.certificate = str(made)
    # A day later: the suite may have begun long before openssl looked at its clock.
    assert "a.pem has no subject alternative names" in the_one(tls, after=timedelta(days=1))


def test_a_certificate_for_this_machine_alone_does_for_loopback_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    place = CertificateDirectory(tmp_path)
    place.make((), (), 90, "ec", NOW)
    assert found(config(place), wide=False) == []
    line = the_one(config(place), wide=True)
    assert "server.pem is for localhost, 127.0.0.1, ::1 only" in line
    assert line.endswith(f"tidewire certs make {place.path} --force --host NAME")


def test_clients_are_vouched_for_by_authorities_only(place: CertificateDirectory) -> None:
    tls = config(place)
    tls.client_ca, tls.revocation_list = str(place.file("alice")), None
    assert "alice.pem (alice) is no authority, so it vouches for no client" in the_one(tls)


def test_an_authority_that_ends_is_named_with_all_that_ends_with_it(place: CertificateDirectory) -> None:
    lines = found(config(place), after=timedelta(days=4_000))
    assert [line.split(" (")[0] for line in lines[:2]] == [str(place.file("server")), str(place.file("ca"))]
    assert "so every client with a certificate is refused" in lines[2]


def test_a_revocation_list_of_another_authority_is_named(
    place: CertificateDirectory, other: CertificateDirectory
) -> None:
    tls = config(place)
    tls.revocation_list = str(other.file("crl"))
    assert f"{other.file('crl')} is of none of the authorities of client_ca" in the_one(tls)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tls: setattr(tls, "certificate", tls.key),
        lambda tls: setattr(tls, "client_ca", "/nowhere.pem"),
        lambda tls: setattr(tls, "revocation_list", tls.certificate),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(
    place: CertificateDirectory, spoil: Callable[[TlsConfig], None]
) -> None:
    tls = config(place)
    spoil(tls)
    assert the_one(tls).endswith("tidewire certs make NEW-DIRECTORY")
