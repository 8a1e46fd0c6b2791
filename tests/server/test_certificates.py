"""Does what is made say what the strictest checkers ask for, for whomever it is made?"""

from __future__ import annotations

import functools
import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from tidewire.server.certificate_reading import (
    alternative_names,
    belong_together,
    common_name,
    is_signed_by,
    purposes,
)
from tidewire.server.certificates import (
    BACKDATED,
    KEY_TYPES,
    CertificateError,
    KeyType,
    Signed,
    general_name,
    make_authority,
    make_client,
    make_revocation_list,
    make_server,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, 999, tzinfo=UTC)

labels = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
dns_names = st.builds(
    lambda wildcard, below, top: ".".join([*["*"] * wildcard, *below, top]),
    st.booleans(),
    st.lists(labels, min_size=1, max_size=4),
    st.from_regex(r"[a-z]{1,20}", fullmatch=True),
).filter(lambda name: not any(label.startswith("xn--") for label in name.split(".")))
addresses = st.one_of(
    st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda address: address.scope_id is None)
).map(str)  # fmt: skip


@functools.cache
def authority(key_type: KeyType = "ec") -> Signed:
    return make_authority(3650, key_type, NOW)


@given(st.lists(dns_names | addresses, min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_a_server_is_called_exactly_what_was_asked_for_in_that_order(hosts: list[str]) -> None:
    server = make_server(authority(), hosts, 1, "ec", NOW)
    assert alternative_names(server.certificate) == list(dict.fromkeys(hosts))


@given(st.text(max_size=70))
def test_any_text_is_a_host_or_refused_in_one_line(host: str) -> None:
    try:
        name = general_name(host)
    except CertificateError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert general_name(str(name.value)) == name


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_every_kind_of_key_makes_certificates_that_say_all_that_is_needed(key_type: KeyType) -> None:
    root = authority(key_type)
    server = make_server(root, ["broker.example", "192.0.2.1"], 90, key_type, NOW)
    client = make_client(root, "alice", 90, key_type, NOW)
    is_rsa = key_type == "rsa"
    for signed, signs, encipherment in ((root, True, False), (server, False, is_rsa), (client, False, is_rsa)):
        extensions = signed.certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        assert (constraints.critical, constraints.value.ca, usage.critical) == (True, signs, True)
        assert usage.value.key_cert_sign is usage.value.crl_sign is signs
        assert usage.value.digital_signature is not signs
        assert usage.value.key_encipherment is encipherment
        own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert own == x509.SubjectKeyIdentifier.from_public_key(signed.key.public_key())
        issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert issuer == x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key())
        assert is_signed_by(signed.certificate, root.certificate)
        assert belong_together(signed.certificate, signed.key)
        assert signed.certificate.version == x509.Version.v3
    assert [purposes(signed.certificate) for signed in (root, server, client)] == [
        ["authority"],
        ["server"],
        ["client"],
    ]


def test_a_server_may_not_pass_for_a_client_nor_a_client_for_a_server() -> None:
    root = authority()
    for signed, purpose in (
        (make_server(root, ["a.example"], 1, "ec", NOW), ExtendedKeyUsageOID.SERVER_AUTH),
        (make_client(root, "a.example", 1, "ec", NOW), ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        usage = signed.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert list(usage.value) == [purpose]


def test_they_are_valid_for_as_many_days_as_were_asked_for_and_already_for_a_slow_clock() -> None:
    certificate = make_client(authority(), "alice", 90, "ec", NOW).certificate
    start = NOW.replace(microsecond=0)
    assert certificate.not_valid_before_utc == start - BACKDATED
    assert certificate.not_valid_after_utc == start + timedelta(days=90)


def test_nothing_outlives_its_authority() -> None:
    root = make_authority(10, "ec", NOW)
    assert make_client(root, "alice", 90, "ec", NOW).certificate.not_valid_after_utc == (
        root.certificate.not_valid_after_utc
    )


def test_an_authority_that_has_ended_signs_nothing_more() -> None:
    root = make_authority(10, "ec", NOW)
    later = NOW + timedelta(days=10)
    for make in (
        lambda: make_client(root, "alice", 1, "ec", later),
        lambda: make_revocation_list(root, [1], later),
    ):
        with pytest.raises(CertificateError, match="ended on 2026-03-11; make a new one"):
            make()


def test_two_authorities_do_not_look_alike() -> None:
    assert common_name(authority().certificate) != common_name(make_authority(1, "ec", NOW).certificate)


@pytest.mark.parametrize(
    ("name", "alternative"),
    [
        ("alice", ["alice"]),
        ("alice@plant.example", ["alice@plant.example"]),
        ("sensor 7", []),
        ("Müller & Söhne", []),
        ("a" * 64, []),
    ],
)
def test_a_clients_alternative_name_is_its_name_where_it_can_be_one(name: str, alternative: list[str]) -> None:
    certificate = make_client(authority(), name, 1, "ec", NOW).certificate
    assert common_name(certificate) == name
    assert alternative_names(certificate) == alternative


@pytest.mark.parametrize("name", ["", "a" * 65, "ü" * 33, "a\nb", "a\0b", "\udc80"])
def test_a_name_that_no_certificate_can_have_is_refused(name: str) -> None:
    with pytest.raises(CertificateError, match="cannot be the name in a certificate"):
        make_client(authority(), name, 1, "ec", NOW)


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("Broker.Example", "broker.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.plant.example", "*.plant.example"),
        ("my_host", "my_host"),
        ("2001:DB8:0::1", "2001:db8::1"),
    ],
)
def test_a_host_is_written_as_clients_compare_it(host: str, written: str) -> None:
    assert str(general_name(host).value) == written


@pytest.mark.parametrize(
    "host",
    ["", " ", "a b", "a..b", ".a", "a.", "-a", "a-", "*", "*.example", "a.*.b", "256.1.1.1", "1.2.3", "a/b", "a:1883",
     "a" * 64, ".".join(["a" * 60] * 5), "192.0.2.0/24", "[::1]", "a\n"],
)  # fmt: skip
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(CertificateError, match="is neither a DNS name nor an IP address"):
        general_name(host)


def test_an_address_with_a_zone_is_refused_with_the_mend() -> None:
    with pytest.raises(CertificateError, match="leave out %eth0"):
        general_name("fe80::1%eth0")


def test_a_server_with_a_long_name_has_it_as_an_alternative_name_only() -> None:
    host = ".".join(["a" * 30] * 3)
    certificate = make_server(authority(), [host], 1, "ec", NOW).certificate
    assert (common_name(certificate), alternative_names(certificate)) == ("server", [host])


def test_a_server_without_a_name_is_refused() -> None:
    with pytest.raises(CertificateError, match="at least one name"):
        make_server(authority(), [], 1, "ec", NOW)


@given(st.lists(st.sets(st.integers(1, 2**159 - 1), max_size=5), max_size=5))
@settings(max_examples=30, deadline=None)
def test_a_revocation_list_holds_all_that_was_ever_revoked_under_a_higher_number_each_time(
    rounds: list[set[int]],
) -> None:
    revoked, numbers = None, []
    for serial_numbers in rounds:
        revoked = make_revocation_list(authority(), serial_numbers, NOW, revoked)
        numbers.append(revoked.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)
        assert revoked.is_signature_valid(authority().key.public_key())
    assert numbers == list(range(1, len(rounds) + 1))
    if revoked is not None:
        assert {entry.serial_number for entry in revoked} == set().union(*rounds)


def test_a_certificate_keeps_the_day_on_which_it_was_first_revoked() -> None:
    first = make_revocation_list(authority(), [7], NOW)
    second = make_revocation_list(authority(), [7, 8], NOW + timedelta(days=3), first)
    assert {entry.serial_number: (entry.revocation_date_utc - NOW).days for entry in second} == {7: -1, 8: 2}


def test_addresses_are_compared_as_addresses() -> None:
    names = make_server(authority(), ["::1", "0:0::1"], 1, "ec", NOW).certificate.extensions
    assert names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("::1")
    ]
