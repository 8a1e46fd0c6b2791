"""How is a mistake on the command line told? In one line; in other words than click's where those hide the mend."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

import click

_OUT_OF_RANGE: Final = re.compile(r"is not (a valid (integer|float) range|in the range .*)\.$")


def told(error: click.ClickException) -> str:
    """The line."""
    if isinstance(error, click.NoSuchOption):
        error = _near(error)
    elif isinstance(error, click.BadParameter) and error.param is not None:
        kind = error.param.type
        if isinstance(kind, click.IntRange | click.FloatRange):
            said = _OUT_OF_RANGE.sub(f"is not {_numbers(kind)}", error.message)
            error = click.BadParameter(said, error.ctx, error.param, error.param_hint)
    return " ".join(error.format_message().split())


def no_such_command(name: str, commands: Iterable[str]) -> click.UsageError:
    """For a group that does not load its commands to know their names, and so cannot tell which one is meant."""
    near = "".join(f" Did you mean {command!r}?" for command in get_close_matches(name, commands, 1))
    return click.UsageError(f"No such command {name!r}.{near}")


def _near(error: click.NoSuchOption) -> click.NoSuchOption:
    """Without the suggestions that have little more in common with it than the hyphens."""
    names = {option.lstrip("-"): option for option in error.possibilities or ()}
    near = [names[name] for name in get_close_matches(error.option_name.lstrip("-"), names)]
    return click.NoSuchOption(error.option_name, error.message, near, error.ctx)


def _numbers(kind: click.IntRange | click.FloatRange) -> str:
    """Which numbers are meant: a whole number from 1 to 65535."""
    noun = "a whole number" if isinstance(kind, click.IntRange) else "a number"
    least = "" if kind.min is None else f" {'above' if kind.min_open else 'from'} {kind.min:.15g}"
    most = " on" * (not kind.min_open) if kind.max is None else f" to {kind.max:.15g}"
    return noun + least + most
