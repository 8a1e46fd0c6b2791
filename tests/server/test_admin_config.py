"""Is the administration kept from whoever should not have it, and is each mistake told with its mend?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidewire.server.admin_config import (
    AdminConfig,
    admin_faults,
    read_token,
)
from tidewire.server.config import check_config, read_document
from tidewire.server.http_config import HttpConfigFault, check_addresses

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "admin.token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


def test_the_token_is_the_first_line(token_file: Path) -> None:
    token_file.write_text(f"  {TOKEN} \nand a remark\n")
    assert read_token(AdminConfig(str(token_file))) == TOKEN.encode()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_token_file_that_others_may_touch_is_refused_with_its_mend(token_file: Path, mode: int) -> None:
    token_file.chmod(mode)
    with pytest.raises(HttpConfigFault, match=f"mend it: chmod 600 {token_file}$"):
        read_token(AdminConfig(str(token_file)))


@pytest.mark.parametrize("text", ["", "\n", "short", "0123456789abcdef 0123456789abcdef", "é" * 40, "\x07" * 40])
def test_a_token_that_could_be_guessed_or_not_be_sent_is_refused(token_file: Path, text: str) -> None:
    token_file.write_text(text)
    with pytest.raises(HttpConfigFault, match="no token of 32 or more characters without spaces; make one: "):
        read_token(AdminConfig(str(token_file)))


def test_a_token_file_that_is_not_there_is_named_with_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(HttpConfigFault, match=r"cannot read .*none: No such file.*; make one: "):
        read_token(AdminConfig(str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("fields", "key", "mend"),
    [
        ({"bind": ["0.0.0.0"]}, "bind", 'in the clear; add certificate = "FILE.pem"'),
        ({"bind": ["127.0.0.1", "192.0.2.1"]}, "bind", "the token would travel to 192.0.2.1 in the clear"),
        ({"bind": []}, "bind", r'name one: bind = \["127.0.0.1"\]'),
        ({"certificate": "a.pem"}, "key", 'add key = "FILE.pem"'),
        ({"key": "a.pem"}, "certificate", 'add certificate = "FILE.pem"'),
    ],
)
def test_an_address_is_refused_where_the_token_could_be_read(fields: dict[str, Any], key: str, mend: str) -> None:
    with pytest.raises(HttpConfigFault, match=mend) as fault:
        check_addresses(AdminConfig("token", **fields), "the token")
    assert fault.value.key == (key,)


def test_loopback_and_https_are_served(token_file: Path) -> None:
    for config in (
        AdminConfig(str(token_file)),
        AdminConfig(str(token_file), bind=["127.0.0.1", "::1"]),
        AdminConfig(str(token_file), bind=["0.0.0.0"], certificate="a.pem", key="b.pem"),
    ):
        assert list(admin_faults(config)) == []


def test_without_configuration_there_is_nothing_to_check() -> None:
    assert list(admin_faults(None)) == []


def test_a_check_of_the_configuration_names_the_line(tmp_path: Path, token_file: Path) -> None:
    token_file.chmod(0o644)
    file = tmp_path / "broker.toml"
    file.write_text(f'[admin]\nport = 0\ntoken_file = "{token_file}"\nbind = ["192.0.2.1"]\n')
    errors = check_config(read_document(file, {}))
    assert [error.partition(": ")[0] for error in errors] == [f"{file}, line 3", f"{file}, line 4"]
    assert "chmod 600" in errors[0]
