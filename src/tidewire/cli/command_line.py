"""How is a command line read that was written for mosquitto_pub, mosquitto_sub or mosquitto_rr?

As click reads any, with three differences: `-D` takes three or four words, options in the configuration file of the
Mosquitto client come first, and the help has headings.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from tidewire.cli.mistakes import told

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

PROPERTY_FLAGS: Final = ("-D", "--property")
SEPARATOR: Final = "\0"
"""Between name and value of a user property once they are one word: no argument can contain it."""


class Option(click.Option):
    """An option that stands under a heading of the help."""

    def __init__(self, *arguments: Any, heading: str = "Options", **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.heading = heading

    def get_help_extra(self, context: click.Context) -> Any:
        """Without the range of a number: the metavar or the error says it."""
        return {name: extra for name, extra in super().get_help_extra(context).items() if name != "range"}


def option(heading: str, *declarations: str, **attributes: Any) -> Callable[[CommandT], CommandT]:
    """`click.option` with a heading."""
    return click.option(*declarations, cls=Option, heading=heading, **attributes)


def unsupported(heading: str, *declarations: str, why: str, **attributes: Any) -> Callable[[CommandT], CommandT]:
    """An option of Mosquitto's clients that is refused with the reason and the mend."""

    def refuse(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            raise click.UsageError(f"{declarations[0]} is not supported: {why}")

    return option(heading, *declarations, expose_value=False, callback=refuse, help=f"Refused: {why}.", **attributes)


def apply(options: Sequence[Callable[[CommandT], CommandT]], command: CommandT) -> CommandT:
    """Give a command its options, first one first in the help."""
    for decorator in reversed(options):
        command = decorator(command)
    return command


class MosquittoCommand(click.Command):
    """`tidewire pub`, `sub` or `rr`, with the command line of its model."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        attributes.setdefault("context_settings", {"help_option_names": ["--help"]})  # -h is the host
        super().__init__(*arguments, **attributes)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        file = configuration_file(f"mosquitto_{self.name}")
        first = read_configuration(file)
        try:
            return super().parse_args(context, self._join_properties([*first, *args]))
        except click.UsageError as error:
            if not first:
                raise
            raise click.UsageError(f"{told(error)} (the options in {file} come first)", context) from None

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(context):
            if (record := parameter.get_help_record(context)) is not None:
                headings.setdefault(getattr(parameter, "heading", "Other options"), []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=26)

    def _join_properties(self, arguments: list[str]) -> list[str]:
        """`-D COMMAND user-property NAME VALUE` has a word more than the others: make NAME and VALUE one."""
        takes_value = set(_flags_with_value(self.params))
        joined: list[str] = []
        words = iter(arguments)
        for word in words:
            joined.append(word)
            if word == "--":
                joined += words
            elif word in PROPERTY_FLAGS:
                joined += _property_words(words)
            elif word in takes_value:
                joined += _take(words, 1)
        return joined


def _property_words(words: Iterator[str]) -> list[str]:
    taken = _take(words, 3)
    if len(taken) == 3 and taken[1] == "user-property":
        value = _take(words, 1)
        if not value:
            raise click.UsageError(f"-D {' '.join(taken)}: a user property has a name and a value")
        taken[2] += SEPARATOR + value[0]
    return taken


def _take(words: Iterator[str], count: int) -> list[str]:
    return list(itertools.islice(words, count))


def _flags_with_value(parameters: Iterable[click.Parameter]) -> Iterable[str]:
    for parameter in parameters:
        if isinstance(parameter, click.Option) and not parameter.is_flag and not parameter.count:
            yield from parameter.opts


def configuration_file(program: str) -> Path | None:
    """Where Mosquitto's client of that name looks for options that come before those of the command line."""
    if sys.platform == "win32":
        home = os.environ.get("USERPROFILE")
        return Path(home) / f"{program}.conf" if home else None
    if directory := os.environ.get("XDG_CONFIG_HOME"):
        return Path(directory) / program
    home = os.environ.get("HOME")
    return Path(home) / ".config" / program if home else None


def read_configuration(file: Path | None) -> list[str]:
    """The options of such a file: one a line, its value after a space, # before a comment."""
    if file is None:
        return []
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror}") from None
    words: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if not line.startswith("#") and line.strip():
            name, _, value = line.lstrip(" ").partition(" ")
            words += [name, value] if value else [name]
    return words
