"""What do the TIDEWIRE_… variables of the environment say? For containers, in which a file is not easily changed.

`TIDEWIRE_ACCESS__PASSWORD_FILE` is `password_file` in `[access]`: two underscores go a table deeper, and into an array
of tables by number: `TIDEWIRE_LISTENER__1__PORT` is the port of the first `[[listener]]`. Commas separate a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, get_args, get_origin

import msgspec

from tidewire.server.config_document import Document, field_of, is_table, suggestion
from tidewire.server.toml_lines import Place

PREFIX: Final = "TIDEWIRE_"

ELEMENTS: Final = 1000
"""Tables of an array that the environment may name: more listeners or rules than anybody writes there."""

OTHERS: Final = re.compile(r"TIDEWIRE_(PURE|FAULT_\w+|FUZZ_\w+|CHAOS_\w+)")
"""Variables that say something else: of the form that runs, and of the test suite."""


def apply(document: Document, kind: Any, environment: Mapping[str, str]) -> None:
    """Let the environment win over what the document says. What it says wrong is found as it is in a file."""
    for name, place, kind_there in sorted(_known(kind, environment), key=lambda found: _order(found[1])):
        if _is_service_link(name, environment[name]):
            continue
        if _put(document.values, place, _value(environment[name], kind_there)):
            document.origins[place] = name


def unknown(kind: Any, environment: Mapping[str, str]) -> list[str]:
    """A line for each variable that says nothing to us."""
    known = {name for name, _, _ in _known(kind, environment)}
    names = set(_names(kind))
    told = []
    for name, value in sorted(environment.items()):
        if not name.startswith(PREFIX) or OTHERS.fullmatch(name):
            continue
        if _is_service_link(name, value):
            told.append(f"{name}={value} is not for us: Kubernetes sets it for a service of that name; it is left out")
        elif name not in known:
            told.append(f"{name} is no key of the configuration{suggestion(name, names)}")
    return told


def _known(kind: Any, environment: Mapping[str, str]) -> Iterator[tuple[str, Place, Any]]:
    """Variables that are keys: name, place and type."""
    for name in environment:
        if name.startswith(PREFIX) and not OTHERS.fullmatch(name):
            found = _resolve(kind, name.removeprefix(PREFIX).split("__"))
            if found is not None:
                yield name, *found


def _resolve(kind: Any, parts: list[str]) -> tuple[Place, Any] | None:
    place: Place = ()
    for part in parts:
        if get_origin(kind) is list and is_table(get_args(kind)[0]):
            if not re.fullmatch(r"[1-9]\d{0,3}", part) or int(part) > ELEMENTS:
                return None
            place, kind = (*place, int(part) - 1), get_args(kind)[0]
        elif is_table(kind) or get_origin(kind) is dict:
            kind = field_of(kind, part.lower()) if part == part.upper() else None
            place = (*place, part.lower())
        else:
            return None
        if kind is None:
            return None
    is_array = get_origin(kind) is list and is_table(get_args(kind)[0])
    return None if is_table(kind) or get_origin(kind) is dict or is_array else (place, kind)


def _names(kind: Any, before: str = PREFIX) -> Iterator[str]:
    """All variables there are; of arrays of tables the first."""
    for each in msgspec.structs.fields(kind):
        inner = field_of(kind, each.encode_name)
        name = before + each.encode_name.upper()
        if get_origin(inner) is list and is_table(get_args(inner)[0]):
            yield from _names(get_args(inner)[0], f"{name}__1__")
        elif is_table(inner):
            yield from _names(inner, f"{name}__")
        elif get_origin(inner) is not dict:
            yield name


def _order(place: Place) -> list[tuple[bool, str | int]]:
    return [(isinstance(part, str), part) for part in place]


def _value(text: str, kind: Any) -> Any:
    """The value that a text is for a type; the text itself where it is none, which then is found to be wrong."""
    if get_origin(kind) is list:
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                pass
        return text


def _put(values: Any, place: Place, value: Any) -> bool:
    """Put a value where it belongs, and make the tables on the way. False: the document has something else there."""
    for part, following in pairwise(place):
        new: Any = [] if isinstance(following, int) else {}
        if isinstance(values, list) and isinstance(part, int):
            values.extend({} for _ in range(len(values), part + 1))
            values = values[part]
        elif isinstance(values, dict):
            values = values.setdefault(part, new)
        else:
            return False
    if not isinstance(values, dict):
        return False
    values[place[-1]] = value
    return True


def _is_service_link(name: str, value: str) -> bool:
    return bool(
        re.fullmatch(r"TIDEWIRE_(PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?|SERVICE_(HOST|PORT\w*))", name)
    ) and (name != "TIDEWIRE_PORT" or "://" in value)
