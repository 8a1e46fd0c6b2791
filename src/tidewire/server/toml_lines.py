"""On which line of a TOML text does each key stand? `tomllib` reads the values, and forgets where they were."""

from __future__ import annotations

import re
import tomllib
from typing import Final

Place = tuple[str | int, ...]
"""The way to a value: names of keys, and numbers of elements from 0: `("listener", 0, "tls", "key")`."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY: Final = re.compile(r"""[ \t]*("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*(\.?)""")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r"""|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""",
    re.DOTALL,
)
_BARE: Final = re.compile(r"[^,\]}#\n]+")


def lines_of(text: str) -> dict[Place, int]:
    """The line, from 1, of every key, table and element of a text that `tomllib` has read."""
    return _Scanner(text).lines


class _Scanner:
    """Walks over a document that is known to be right."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self._text = text.replace("\r\n", "\n")
        self._counts: dict[Place, int] = {}
        """Elements of arrays of tables so far."""
        self._position = 0
        self._counted_to = 0
        self._line = 1
        self._document()

    def _document(self) -> None:
        table: Place = ()
        while self._next():
            if self._text.startswith("[[", self._position):
                array = self._inner(self._key(2))
                number = self._counts[array] = self._counts.get(array, -1) + 1
                table = (*array, number)
                self.lines.setdefault(array, self._line_here())
                self.lines[table] = self._line_here()
                self._position += 2
            elif self._text[self._position] == "[":
                table = self._inner(self._key(1))
                self.lines[table] = self._line_here()
                self._position += 1
            else:
                self._assignment(table)

    def _inner(self, names: Place) -> Place:
        """The table that a header names: of an array of tables, the newest one."""
        place: Place = ()
        for name in names:
            if place in self._counts:
                place = (*place, self._counts[place])
            place = (*place, name)
        return place

    def _assignment(self, table: Place) -> None:
        line = self._line_here()
        names = self._key()
        for depth in range(len(names)):
            self.lines.setdefault(table + names[: depth + 1], line)
        self._position += 1  # =
        self._value(table + names)

    def _key(self, skipped: int = 0) -> Place:
        self._position += skipped
        names: list[str | int] = []
        dot = "."
        while dot:
            match = _KEY.match(self._text, self._position)
            assert match is not None
            name, dot = match.groups()
            names.append(_unquoted(name))
            self._position = match.end()
        return tuple(names)

    def _value(self, place: Place) -> None:
        self._next()
        opening = self._text[self._position]
        if opening in "[{":
            self._position += 1
            number = 0
            while self._next() not in ("]", "}"):
                if self._text[self._position] == ",":
                    self._position += 1
                elif opening == "{":
                    self._assignment(place)
                else:
                    self.lines[*place, number] = self._line_here()
                    self._value((*place, number))
                    number += 1
            self._position += 1
            return
        match = (_STRING if opening in "\"'" else _BARE).match(self._text, self._position)
        assert match is not None
        self._position = match.end()

    def _next(self) -> str:
        """Go to what comes after spaces, ends of lines and comments; empty at the end."""
        match = _BLANK.match(self._text, self._position)
        assert match is not None
        self._position = match.end()
        return self._text[self._position : self._position + 1]

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._position)
        self._counted_to = self._position
        return self._line


def _unquoted(name: str) -> str:
    return next(iter(tomllib.loads(f"{name} = 0"))) if name[0] in "\"'" else name
