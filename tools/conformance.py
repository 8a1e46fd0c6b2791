"""Write docs/conformance.md: every normative statement of MQTT 3.1.1 and 5.0, and the test that shows it.

    python tools/conformance.py            write the document
    python tools/conformance.py --check    say whether the one on disk is right

A test belongs to a statement by its name: `test_v311_3_1_0_1_…` shows statement 3.1.0-1 of MQTT 3.1.1, and
`test_v5_3_1_0_1_…` that of MQTT 5.0. Both forms exit with 1 and one line when a statement that binds a server has no
test, or a test names a statement that there is not.
"""

import argparse
import ast
import csv
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "conformance"
DOCUMENT = ROOT / "docs" / "conformance.md"
PAHO = TESTS / "paho.md"

VERSIONS = {"v311": "3.1.1", "v5": "5.0"}
TEST_NAME = re.compile(r"test_(v311|v5)_(\d+)_(\d+)_(\d+)_(\d+)_")
NAMED_AT_ONCE = 8
"""Statements that a fault names before it only counts them."""

HEAD = """\
# Conformance

The specifications of MQTT 3.1.1 and 5.0 number each of their normative statements. Below stands every one of them in
our words, with the test that shows that the broker keeps it. `make test` runs these tests, together with one that
fails when a statement has no test or this page is out of date.

This page is generated: `python tools/conformance.py` writes it.
"""
CLIENT_HEAD = "These statements bind clients; those of ours are in `tests/client`."
UNSERVED_HEAD = "These statements concern what is not served yet."


@dataclass
class Statement:
    """One normative statement, and what is known about it."""

    version: str
    number: str
    binds: str
    summary: str
    tests: list[str] = field(default_factory=list)
    unserved: str = ""
    """Why there is no test."""

    def __str__(self) -> str:
        return f"{self.version} [{self.number}]"


class Fault(Exception):
    """The statements and the tests do not agree; the text is one line."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Write docs/conformance.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 unless the document is right")
    check = parser.parse_args().check
    try:
        statements = read_statements()
        document = render(statements)
        if not check:
            DOCUMENT.parent.mkdir(exist_ok=True)
            DOCUMENT.write_text(document, encoding="utf-8")
        require_tests(statements)
        if check and (not DOCUMENT.exists() or DOCUMENT.read_text(encoding="utf-8") != document):
            raise Fault(f"{shown(DOCUMENT)} is out of date. Run: python tools/conformance.py")
    except Fault as fault:
        sys.exit(f"conformance: {fault}")


def read_statements() -> list[Statement]:
    """The statements in the order of their table, with their tests."""
    statements = [
        Statement(version, number, binds, summary) for version, number, binds, summary in rows("statements.tsv")
    ]
    known = {(statement.version, statement.number): statement for statement in statements}
    for version, number, why in rows("unserved.tsv"):
        if (version, number) not in known:
            raise Fault(f"unserved.tsv names {version} [{number}], which statements.tsv does not have")
        known[version, number].unserved = why
    for path in sorted(TESTS.glob("test_*.py")):
        for name in functions(path):
            identified = identify(name)
            if identified is None:
                continue
            statement = known.get(identified)
            if statement is None:
                version, number = identified
                raise Fault(f"{shown(path)}: {name} names {version} [{number}], which statements.tsv does not have")
            if statement.binds == "client":
                raise Fault(f"{shown(path)}: {name} names {statement}, which binds clients only")
            if statement.unserved:
                raise Fault(f"{shown(path)}: {name} shows {statement}, which unserved.tsv names as well")
            statement.tests.append(f"{path.name}::{name}")
    return statements


def rows(name: str) -> list[list[str]]:
    """The rows of a table below its head."""
    with (TESTS / name).open(encoding="utf-8", newline="") as table:
        return list(csv.reader(table, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def functions(path: Path) -> list[str]:
    """The names of the tests in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_v")]


def identify(name: str) -> tuple[str, str] | None:
    """(version, number) of the statement that a test's name begins with."""
    found = TEST_NAME.match(name)
    if found is None:
        return None
    version, chapter, section, subsection, number = found.groups()
    return VERSIONS[version], f"{chapter}.{section}.{subsection}-{number}"


def require_tests(statements: list[Statement]) -> None:
    """Raise Fault unless each statement that binds a server has its test."""
    bare = [str(statement) for statement in statements if is_bare(statement)]
    if bare:
        more = f" and {len(bare) - NAMED_AT_ONCE} more" if len(bare) > NAMED_AT_ONCE else ""
        raise Fault(f"no test shows {', '.join(bare[:NAMED_AT_ONCE])}{more}")


def is_bare(statement: Statement) -> bool:
    return statement.binds != "client" and not statement.tests and not statement.unserved


def render(statements: list[Statement]) -> str:
    """The whole document."""
    serving = [statement for statement in statements if statement.binds != "client" and not statement.unserved]
    unserved = [statement for statement in statements if statement.unserved]
    client = [statement for statement in statements if statement.binds == "client"]
    parts = [
        HEAD,
        table(["MQTT", "statements", "shown by a test", "not served yet", "bind clients only"], counts(statements)),
    ]
    if PAHO.exists():
        parts.append(PAHO.read_text(encoding="utf-8").strip() + "\n")
    for version in VERSIONS.values():
        parts.append(f"## MQTT {version}\n")
        lines = [
            [statement.number, statement.summary, statement.binds, tests_of(statement)]
            for statement in serving
            if statement.version == version
        ]
        parts.append(table(["number", "statement", "binds", "test"], lines))
    if unserved:
        parts.append(f"## Not served yet\n\n{UNSERVED_HEAD}\n")
        lines = [[entry.version, entry.number, entry.summary, entry.unserved] for entry in unserved]
        parts.append(table(["MQTT", "number", "statement", "why"], lines))
    parts.append(f"## Clients only\n\n{CLIENT_HEAD}\n")
    parts.append(
        table(["MQTT", "number", "statement"], [[entry.version, entry.number, entry.summary] for entry in client])
    )
    return "\n".join(parts)


def counts(statements: list[Statement]) -> list[list[str]]:
    """One row a version."""
    lines = []
    for version in VERSIONS.values():
        own = [statement for statement in statements if statement.version == version]
        tested = sum(1 for statement in own if statement.tests)
        unserved = sum(1 for statement in own if statement.unserved)
        client = sum(1 for statement in own if statement.binds == "client")
        lines.append([version, str(len(own)), str(tested), str(unserved), str(client)])
    return lines


def tests_of(statement: Statement) -> str:
    """Links to the tests of a statement."""
    return (
        "<br>".join(f"[`{test}`](../tests/conformance/{test.partition('::')[0]})" for test in statement.tests) or "none"
    )


def table(head: list[str], lines: list[list[str]]) -> str:
    """A table of Markdown."""
    rule = ["---"] * len(head)
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in [head, rule, *lines])


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


if __name__ == "__main__":
    main()
