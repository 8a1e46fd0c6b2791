"""`tidewire`: the command itself, its version line, and how a mistake is told."""

from __future__ import annotations

import platform
import sys
from importlib import import_module
from typing import Any, Final

import click

from tidewire import __version__
from tidewire._form import form
from tidewire.cli import exits, mistakes

COMMANDS: Final = {
    "access": "Try access rules, and see which one decides.",
    "bench": "Put load on a broker and say what came of it.",
    "certs": "Make, show and revoke the certificates of TLS.",
    "completion": "Print what a shell needs to complete commands.",
    "config": "Check, show and import configuration files.",
    "doctor": "Look for what keeps a broker from working well here.",
    "init": "Write all that a broker for other machines needs.",
    "meter": "Show what clients have cost, in bytes.",
    "overhead": "Measure what a message costs, layer by layer.",
    "passwd": "Set, delete and list passwords in a file.",
    "pub": "Publish messages, with the flags of mosquitto_pub.",
    "record": "Write the messages that come to a file.",
    "reload": "Make a running broker read its configuration anew.",
    "replay": "Publish a recording again, at its times.",
    "rr": "Ask and print the answer, as mosquitto_rr does.",
    "serve": "Run the broker until it is told to stop.",
    "store": "See, export and import what a broker keeps.",
    "sub": "Print messages, with the flags of mosquitto_sub.",
    "top": "Show a broker's rates, connections, queues and drops.",
}
"""Each is `tidewire.cli.NAME.NAME`, and is loaded when it is asked for: none waits for what another one needs. What it
does is said in a line that a terminal of 80 columns shows whole: 60 characters."""


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
        command.short_help = COMMANDS[name]
        return command

    def resolve_command(
        self, context: click.Context, words: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if words[0] not in COMMANDS and not words[0].startswith("-") and not context.resilient_parsing:
            raise mistakes.no_such_command(words[0], COMMANDS)
        return super().resolve_command(context, words)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
        except click.ClickException as error:
            exits.tell(mistakes.told(error))
        except click.Abort:
            click.echo("tidewire: aborted", err=True)
        except Exception as error:
            status = exits.status_of(error)
            if status is None:
                raise
            exits.tell(exits.words(error))
            sys.exit(status)
        sys.exit(exits.Exit.USAGE)


@click.group(cls=_Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show version."
)
def main() -> None:
    """MQTT for Python, whole: a broker for MQTT 3.1, 3.1.1 and 5.0."""
