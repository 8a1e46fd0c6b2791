"""Does `tidewire access` say which rule decides, and which expectations the rules do not meet?"""

from __future__ import annotations

import time
from pathlib import Path

import jwt
import pytest

from tests.access.web_service import WebService
from tests.cli.running import run

RULES = """
[access]
acl_file = "{directory}/acl"

[[access.rules]]
effect = "allow"
action = "write"
topic = "boards/%c/#"

[[access.rules]]
effect = "deny"
topic = "boards/+/locked"

[[access.rules]]
effect = "allow"
action = "read"
topic = "#"
user = "admin"
"""

ACL = """\
topic read news/#
user alice
topic people/alice/#
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "acl").write_text(ACL)
    file = tmp_path / "broker.toml"
    file.write_text(RULES.format(directory=tmp_path))
    return file


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["-u", "alice", "-i", "7", "publish", "boards/7/state"],
            [
                "allowed: alice, client 7, publish boards/7/state",
                "  access.rules, rule 1: allow publish boards/%c/# for everybody",
            ],
        ),
        (
            ["--user", "alice", "--client", "7", "publish", "boards/7/locked"],
            [
                "denied: alice, client 7, publish boards/7/locked",
                "  access.rules, rule 2: deny all boards/+/locked for everybody",
            ],
        ),
        (
            ["-u", "alice", "publish", "people/alice/x"],
            [
                "allowed: alice publish people/alice/x",
                "  {acl}, line 3: allow all people/alice/# for alice",
                "  note: %c matches nothing here: this client identifier is missing, or has a /, + or #",
            ],
        ),
        (
            ["-i", "x", "subscribe", "news/today"],
            [
                "allowed: an anonymous client, client x, subscribe news/today",
                "  {acl}, line 1: allow subscribe news/# for anonymous clients",
            ],
        ),
        (
            ["-i", "x", "-u", "alice", "subscribe", "news/today"],
            ["denied: alice, client x, subscribe news/today", "  no rule allows it"],
        ),
        (
            ["-i", "+", "publish", "boards/7/state"],
            [
                "denied: an anonymous client, client +, publish boards/7/state",
                "  no rule allows it",
                "  note: %c matches nothing here: this client identifier is missing, or has a /, + or #",
            ],
        ),
        (
            ["-u", "admin", "-i", "x", "publish", "$SYS/broker/version"],
            [
                "denied: admin, client x, publish $SYS/broker/version",
                "  nobody may publish below $SYS/, whatever the rules say",
            ],
        ),
        (
            ["-u", "admin", "-i", "x", "subscribe", "boards/7/state"],
            [
                "allowed: admin, client x, subscribe boards/7/state",
                "  access.rules, rule 3: allow subscribe # for admin",
            ],
        ),
        (
            ["-u", "admin", "-i", "x", "subscribe", "$share/g/news/+"],
            [
                "allowed: admin, client x, subscribe $share/g/news/+",
                "  access.rules, rule 3: allow subscribe # for admin",
            ],
        ),
        (
            ["-u", "admin", "-i", "x", "subscribe", "boards/#"],
            [
                "allowed: admin, client x, subscribe boards/#",
                "  the subscription is granted, and its messages are filtered",
                "  delivered: access.rules, rule 3: allow subscribe # for admin",
                "  withheld: access.rules, rule 2: deny all boards/+/locked for everybody",
            ],
        ),
        (
            ["-i", "x", "subscribe", "#"],
            [
                "allowed: an anonymous client, client x, subscribe #",
                "  the subscription is granted, and its messages are filtered",
                "  delivered: {acl}, line 1: allow subscribe news/# for anonymous clients",
                "  withheld: access.rules, rule 2: deny all boards/+/locked for everybody",
            ],
        ),
        (
            ["-u", "admin", "-i", "x", "subscribe", "boards/+/locked"],
            [
                "denied: admin, client x, subscribe boards/+/locked",
                "  rules deny whatever others allow of it",
                "  access.rules, rule 2: deny all boards/+/locked for everybody",
            ],
        ),
        (
            ["-u", "alice", "-i", "x", "subscribe", "boards/#"],
            ["denied: alice, client x, subscribe boards/#", "  no rule allows it"],
        ),
    ],
)
def test_the_rule_that_decides_is_named_with_its_place(config: Path, arguments: list[str], said: list[str]) -> None:
    result = run("access", "explain", "--config", config, *arguments)
    assert result.output.splitlines() == [line.format(acl=config.parent / "acl") for line in said]
    assert result.exit_code == (0 if said[0].startswith("allowed") else 1)


def test_without_rules_everything_is_allowed_and_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "broker.toml").write_text("")
    result = run("access", "explain", "-c", tmp_path / "broker.toml", "publish", "a")
    assert (result.exit_code, result.output.splitlines()[1]) == (0, "  there are no rules, so everything is allowed")


def test_where_no_rule_decides_it_says_who_is_asked(tmp_path: Path) -> None:
    with WebService() as service:
        (tmp_path / "broker.toml").write_text(f'[access.http]\nurl = "{service.url}"\n')
        for words in (("publish", "a"), ("subscribe", "a"), ("subscribe", "#")):
            result = run("access", "explain", "-c", tmp_path / "broker.toml", *words)
            assert result.output.splitlines()[1] == f"  no rule decides, so {service.url} is asked"
            assert result.exit_code == 1
        assert service.requests == []


SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def jwt_config(config: Path) -> Path:
    """The same rules, and tokens."""
    (config.parent / "secret").write_bytes(SECRET)
    text = config.read_text() + f'\n[access.jwt]\nsecret_file = "{config.parent}/secret"\n'
    config.write_text(text)
    return config


def token(expires_in_s: int = 3600, secret: bytes = SECRET) -> str:
    """A token of alice."""
    claims = {
        "sub": "alice",
        "exp": int(time.time()) + expires_in_s,
        "publish": ["lamps/hall", "boards/+/locked", "lamps/%c"],
        "subscribe": ["lamps/#", "boards/#"],
    }
    return jwt.encode(claims, secret, "HS256")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["-i", "7", "publish", "lamps/7"],
            ["allowed: alice, client 7, publish lamps/7", "  token of alice, publish 3: allow publish lamps/%c"],
        ),
        (
            ["publish", "lamps/hall"],
            [
                "allowed: alice publish lamps/hall",
                "  token of alice, publish 1: allow publish lamps/hall",
                "  note: %c matches nothing here: this client identifier is missing, or has a /, + or #",
            ],
        ),
        (
            ["-i", "7", "publish", "boards/7/locked"],
            [
                "denied: alice, client 7, publish boards/7/locked",
                "  access.rules, rule 2: deny all boards/+/locked",
            ],
        ),
        (
            ["-i", "7", "publish", "people/alice/x"],
            ["allowed: alice, client 7, publish people/alice/x", "  {acl}, line 3: allow all people/alice/#"],
        ),
        (["-i", "7", "publish", "lamps/8"], ["denied: alice, client 7, publish lamps/8", "  no rule allows it"]),
        (
            ["-i", "7", "subscribe", "lamps/+"],
            ["allowed: alice, client 7, subscribe lamps/+", "  token of alice, subscribe 1: allow subscribe lamps/#"],
        ),
        (
            ["-i", "7", "subscribe", "boards/#"],
            [
                "allowed: alice, client 7, subscribe boards/#",
                "  the subscription is granted, and its messages are filtered",
                "  delivered: token of alice, subscribe 2: allow subscribe boards/#",
                "  withheld: access.rules, rule 2: deny all boards/+/locked",
            ],
        ),
    ],
)
def test_the_rules_of_a_token_stand_beside_those_of_the_configuration(
    jwt_config: Path, arguments: list[str], said: list[str]
) -> None:
    result = run("access", "explain", "--config", jwt_config, "--token", token(), *arguments)
    lines = [line.removesuffix(" for everybody").removesuffix(" for alice") for line in result.output.splitlines()]
    assert lines == [line.format(acl=jwt_config.parent / "acl") for line in said]
    assert result.exit_code == (0 if said[0].startswith("allowed") else 1)


@pytest.mark.parametrize(
    ("shown", "why"),
    [(token(expires_in_s=-60), "Signature has expired"), (token(secret=SECRET[::-1]), "Signature verification failed")],
    ids=["expired", "of a stranger"],
)
def test_of_a_token_that_a_broker_would_refuse_it_says_why(jwt_config: Path, shown: str, why: str) -> None:
    result = run("access", "explain", "-c", jwt_config, "--token", shown, "publish", "lamps/hall")
    assert result.exit_code == 1
    assert result.output.splitlines() == ["denied: who shows this token may not connect", f"  {why}"]


def test_a_token_that_cannot_be_looked_at_is_one_clear_line_with_the_mend(jwt_config: Path) -> None:
    for options, said in (
        (["-c", jwt_config, "-u", "alice", "--token", token()], "leave out --user"),
        (["-c", jwt_config, "--token", "secret"], "is no signed JSON Web Token"),
        (["-c", jwt_config, "--token", "ey\udcff.a.b"], "is no signed JSON Web Token"),
        (["--acl-file", jwt_config.parent / "acl", "--token", token()], "needs [access.jwt]"),
    ):
        result = run("access", "explain", *options, "publish", "lamps/hall")
        assert (result.exit_code, result.output.count("\n")) == (2, 1), result.output
        assert said in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["publish", "a/#"], "must not contain a wildcard"),
        (["subscribe", "a/#/b"], "# must be the whole last level"),
        (["publish", "a/\udcff"], "is not UTF-8 text"),
        (["-u", "\udcff", "publish", "a"], "is not UTF-8 text"),
        (["read", "a"], "'read' is not one of 'publish', 'subscribe'"),
        (["publish"], "Missing argument 'TOPIC'"),
    ],
)
def test_a_question_that_is_none_is_one_clear_line(config: Path, arguments: list[str], said: str) -> None:
    result = run("access", "explain", "--config", config, *arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert result.output.count("\n") == 1


def test_it_needs_to_know_where_the_rules_are(tmp_path: Path, config: Path) -> None:
    for options, said in (
        ([], "say where the rules are"),
        (["-c", config, "--acl-file", tmp_path / "acl"], "say where the rules are"),
        (["-c", tmp_path / "none.toml"], "cannot read"),
        (["--acl-file", tmp_path / "none"], "cannot read the access list"),
    ):
        result = run("access", "explain", *options, "publish", "a")
        assert (result.exit_code, result.output.count("\n")) == (2, 1)
        assert said in result.output


EXPECTATIONS = """\
# boards
allow -u alice -i 7 publish boards/7/state
deny --user alice --client 8 publish boards/7/state

