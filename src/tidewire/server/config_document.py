"""What do file and environment say together, where does each word of it stand, and what is wrong with it?"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec

from tidewire.server.toml_lines import Place

_MESSAGE: Final = re.compile(r" - at `.*`$")
_WORDS: Final = {
    "`int`": "a whole number",
    "`float`": "a number",
    "`int | float`": "a number",
    "`str`": "a text",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "a table",
    " | null": "",
}


TELLING: Final = 3
"""Characters of a value by which a message can be told to be about it: shorter ones stand in any."""


@dataclass
class Document:
    """The values of a configuration, before they are held against their types."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Place, str] = field(default_factory=dict)
    """Where a value stands: `broker.toml, line 3`, or `TIDEWIRE_PORT`."""
    name: str = "the configuration"
    """Where it stands if nothing else is known."""

    def origin(self, place: Place) -> str:
        """Where a value stands, or else what it belongs to."""
        while place and place not in self.origins:
            place = place[:-1]
        return self.origins.get(place, self.name)

    def fault(self, place: Place, message: str) -> str:
        """One line about a value."""
        key = written(place)
        return f"{self.origin(place)}: {key}: {message}" if key else f"{self.origin(place)}: {message}"

    def place_of(self, text: str) -> Place:
        """The key that a text is about, as it names its value: the longest one that does; () if none does."""
        named = [(len(value), place) for place, value in _texts(self.values) if len(value) >= TELLING and value in text]
        return max(named, key=lambda found: found[0], default=(0, ()))[1]


def written(place: Place) -> str:
    """A place as people write it: `listener.1.tls.key`; elements are counted from 1."""
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in place)


def faults(kind: Any, value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """What is wrong with a value that should be of a type, all of it, and where."""
    inner = _without_none(kind)
    if is_table(inner):
        yield from _table_faults(inner, value, place)
    elif get_origin(inner) is list and isinstance(value, list):
        for number, element in enumerate(value):
            yield from faults(get_args(inner)[0], element, (*place, number))
    elif get_origin(inner) is list and is_table(get_args(inner)[0]):
        yield place, f"there may be many of it; write [[{written(place)}]]"
    elif get_origin(inner) is dict and isinstance(value, dict):
        for name, element in value.items():
            yield from faults(get_args(inner)[1], element, (*place, name))
    else:
        try:
            msgspec.convert(value, inner)
        except msgspec.ValidationError as error:
            yield place, _plainly(str(error), inner, value)


def is_table(kind: Any) -> bool:
    """Whether a type is one of our tables."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def field_of(kind: Any, name: str) -> Any:
    """The type of a key of a table; None where it has no such key."""
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    known = {each.encode_name: each.type for each in msgspec.structs.fields(kind)}
    return _without_none(known[name]) if name in known else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """The known name that somebody who wrote another one may have meant."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _table_faults(kind: Any, value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if not isinstance(value, dict):
        yield place, "this is a table of keys"
        return
    fields = {each.encode_name: each for each in msgspec.structs.fields(kind)}
    for name in value:
        if name not in fields:
            yield (*place, name), f"there is no such key{suggestion(name, fields)}"
    for name, each in fields.items():
        if name in value:
            yield from faults(each.type, value[name], (*place, name))
        elif each.required:
            yield place, f"{name} is missing"


def _without_none(kind: Any) -> Any:
    """The type without what a file cannot say."""
    if get_origin(kind) in (Union, types.UnionType):
        others = [each for each in get_args(kind) if each is not type(None)]
        return others[0] if len(others) == 1 else kind
    return kind


def _plainly(message: str, kind: Any, value: Any) -> str:
    """msgspec's message in the words of TOML, and what could be said instead."""
    choices = [choice for choice in get_args(kind) if isinstance(choice, str)] if get_origin(kind) is Literal else []
    if choices:
        listed = ", ".join(f'"{choice}"' for choice in choices)
        return f"{value!r} is none of {listed}{suggestion(str(value), choices)}"
    message = _MESSAGE.sub("", message)
    bound = re.search(r"(<=|>=|<|>) (\S+)$", message)
    if bound is not None:
        words = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}
        return f"{value!r} must be {words[bound[1]]} {bound[2]}"
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    return message[:1].lower() + message[1:]


def _texts(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict | list):
        for name, element in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(element, (*place, name))
