"""Does `[access]` become the policy that it describes, and is everything wrong with it said in one line?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.process import BrokerProcess
from tidewire.access.passwords import set_password
from tidewire.access.rules import Rule
from tidewire.server.access_config import AccessConfig, AccessFault, make_policy
from tidewire.server.config import Config, ConfigError, check_exposure


def config(**values: Any) -> AccessConfig:
    return msgspec.convert(values, AccessConfig)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A file of each kind: kind → path."""
    set_password(tmp_path / "passwords", "alice", b"secret")
    (tmp_path / "acl").write_text("topic read news/#\npattern write boards/%c\n")
    (tmp_path / "secret").write_bytes(b"0123456789abcdef0123456789abcdef")
    (tmp_path / "keys.json").write_text('{"keys": []}')
    (tmp_path / "empty").write_text("")
    return {path.name: str(path) for path in tmp_path.iterdir()}


def test_nothing_said_lets_everybody_do_everything() -> None:
    policy = make_policy(AccessConfig())
    assert policy.anonymous
    assert not policy.restricted
    assert policy.in_force == [
        "who may connect: anonymous clients",
        "who may do what: there are no rules, so every client may publish and subscribe to everything",
    ]


def test_rules_of_the_file_and_of_the_access_list_are_in_force_together(files: dict[str, str]) -> None:
    rules = [
        {"effect": "allow", "topic": "a/%u", "action": "write"},
        {"effect": "deny", "topic": "b", "action": "read", "user": "alice"},
        {"effect": "allow", "topic": "c", "anonymous": True},
    ]
    policy = make_policy(config(rules=rules, acl_file=files["acl"], password_file=files["passwords"]))
    assert policy.rules.rules[:3] == (
        Rule("allow", "publish", b"a/%u"),
        Rule("deny", "subscribe", b"b", "alice"),
        Rule("allow", "all", b"c", anonymous=True),
    )
    assert [rule.origin for rule in policy.rules.rules] == [
        "access.rules, rule 1",
        "access.rules, rule 2",
        "access.rules, rule 3",
        f"{files['acl']}, line 1",
        f"{files['acl']}, line 2",
    ]
    assert policy.in_force == [
        f"who may connect: 1 users of {files['passwords']}",
        f"who may do what: 3 rules of the configuration, 2 rules of {files['acl']}; what none of them allows is denied",
    ]


@pytest.mark.parametrize(
    ("values", "restricted", "anonymous"),
    [
        ({}, False, True),
        ({"password_file": "passwords"}, False, False),
        ({"password_file": "passwords", "anonymous": True}, False, True),
        ({"acl_file": "empty"}, True, True),
        ({"jwt": {"secret_file": "secret"}}, True, False),
        ({"http": {"url": "https://id.example/"}}, True, False),
        ({"http": {"url": "https://id.example/", "authenticate": False}}, True, True),
    ],
)
def test_what_is_denied_unless_allowed_and_who_is_let_in(
    files: dict[str, str], values: dict[str, Any], restricted: bool, anonymous: bool
) -> None:
    def placed(value: Any) -> Any:
        return {k: placed(v) for k, v in value.items()} if isinstance(value, dict) else files.get(value, value)

    policy = make_policy(config(**placed(values)))
    assert (policy.restricted, policy.anonymous) == (restricted, anonymous)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rules": [{"effect": "allow", "topic": "a/#/b"}]}, "access.rules, rule 1: # must be the whole last level"),
        ({"rules": [{"effect": "allow", "topic": "$share/g/a"}]}, "write the filter without $share/NAME/"),
        ({"rules": [{"effect": "deny", "topic": "a"}]}, "access.rules allow nothing; add at least one"),
        (
            {"rules": [{"effect": "allow", "topic": "a", "user": "x", "anonymous": True}]},
            "for x or for anonymous clients, not for both",
        ),
        ({"password_file": "/none"}, "cannot read the password file /none: No such file"),
        ({"acl_file": "/none"}, "cannot read the access list /none: No such file"),
        ({"jwt": {}}, "access.jwt needs one of secret_file, public_key_file and key_set"),
        ({"jwt": {"secret_file": "a", "key_set": "b"}}, "access.jwt needs one of"),
        ({"jwt": {"secret_file": "/none"}}, "cannot read the secret /none"),
        ({"jwt": {"public_key_file": "/none"}}, "cannot read the public key /none"),
        ({"jwt": {"key_set": "/none"}}, "cannot read the key set /none"),
        ({"jwt": {"key_set": "http://id.example/keys"}}, "could be changed on its way; use https://"),
        ({"http": {"url": "id.example"}}, "does not begin with https:// or http://"),
        ({"http": {"url": "http://id.example/"}}, "passwords would travel to http://id.example/"),
        ({"http": {"url": "https://id.example/", "ca_file": "/none"}}, "cannot read access.http.ca_file /none"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(AccessFault) as raised:
        make_policy(config(**values))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/x", "http://[::1]/x", "http://localhost/x", "https://id.example/x"]
)
def test_a_service_that_nobody_can_listen_to_needs_no_permission(url: str) -> None:
    assert make_policy(config(http={"url": url})).call_out is not None
    assert make_policy(config(http={"url": "http://auth/", "allow_plain": True})).call_out is not None


def test_whatever_proves_names_is_enough_to_listen_on_every_address(files: dict[str, str]) -> None:
    for access in (
        config(password_file=files["passwords"]),
        config(jwt={"secret_file": files["secret"]}),
        config(http={"url": "https://id.example/"}),
    ):
        check_exposure(Config(bind=["0.0.0.0"], access=access))
    for access in (config(), config(acl_file=files["acl"]), config(http={"url": "https://x/", "authenticate": False})):
        with pytest.raises(ConfigError, match="refusing to listen on"):
            check_exposure(Config(bind=["0.0.0.0"], access=access))


def test_the_log_says_at_the_start_what_is_in_force(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "broker.toml").write_text(f'port = 0\n[access]\nacl_file = "{files["acl"]}"\n')
    with BrokerProcess("--config", tmp_path / "broker.toml") as broker:
        assert broker.lines_with("access:") == [
            "access: who may connect: anonymous clients",
            f"access: who may do what: 2 rules of {files['acl']}; what none of them allows is denied",
        ]
