"""What can a driver type, or write into a list? Commands as words and as JSON lines, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import Meta, Struct, inspect

from examples.vehicle.commander import Answer, Commander
from examples.vehicle.messages import AnyCommand, Command

WAIT_MAXIMUM_S: Final = 3600
"""A list that waits longer is a mistake of units."""


class Wait(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="wait"):
    """In a list: nothing for so many seconds, counted from the answer to the command before."""

    seconds: Annotated[float, Meta(ge=0, le=WAIT_MAXIMUM_S)]


Step = AnyCommand | Wait


def read_list(file: Path) -> list[Step]:
    """The steps of a JSON-lines file. Raises ValueError that names the line, OSError."""
    steps: list[Step] = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                steps.append(msgspec.json.decode(line, type=Step))
            except ValueError as error:
                raise ValueError(f"{file}, line {number}: {error}") from None
    return steps


def parse(words: Sequence[str]) -> Step:
    """`speed 5`, `doors lock`, `stop`: the name of a command and the value of its only field. Raises ValueError."""
    name, *values = words
    name = name.replace("-", "_")
    kinds: list[type[Struct]] = [*Command.__subclasses__(), Wait]
    known = {str(kind.__struct_config__.tag): kind for kind in kinds}
    if name not in known:
        raise ValueError(f"there is no command {name!r}; there are: {', '.join(known)}")
    fields = known[name].__struct_fields__
    wrong = f"{name} takes {_wanted(known[name]) if fields else 'no value'}, not {' '.join(values) or 'none'}"
    if len(values) != len(fields):
        raise ValueError(wrong)
    value: Any = {"on": "true", "off": "false"}.get(values[0], values[0]) if values else None
    try:
        step: Step = msgspec.convert(dict.fromkeys(fields, value) | {"do": name}, type=Step, strict=False)
        return step
    except msgspec.ValidationError:
        raise ValueError(wrong) from None


def _wanted(kind: type[Struct]) -> str:
    """What the value of a command may be, in words: as its type has it."""
    [field] = cast("inspect.StructType", inspect.type_info(kind)).fields
    match field.type:
        case inspect.FloatType(ge=least, le=None, lt=bound):
            return f"{field.name.replace('_', ' ')} from {least:g} to below {bound:g}"
        case inspect.FloatType(ge=least, le=most):
            return f"{field.name.replace('_', ' ')} from {least:g} to {most:g}"
        case inspect.LiteralType(values=words):
            return " or ".join(map(str, words))
        case _:
            return "on or off"


async def play(commander: Commander, vehicle: str, steps: Iterable[Step]) -> AsyncIterator[tuple[AnyCommand, Answer]]:
    """Do the steps one after the other; each command and its answer as it comes. Raises what `Commander.send` does."""
    for step in steps:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
        else:
            yield step, await commander.send(vehicle, step)
