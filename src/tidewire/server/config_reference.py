"""What is each key of the configuration for? Taken from the sources, where every key has its reason below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any, Final

import msgspec

from tidewire.engine.limits import Limits
from tidewire.server.config import LARGEST_LIMIT, LIMIT_BOUNDS, Config, vars_of

_SOURCES: Final = (
    ("server", "config.py"),
    ("server", "access_config.py"),
    ("server", "listener_config.py"),
    ("server", "bridge_config.py"),
    ("server", "meter_config.py"),
    ("server", "admin_config.py"),
    ("server", "telemetry_config.py"),
    ("server", "console_config.py"),
    ("engine", "limits.py"),
)


def reason(table: str, name: str) -> str:
    """What a key of a class is for, in one line; empty where the source says nothing, or is not there."""
    return _reasons().get((table, name), "")


def limit_names() -> list[str]:
    """All limits, in the order of their source, in which one may go on from the one before."""
    known = vars_of(Limits())
    told = [name for table, name in _reasons() if table == "Limits" and name in known]
    return list(dict.fromkeys([*told, *known]))


def schema() -> dict[str, Any]:
    """The JSON Schema of the configuration file."""
    _, definitions = msgspec.json.schema_components((Config,), ref_template="#/$defs/{name}")
    for table, definition in definitions.items():
        properties: dict[str, Any] = definition["properties"]
        for key, attribute in _attributes(table, properties):
            text = reason(table, attribute)
            if text:
                properties[key]["description"] = text
            _without_null(properties[key])
    definitions["Config"]["properties"]["limits"] = {
        "type": "object",
        "description": reason("Config", "limits"),
        "additionalProperties": False,
        "properties": {name: _limit(name, value) for name, value in vars_of(Limits()).items()},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of the Tidewire broker",
        "$ref": "#/$defs/Config",
        "$defs": dict(sorted(definitions.items())),
    }


def tables() -> Iterator[Any]:
    """All classes of the configuration."""
    found = [Config]
    for table in found:
        yield table
        for name in _inner_tables(table):
            if name not in found:
                found.append(name)


def _inner_tables(kind: Any) -> list[Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [inner for each in msgspec.structs.fields(kind) for inner in _tables_in(each.type)]
    return []


def _tables_in(kind: Any) -> Iterator[Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for inner in getattr(kind, "__args__", ()):
        yield from _tables_in(inner)


def _attributes(table: str, properties: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys as the file has them, and the names of their attributes."""
    kind = next(each for each in tables() if each.__name__ == table)
    return ((each.encode_name, each.name) for each in msgspec.structs.fields(kind) if each.encode_name in properties)


def _limit(name: str, default: int | float) -> dict[str, Any]:
    least, most = LIMIT_BOUNDS.get(name, (0, LARGEST_LIMIT))
    kind = "number" if isinstance(default, float) else "integer"
    return {
        "type": kind,
        "minimum": least,
        "maximum": most,
        "default": default,
        "description": reason("Limits", name),
    }


def _without_null(definition: dict[str, Any]) -> None:
    """TOML has no null: what is not said is left out."""
    choices = [choice for choice in definition.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        del definition["anyOf"]
        definition.update(choices[0])
    if definition.get("default", 0) is None:
        del definition["default"]


@cache
def _reasons() -> dict[tuple[str, str], str]:
    found = {}
    for package, file in _SOURCES:
        source = files(f"tidewire.{package}").joinpath(file)
        if source.is_file():
            for name, attribute, text in _documented(source.read_text(encoding="utf-8")):
                found[name, attribute] = text
    return found


def _documented(source: str) -> Iterator[tuple[str, str, str]]:
    """Class, attribute and the text below it."""
    for table in ast.walk(ast.parse(source)):
        if not isinstance(table, ast.ClassDef):
            continue
        bodies = [table.body, *(each.body for each in table.body if isinstance(each, ast.FunctionDef))]
        for body in bodies:
            for statement, below in pairwise(body):
                if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                    target = _target(statement)
                    if target is not None:
                        yield table.name, target, " ".join(str(below.value.value).split())


def _target(statement: ast.stmt) -> str | None:
    """The name that is assigned: `name: type = …`, or `self.name = …`."""
    target = (
        statement.targets[0]
        if isinstance(statement, ast.Assign)
        else statement.target
        if isinstance(statement, ast.AnnAssign)
        else None
    )
    return target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else None
