"""What does a Sparkplug B payload say? Its protocol buffer, read without a schema compiler.

Field numbers are those of the payload's definition in the Sparkplug specification 3.0, section 6.4.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NoReturn

NESTED: Final = 16
"""Messages within one another, such as templates within templates: nobody has more, and each costs stack."""

FIELDS: Final = 4_000
"""Of one payload, in all, which take some 10 ms; those after them are left out, as lines are that nobody reads."""

PAYLOAD: Final = "payload"

_MESSAGES: Final[dict[str, dict[int, tuple[str, str]]]] = {
    PAYLOAD: {
        1: ("timestamp", "integer"),
        2: ("metrics", "metric"),
        3: ("seq", "integer"),
        4: ("uuid", "string"),
        5: ("body", "bytes"),
    },
    "metric": {
        1: ("name", "string"),
        2: ("alias", "integer"),
        3: ("timestamp", "integer"),
        4: ("datatype", "integer"),
        5: ("is_historical", "bool"),
        6: ("is_transient", "bool"),
        7: ("is_null", "bool"),
        8: ("metadata", "metadata"),
        9: ("properties", "properties"),
        10: ("value", "integer"),
        11: ("value", "integer"),
        12: ("value", "float"),
        13: ("value", "double"),
        14: ("value", "bool"),
        15: ("value", "string"),
        16: ("value", "bytes"),
        17: ("value", "dataset"),
        18: ("value", "template"),
        19: ("value", "bytes"),
    },
    "metadata": {
        1: ("is_multi_part", "bool"),
        2: ("content_type", "string"),
        3: ("size", "integer"),
        4: ("seq", "integer"),
        5: ("file_name", "string"),
        6: ("file_type", "string"),
        7: ("md5", "string"),
        8: ("description", "string"),
    },
    "properties": {1: ("keys", "string"), 2: ("values", "property")},
    "property": {
        1: ("datatype", "integer"),
        2: ("is_null", "bool"),
        3: ("value", "integer"),
        4: ("value", "integer"),
        5: ("value", "float"),
        6: ("value", "double"),
        7: ("value", "bool"),
        8: ("value", "string"),
        9: ("value", "properties"),
        10: ("value", "property list"),
    },
    "property list": {1: ("sets", "properties")},
    "dataset": {
        1: ("num_of_columns", "integer"),
        2: ("columns", "string"),
        3: ("types", "integer"),
        4: ("rows", "row"),
    },
    "row": {1: ("elements", "element")},
    "element": {
        1: ("value", "integer"),
        2: ("value", "integer"),
        3: ("value", "float"),
        4: ("value", "double"),
        5: ("value", "bool"),
        6: ("value", "string"),
    },
    "template": {
        1: ("version", "string"),
        2: ("metrics", "metric"),
        3: ("parameters", "parameter"),
        4: ("template_ref", "string"),
        5: ("is_definition", "bool"),
    },
    "parameter": {
        1: ("name", "string"),
        2: ("datatype", "integer"),
        3: ("value", "integer"),
        4: ("value", "integer"),
        5: ("value", "float"),
        6: ("value", "double"),
        7: ("value", "bool"),
        8: ("value", "string"),
    },
}

_MANY: Final = {"metrics", "keys", "values", "sets", "columns", "types", "rows", "elements", "parameters"}
"""The fields that are repeated."""

_TYPES: Final = (
    "Unknown", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float", "Double", "Boolean",
    "String", "DateTime", "Text", "UUID", "DataSet", "Bytes", "File", "Template", "PropertySet", "PropertySetList",
    "Int8Array", "Int16Array", "Int32Array", "Int64Array", "UInt8Array", "UInt16Array", "UInt32Array", "UInt64Array",
    "FloatArray", "DoubleArray", "BooleanArray", "StringArray", "DateTimeArray",
)  # fmt: skip
"""By their numbers."""

_SIGNED_BITS: Final = {"Int8": 8, "Int16": 16, "Int32": 32, "Int64": 64}
"""They travel as unsigned numbers, in two's complement."""

_ELEMENT_FORMATS: Final = {
    "Int8Array": "b", "Int16Array": "h", "Int32Array": "i", "Int64Array": "q", "UInt8Array": "B", "UInt16Array": "H",
    "UInt32Array": "I", "UInt64Array": "Q", "FloatArray": "f", "DoubleArray": "d", "DateTimeArray": "Q",
}  # fmt: skip
"""Little-endian, one after another."""


class NotSparkplug(ValueError):
    """The bytes are not such a payload; the text says where they stop being one."""