allow subscribe news/#
deny --user "bob the builder" subscribe 'people/#'
"""


def test_expectations_that_hold_are_counted(tmp_path: Path, config: Path) -> None:
    (tmp_path / "expected").write_text(EXPECTATIONS)
    result = run("access", "test", "--config", config, tmp_path / "expected")
    assert (result.exit_code, result.output) == (0, "4 of 4 expectations hold\n")


def test_each_expectation_that_does_not_hold_is_named_with_its_line_and_the_reason(
    tmp_path: Path, config: Path
) -> None:
    file = tmp_path / "expected"
    file.write_text(EXPECTATIONS + "allow publish a\ndeny -i 7 publish boards/7/x\n")
    result = run("access", "test", "--config", config, file)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{file}, line 7: should be allowed: an anonymous client publish a; no rule allows it",
        f"{file}, line 8: should be denied: an anonymous client, client 7, publish boards/7/x; "
        "access.rules, rule 1: allow publish boards/%c/# for everybody",
        "4 of 6 expectations hold",
    ]


def test_a_list_of_mosquitto_can_be_tested_alone(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text(ACL)
    (tmp_path / "expected").write_text("allow subscribe news/x\ndeny publish news/x\n")
    result = run("access", "test", "--acl-file", tmp_path / "acl", tmp_path / "expected")
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("permit publish a", "'permit' is not allow or deny"),
        ("allow publish", "expected allow|deny"),
        ("allow read a", "expected allow|deny"),
        ("allow publish a b", "expected allow|deny"),
        ("allow publish a/#", "must not contain a wildcard"),
        ("allow publish 'a", "No closing quotation"),
    ],
)
def test_a_line_that_is_no_expectation_is_named(tmp_path: Path, config: Path, line: str, said: str) -> None:
    (tmp_path / "expected").write_text(f"# first\n{line}\n")
    result = run("access", "test", "-c", config, tmp_path / "expected")
    assert result.exit_code == 2
    assert f"{tmp_path}/expected, line 2: " in result.output
    assert said in result.output
    assert result.output.count("\n") == 1


def test_a_file_without_expectations_is_no_success(tmp_path: Path, config: Path) -> None:
    (tmp_path / "expected").write_text("# none\n")
    for file in (tmp_path / "expected", tmp_path / "missing"):
        assert run("access", "test", "-c", config, file).exit_code == 2
