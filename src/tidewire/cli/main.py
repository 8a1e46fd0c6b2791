"""`tidewire`: the command itself, its version line, and how a mistake is told."""

from __future__ import annotations

import platform
import sys
from importlib import import_module
from typing import Any, Final

import click

from tidewire import __version__
from tidewire._form import form
from tidewire.cli import exits

COMMANDS: Final = (
    "access",
    "bench",
    "certs",
    "completion",
    "config",
    "doctor",
    "init",
    "meter",
    "overhead",
    "passwd",
    "pub",
    "record",
    "reload",
    "replay",
    "rr",
    "serve",
    "store",
    "sub",
    "top",
)
"""Each is `tidewire.cli.NAME.NAME`, and is loaded when it is asked for: none waits for what another one needs."""


def version_line() -> str:
    """Version, form and interpreter in one line."""
    how = "compiled" if form() == "compiled" else "uncompiled: pure Python, slower"
    return f"tidewire {__version__} ({how}; {platform.python_implementation()} {platform.python_version()})"


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(version_line())
        context.exit()


class _Command(click.Group):
    """A group whose commands are loaded when they are asked for, and whose mistakes are told in one line."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"tidewire.cli.{name}"), name)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
        except click.ClickException as error:
            click.echo(f"tidewire: {error.format_message()}", err=True)
        except click.Abort:
            click.echo("tidewire: aborted", err=True)
        except Exception as error:
            status = exits.status_of(error)
            if status is None:
                raise
            exits.tell(str(error))
            sys.exit(status)
        sys.exit(exits.Exit.USAGE)


@click.group(cls=_Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show version."
)
def main() -> None:
    """MQTT for Python, whole: a broker for MQTT 3.1, 3.1.1 and 5.0."""
