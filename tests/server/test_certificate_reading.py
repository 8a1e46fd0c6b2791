"""Is a file of certificates read as what it is, and told apart from what it is not?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.server.openssl import openssl
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.certificate_reading import (
    LARGEST_FILE_BYTES,
    belong_together,
    days_left,
    how_long,
    is_revoked,
    is_signed_by,
    names,
    purposes,
    read_certificates,
    read_key,
    read_revocation_list,
    trouble,
)
from tidewire.server.certificates import CertificateError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> CertificateDirectory:
    made = CertificateDirectory(tmp_path_factory.mktemp("certificates"))
    made.make(["broker.example"], ["alice"], 90, "ec", NOW)
    return made


def test_every_certificate_of_a_file_is_read_in_its_order(place: CertificateDirectory, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(b"# ours\n" + place.file("server").read_bytes() + place.file("ca").read_bytes())
    server, authority = read_certificates(bundle)
    assert [purposes(server), purposes(authority)] == [["server"], ["authority"]]
    assert is_signed_by(server, authority)
    assert not is_signed_by(authority, server)


def test_a_key_belongs_to_its_certificate_alone(place: CertificateDirectory) -> None:
    server = read_certificates(place.file("server"))[0]
    assert belong_together(server, read_key(place.key_file("server")))
    assert not belong_together(server, read_key(place.key_file("alice")))


def test_what_is_missing_or_something_else_is_named(place: CertificateDirectory, tmp_path: Path) -> None:
    nowhere, key, certificate = tmp_path / "no.pem", place.key_file("ca"), place.file("ca")
    for read in (read_certificates, read_key, read_revocation_list):
        with pytest.raises(CertificateError, match=r"cannot read .*no\.pem: No such file or directory"):
            read(nowhere)
    with pytest.raises(CertificateError, match="holds no certificate"):
        read_certificates(key)
    with pytest.raises(CertificateError, match="holds no private key"):
        read_key(certificate)
    with pytest.raises(CertificateError, match="holds no certificate revocation list"):
        read_revocation_list(certificate)


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    large = tmp_path / "large.pem"
    with large.open("wb") as file:
        file.truncate(LARGEST_FILE_BYTES + 1)
    with pytest.raises(CertificateError, match="is larger than"):
        read_certificates(large)


def test_a_locked_key_is_answered_with_the_command_that_unlocks_it(tmp_path: Path) -> None:
    key = tmp_path / "server.key"
    openssl("genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x", "-out", key)
    with pytest.raises(CertificateError, match=f"unlock it: openssl pkey -in {key} -out {key}.unlocked"):
        read_key(key)


def test_names_are_the_alternative_ones_or_else_the_common_one(place: CertificateDirectory) -> None:
    assert names(read_certificates(place.file("server"))[0]) == ["broker.example", "localhost", "127.0.0.1", "::1"]
    assert names(read_certificates(place.file("ca"))[0])[0].startswith("Tidewire authority ")


@pytest.mark.parametrize(
    ("left", "days", "said"),
    [
        (timedelta(days=2), 2, "until 2026-03-03 (2 days)"),
        (timedelta(hours=25), 2, "until 2026-03-02 (2 days)"),
        (timedelta(seconds=1), 1, "until 2026-03-01 (1 day)"),
        (timedelta(), 0, "ended 2026-03-01"),
        (timedelta(hours=-13), 0, "ended 2026-02-28"),
        (timedelta(days=-3), -3, "ended 2026-02-26"),
    ],
)
def test_a_day_that_has_begun_counts(left: timedelta, days: int, said: str) -> None:
    assert days_left(NOW + left, NOW) == days
    assert how_long(NOW + left, NOW) == said


def test_a_certificate_is_in_trouble_before_it_begins_soon_before_it_ends_and_after(
    place: CertificateDirectory,
) -> None:
    file = place.file("server")
    certificate = read_certificates(file)[0]
    renew = f"renew it: tidewire certs make {place.path} --force"
    assert trouble(file, certificate, NOW) is None
    assert trouble(file, certificate, NOW + timedelta(days=60)) is None
    assert trouble(file, certificate, NOW + timedelta(days=61)) == ("ends on 2026-05-30", renew)
    assert trouble(file, certificate, NOW + timedelta(days=89), warn_days=1) is None
    assert trouble(file, certificate, NOW + timedelta(days=90)) == ("ended on 2026-05-30", renew)
    assert trouble(file, certificate, NOW - timedelta(days=2)) == (
        "is not valid before 2026-02-28 12:00 UTC",
        "look at the clock: date",
    )


def test_the_renewal_is_the_command_that_makes_that_certificate(place: CertificateDirectory, tmp_path: Path) -> None:
    def renewal(file: Path) -> str:
        found = trouble(file, read_certificates(file)[0], NOW + timedelta(days=4_000))
        assert found is not None
        return found[1]

    assert renewal(place.file("alice")) == f"renew it: tidewire certs make {place.path} --force --client alice"
    assert renewal(place.file("ca")).endswith("tidewire certs make NEW-DIRECTORY")
    alone = tmp_path / "server.pem"
    alone.write_bytes(place.file("server").read_bytes())
    assert renewal(alone).startswith("ask its issuer for a new one: CN=Tidewire authority ")


def test_a_certificate_is_revoked_by_the_list_of_its_own_issuer(place: CertificateDirectory, tmp_path: Path) -> None:
    other = CertificateDirectory(tmp_path)
    other.make((), ["alice"], 90, "ec", NOW)
    alice = read_certificates(other.file("alice"))[0]
    assert not is_revoked(alice, other.file("crl"))
    other.revoke("alice", NOW)
    assert is_revoked(alice, other.file("crl"))
    assert not is_revoked(alice, place.file("crl"))
    assert not is_revoked(alice, tmp_path / "no.pem")


def test_a_certificate_with_damaged_extensions_is_said_to_be_so(place: CertificateDirectory, tmp_path: Path) -> None:
    certificate = read_certificates(place.file("server"))[0]
    damaged = certificate.public_bytes(Encoding.DER).replace(b"localhost", b"local\xffost")
    file = tmp_path / "server.der"
    file.write_bytes(damaged)
    openssl("x509", "-inform", "DER", "-in", file, "-out", tmp_path / "server.pem")
    with pytest.raises(CertificateError, match="its extensions cannot be read"):
        names(read_certificates(tmp_path / "server.pem")[0])