def decode_sparkplug(payload: bytes) -> dict[str, Any]:
    """A payload as plain values: metrics stand by name, or by alias where they have none. Raises NotSparkplug."""
    return _shaped(_Buffer(payload).message(PAYLOAD, 0, len(payload), 0))


class _Buffer:
    """Protocol buffer wire format: tag, then a varint, four or eight bytes, or so many bytes as a varint says."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._fields = 0

    def message(self, kind: str, position: int, end: int, depth: int) -> dict[str, Any]:
        if depth > NESTED:
            _fail("messages are nested too deeply", position)
        names = _MESSAGES[kind]
        found: dict[str, Any] = {}
        while position < end and self._fields < FIELDS:
            self._fields += 1
            began = position
            tag, position = self._varint(position, end)
            name, meant = names.get(tag >> 3, ("", ""))
            value: Any
            wire = tag & 7
            if wire == 0:
                value, position = self._varint(position, end)
                if meant == "bool":
                    value = value != 0
                right = meant in ("integer", "bool")
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
                if position + size > end:
                    _fail("it ends within a number", began)
                number = self._data[position : position + size]
                value = struct.unpack("<d", number)[0] if wire == 1 else _shortest(number)
                position += size
                right = meant == ("double" if wire == 1 else "float")
            elif wire == 2:
                length, position = self._varint(position, end)
                start, position = position, position + length
                if position > end:
                    _fail("it ends within a field", began)
                right = meant in _MESSAGES or meant in ("string", "bytes")
                value = self._field(meant, start, position, depth) if right else None
            else:
                _fail(f"there is no wire type {wire} in it", began)
            if not name:
                continue  # an extension
            if not right:
                _fail(f"{name} is not a {meant}", began)
            if name in _MANY:
                found.setdefault(name, []).append(value)
            else:
                found[name] = value
        return found

    def _field(self, meant: str, start: int, end: int, depth: int) -> Any:
        if meant in _MESSAGES:
            return self.message(meant, start, end, depth + 1)
        if meant == "bytes":
            return self._data[start:end]
        try:
            return self._data[start:end].decode()
        except UnicodeDecodeError:
            _fail("a string is not UTF-8", start)

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while position < end and shift < 70:
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position
            shift += 7
        _fail("a number does not end", position)


def _shortest(number: bytes) -> float:
    """A float of four bytes with as few digits as tell it from its neighbours: 21.3, not 21.299999237060547."""
    value: float = struct.unpack("<f", number)[0]
    for digits in range(6, 9):
        shorter = float(f"{value:.{digits}g}")
        if struct.pack("<f", shorter) == number:
            return shorter
    return value


def _fail(what: str, position: int) -> NoReturn:
    raise NotSparkplug(f"{what} (byte {position})")


def _shaped(message: dict[str, Any]) -> dict[str, Any]:
    """As a person reads it: metrics and properties by name, a data set as rows, numbers with their sign."""
    shaped = dict(message)
    for name in ("metrics", "parameters"):
        if name in shaped:
            shaped[name] = _by_name(shaped[name])
    return shaped


def _by_name(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    times: dict[str, int] = {}
    for metric in metrics:
        name = metric.get("name") or (f"alias {metric['alias']}" if "alias" in metric else "without a name")
        key = name
        while key in named:
            times[name] = times.get(name, 1) + 1
            key = f"{name} ({times[name]})"
        named[key] = _metric({key: value for key, value in metric.items() if key != "name"})
    return named


def _metric(metric: dict[str, Any]) -> dict[str, Any]:
    number = metric.pop("datatype", 0)
    kind = _TYPES[number] if number < len(_TYPES) else f"type {number}"
    shaped = {"value": _value(metric.pop("value", None), kind)}
    if number:
        shaped["type"] = kind
    if "properties" in metric:
        metric["properties"] = _value(metric["properties"], "PropertySet")
    return shaped | metric


def _value(value: Any, kind: str) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and kind in _SIGNED_BITS:
        bits = _SIGNED_BITS[kind]
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value
    if isinstance(value, bytes) and kind in _ELEMENT_FORMATS:
        letter = _ELEMENT_FORMATS[kind]
        count = len(value) // struct.calcsize(f"<{letter}")
        return list(struct.unpack_from(f"<{count}{letter}", value))
    if isinstance(value, dict):
        if "columns" in value or "rows" in value:
            return {
                "columns": value.get("columns", []),
                "rows": [[cell.get("value") for cell in row.get("elements", [])] for row in value.get("rows", [])],
            }
        if "sets" in value:
            return [_value(each, "PropertySet") for each in value["sets"]]
        if "keys" in value or "values" in value:
            properties = zip(value.get("keys", []), value.get("values", []), strict=False)
            return {key: _metric(each)["value"] for key, each in properties}
        return _shaped(value)
    return value
