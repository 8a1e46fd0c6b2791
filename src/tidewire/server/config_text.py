"""How is a configuration written as TOML? For `tidewire config show` and `import`."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any, Final, get_args, get_origin

import msgspec

from tidewire.server.config import Config, make_limits, vars_of
from tidewire.server.config_document import field_of, is_table
from tidewire.server.config_reference import limit_names, reason

WIDTH: Final = 100
"""Columns of a comment."""

HIDDEN: Final = "(hidden)"
"""In place of what is sent to a web service as proof of who we are."""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def effective_text(config: Config) -> str:
    """The whole configuration, defaults and limits filled in, each key with its reason. Raises ConfigError."""
    shown = msgspec.convert(msgspec.to_builtins(config), Config)
    access = shown.access
    access.anonymous = not access.proves_names() if access.anonymous is None else access.anonymous
    limits = vars_of(make_limits(config))
    shown.limits = {name: limits[name] for name in limit_names()}
    if access.http is not None:
        access.http.headers = dict.fromkeys(access.http.headers, HIDDEN)
    return "\n".join(_table(shown, ())).strip() + "\n"


def document_text(values: dict[str, Any]) -> str:
    """A document with what it says and nothing else."""
    return "\n".join(_plain(values, ())).strip() + "\n"


def value_text(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key_text(name)} = {value_text(each)}' for name, each in value.items())} }}"
    return repr(value)


def key_text(name: str) -> str:
    """A key as TOML."""
    return name if _BARE_KEY.fullmatch(name) else value_text(name)


def _table(table: msgspec.Struct, place: tuple[str, ...]) -> Iterator[str]:
    """A table of ours, with comments: first what stands in it, then the tables below."""
    below: list[tuple[str, Any, Any]] = []
    for each in msgspec.structs.fields(table):
        kind = field_of(type(table), each.encode_name)
        value = getattr(table, each.name)
        is_array = get_origin(kind) is list and is_table(get_args(kind)[0])
        if is_table(kind) or is_array or each.encode_name == "limits":
            below.append((each.encode_name, each.name, value))
            continue
        yield from _comment(reason(type(table).__name__, each.name))
        name = key_text(each.encode_name)
        yield f"# {name} is not set" if value is None else f"{name} = {value_text(value)}"
    for key, name, value in below:
        yield from _below(type(table).__name__, (*place, key), name, value)


def _below(table: str, place: tuple[str, ...], name: str, value: Any) -> Iterator[str]:
    header = ".".join(map(key_text, place))
    if isinstance(value, msgspec.Struct):
        yield f"\n[{header}]"
        yield from _table(value, place)
    elif isinstance(value, dict):
        yield ""
        yield from _comment(reason(table, name))
        yield f"[{header}]"
        for key, each in value.items():
            yield from _comment(reason("Limits", key))
            yield f"{key_text(key)} = {value_text(each)}"
    elif value:
        for element in value:
            yield f"\n[[{header}]]"
            yield from _table(element, place)
    else:
        yield f"\n# {header} is not set"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _plain(values: dict[str, Any], place: tuple[str, ...]) -> Iterator[str]:
    below = []
    for name, value in values.items():
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            below.append((name, value))
        else:
            yield f"{key_text(name)} = {value_text(value)}"
    for name, value in below:
        header = ".".join(map(key_text, (*place, name)))
        for element in value if isinstance(value, list) else [value]:
            yield f"\n[[{header}]]" if isinstance(value, list) else f"\n[{header}]"
            yield from _plain(element, (*place, name))
