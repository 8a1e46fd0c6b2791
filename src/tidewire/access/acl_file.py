"""Which rules stand in an access list of Mosquitto?

    topic read $SYS/#              # before the first `user`: for anonymous clients
    user alice
    topic readwrite boards/#       # for alice
    pattern write boards/%c/state  # for everybody, with client identifier and user name put in

A line without `read`, `write`, `readwrite` or `deny` allows both. A `#` begins a comment only where a line begins, here
as in Mosquitto.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tidewire.access.rules import Action, Effect, Rule
from tidewire.wire.topics import check_topic_filter

_ACCESS: Final[dict[str, tuple[Effect, Action]]] = {
    "read": ("allow", "subscribe"),
    "write": ("allow", "publish"),
    "readwrite": ("allow", "all"),
    "deny": ("deny", "all"),
}


class AclFileError(ValueError):
    """A line of an access list is not one; the text names file, line and fault."""


def read_acl_file(path: Path) -> list[Rule]:
    """Read an access list. Raises OSError, or AclFileError with the line that is wrong."""
    rules: list[Rule] = []
    user_name: str | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        keyword, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if not keyword or line.startswith("#"):
            continue
        origin = f"{path}, line {number}"
        try:
            if keyword == "user" and rest:
                user_name = rest
            elif keyword in ("topic", "pattern") and rest:
                rules.append(_rule(keyword == "pattern", rest, user_name, origin))
            else:
                raise ValueError("expected user NAME, topic [ACCESS] FILTER or pattern [ACCESS] FILTER")
        except ValueError as error:
            raise AclFileError(f"{origin}: {error}") from None
    return rules


def _rule(is_pattern: bool, text: str, user_name: str | None, origin: str) -> Rule:
    access, _, topic_filter = text.partition(" ")
    if not topic_filter:
        access, topic_filter = "readwrite", text
    if access not in _ACCESS:
        raise ValueError(f"{access!r} is not read, write, readwrite or deny")
    effect, action = _ACCESS[access]
    encoded = topic_filter.strip().encode()
    check_topic_filter(encoded)
    if is_pattern:
        return Rule(effect, action, encoded, origin=origin)
    return Rule(effect, action, encoded, user_name, user_name is None, True, origin)
