"""`tidewire`: the command itself, its version line, and how a mistake is told."""

from __future__ import annotations

import platform
import sys
from typing import Any

import click

from tidewire import __version__
from tidewire._form import form
from tidewire.cli.passwd import passwd
from tidewire.cli.serve import serve


def version_line() -> str:
    """Version, form and interpreter in one line."""
    how = "compiled" if form() == "compiled" else "uncompiled: pure Python, slower"
    return f"tidewire {__version__} ({how}; {platform.python_implementation()} {platform.python_version()})"


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(version_line())
        context.exit()


class _Command(click.Group):
    """A group whose mistakes are told in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
        except click.ClickException as error:
            click.echo(f"tidewire: {error.format_message()}", err=True)
        except click.Abort:
            click.echo("tidewire: aborted", err=True)
        sys.exit(2)


@click.group(cls=_Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show version."
)
def main() -> None:
    """MQTT for Python, whole: a broker for MQTT 3.1, 3.1.1 and 5.0."""


main.add_command(serve)
main.add_command(passwd)
