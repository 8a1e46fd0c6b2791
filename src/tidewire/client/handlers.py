"""Topic patterns with named levels, and the handlers behind `@client.on` and `@client.responder`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Final

from tidewire.engine.received import Message

Handler = Callable[..., Any | Awaitable[Any]]

_LEVEL: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:#)?\}")


class Pattern:
    """A topic filter whose wildcards have names: "boards/{board}/altitude", "logs/{rest:#}"; + and # may stay bare."""

    def __init__(self, pattern: str) -> None:
        """Raises ValueError for a name given twice, or one that does not fill its level."""
        share, levels = _split_share(pattern)
        filters: list[str] = []
        self._names: list[tuple[str, int, bool]] = []
        for index, level in enumerate(levels):
            found = _LEVEL.fullmatch(level)
            if found is None:
                if "{" in level or "}" in level:
                    raise ValueError(f"{pattern!r}: a name stands for a whole level, as in boards/{{board}}/altitude")
                filters.append(level)
                continue
            name, rest = found.group(1), found.group(2) is not None
            if name in [known for known, _, _ in self._names]:
                raise ValueError(f"{pattern!r} names two levels {name!r}")
            if rest and index != len(levels) - 1:
                raise ValueError(f"{pattern!r}: {{{name}:#}} stands for all that follows, so it comes last")
            self._names.append((name, index, rest))
            filters.append("#" if rest else "+")
        self.topic_filter = share + "/".join(filters)

    def levels(self, topic: str) -> dict[str, str]:
        """What the named levels are in a topic that the filter matches."""
        parts = topic.split("/")
        return {name: "/".join(parts[index:]) if rest else parts[index] for name, index, rest in self._names}


async def call(handler: Handler, pattern: Pattern, message: Message) -> Any:
    """Call a handler with a message and its named levels, and await it if it is a coroutine."""
    answer = handler(message, **pattern.levels(message.topic))
    return await answer if isawaitable(answer) else answer


def _split_share(pattern: str) -> tuple[str, list[str]]:
    if pattern.startswith("$share/"):
        _, group, rest = pattern.split("/", 2) if pattern.count("/") > 1 else ("", "", "")
        return f"$share/{group}/", rest.split("/")
    return "", pattern.split("/")
