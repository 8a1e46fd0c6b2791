"""Is the first configuration file one that the broker reads as it was meant?"""

from __future__ import annotations

import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.first_configuration import first_configuration, text, tls_listener


@given(st.text())
def test_any_text_is_read_back_from_toml_as_it_was(value: str) -> None:
    assert tomllib.loads(f"a = {text(value)}")["a"] == value


def test_a_listener_names_files_where_they_are_from_everywhere(tmp_path: Path) -> None:
    place = CertificateDirectory(tmp_path / "here" / ".." / "certificates")
    assert tomllib.loads(tls_listener(place, 8883)) == {
        "listener": [
            {
                "port": 8883,
                "tls": {
                    "certificate": f"{tmp_path}/certificates/server.pem",
                    "key": f"{tmp_path}/certificates/server.key",
                },
            }
        ]
    }


def test_a_listener_for_clients_with_certificates_names_their_authority_and_its_list(tmp_path: Path) -> None:
    tls = tomllib.loads(tls_listener(CertificateDirectory(tmp_path), 8883, clients_too=True))["listener"][0]["tls"]
    assert tls["client_certificate"] == "required"
    assert (tls["client_ca"], tls["revocation_list"]) == (f"{tmp_path}/ca.pem", f"{tmp_path}/crl.pem")


def test_the_first_file_has_no_way_in_without_tls_and_one_user_who_may_do_everything(tmp_path: Path) -> None:
    read = tomllib.loads(
        first_configuration(CertificateDirectory(tmp_path), 9883, ["0.0.0.0", "::"], tmp_path / "passwords", 'o"b')
    )
    assert read["bind"] == []
    assert [(listener["bind"], listener["port"], "tls" in listener) for listener in read["listener"]] == [
        (["0.0.0.0", "::"], 9883, True)
    ]
    assert read["access"]["password_file"] == f"{tmp_path}/passwords"
    assert {(rule["user"], rule["topic"], rule["effect"]) for rule in read["access"]["rules"]} == {
        ('o"b', "#", "allow"),
        ('o"b', "$SYS/#", "allow"),
    }
