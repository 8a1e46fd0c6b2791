"""Is an access list of Mosquitto read as Mosquitto reads it?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tidewire.access.acl_file import AclFileError, read_acl_file
from tidewire.access.rules import Names, Rule, RuleSet, decide

EXAMPLE = """\
# anonymous clients
topic read $SYS/#

user alice
topic boards/#
topic deny boards/secret
topic read a topic with spaces/+

user bob the builder
topic write boards/%c
   topic   readwrite   x

pattern write boards/%c/state
pattern read people/%u/#
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "acl"
    file.write_text(EXAMPLE)
    return file


def test_every_kind_of_line_is_a_rule_that_knows_where_it_stands(path: Path) -> None:
    bob = "bob the builder"
    assert read_acl_file(path) == [
        Rule("allow", "subscribe", b"$SYS/#", None, True, True),
        Rule("allow", "all", b"boards/#", "alice", False, True),
        Rule("deny", "all", b"boards/secret", "alice", False, True),
        Rule("allow", "subscribe", b"a topic with spaces/+", "alice", False, True),
        Rule("allow", "publish", b"boards/%c", bob, False, True),
        Rule("allow", "all", b"x", bob, False, True),
        Rule("allow", "publish", b"boards/%c/state"),
        Rule("allow", "subscribe", b"people/%u/#"),
    ]
    assert [rule.origin for rule in read_acl_file(path)] == [
        f"{path}, line {number}" for number in (2, 5, 6, 7, 10, 11, 13, 14)
    ]


@pytest.mark.parametrize(
    ("user_name", "client", "action", "topic", "allowed"),
    [
        (None, "c", "subscribe", "$SYS/broker", True),
        ("alice", "c", "subscribe", "$SYS/broker", False),
        ("alice", "c", "publish", "boards/1", True),
        ("alice", "c", "subscribe", "boards/secret", False),
        ("alice", "c", "publish", "a topic with spaces/1", False),
        ("carol", "7", "publish", "boards/7/state", True),
        ("carol", "+", "publish", "boards/7/state", False),
        ("carol", "7", "subscribe", "boards/7/state", False),
        ("carol", "7", "subscribe", "people/carol/x", True),
        (None, "7", "subscribe", "people//x", False),
        ("bob the builder", "7", "publish", "boards/7", False),
        ("bob the builder", "7", "publish", "boards/%c", True),
    ],
)
def test_its_rules_decide_as_mosquitto_does(
    path: Path, user_name: str | None, client: str, action: str, topic: str, allowed: bool
) -> None:
    rules = RuleSet(read_acl_file(path))
    rule = decide([rules], Names(user_name, client), action, topic.encode())  # type: ignore[arg-type]
    assert (rule is not None and rule.effect == "allow") == allowed


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("topics read a", "expected user NAME"),
        ("topic", "expected user NAME"),
        ("user", "expected user NAME"),
        ("topic raed a/b", "'raed' is not read, write"),
        ("topic read a/#/b", "# must be the whole last level"),
        ("pattern write a+", r"\+ must be a whole level"),
    ],
)
def test_a_line_that_is_none_is_named_with_its_number(path: Path, line: str, said: str) -> None:
    path.write_text(f"topic read a\n\n{line}\n")
    with pytest.raises(AclFileError, match=f"acl, line 3: .*{said}"):
        read_acl_file(path)
