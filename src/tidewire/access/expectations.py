"""What should access rules say? A file of expectations, and which of them do not hold.

    # lines that begin with # are comments
    allow --user alice publish boards/7/state
    deny  --user alice --client 7 subscribe boards/#
    deny  publish boards/7/state                 (nobody is named: an anonymous client)

After `allow` or `deny` stands what is typed after `tidewire access explain`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tidewire.access.control import Policy
from tidewire.access.explanation import Case, Explanation, explain
from tidewire.access.rules import Asked

_ACTIONS: Final[dict[str, Asked]] = {"publish": "publish", "subscribe": "subscribe"}
_NAMES: Final = {"--user": "user", "-u": "user", "--client": "client", "-i": "client"}


class ExpectationError(ValueError):
    """A line is no expectation; the text names file, line and fault."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One line."""

    place: str
    """"expected.txt, line 3"."""
    allowed: bool
    case: Case


def read_expectations(path: Path) -> list[Expectation]:
    """Raises OSError or ExpectationError."""
    expectations: list[Expectation] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        place = f"{path}, line {number}"
        try:
            expectations.append(_parse(line, place))
        except ValueError as error:
            raise ExpectationError(f"{place}: {error}") from None
    return expectations


def failures(policy: Policy, expectations: list[Expectation]) -> list[tuple[Expectation, Explanation]]:
    """Those that do not hold, with what is the case. What the call-out would be asked about is not allowed yet."""
    explained = [(expectation, explain(policy, expectation.case)) for expectation in expectations]
    return [pair for pair in explained if pair[1].allowed is not pair[0].allowed]


def _parse(line: str, place: str) -> Expectation:
    words = iter(shlex.split(line))
    effect = next(words, "")
    if effect not in ("allow", "deny"):
        raise ValueError(f"{effect!r} is not allow or deny")
    names: dict[str, str] = {}
    plain: list[str] = []
    for word in words:
        if word not in _NAMES:
            plain.append(word)
        elif (name := next(words, None)) is not None:
            names[_NAMES[word]] = name
    if len(plain) != 2 or plain[0] not in _ACTIONS:
        raise ValueError("expected allow|deny [--user NAME] [--client IDENTIFIER] publish|subscribe TOPIC")
    case = Case(names.get("user"), names.get("client", ""), _ACTIONS[plain[0]], plain[1])
    return Expectation(place, effect == "allow", case)
