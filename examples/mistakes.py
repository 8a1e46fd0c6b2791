"""How does a solution tell what cannot be? In one line, with the mend: a wrong option, a port that is taken."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any, Final

import click

HOST: Final = "127.0.0.1"
"""What the solutions serve, they serve on this machine only."""


class OneLine(click.Group):
    """A group of commands; click alone would put its usage before what is wrong."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except click.ClickException as error:
            click.echo(f"{self.name}: {error.format_message()}", err=True)
            sys.exit(error.exit_code)
        except click.Abort:  # Ctrl-C before it has begun
            sys.exit(130)


def listen(port: int, option: str) -> socket.socket:
    """Listen on a port; 0 is any that is free. Raises click.ClickException that names the option for another one."""
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise click.ClickException(f"port {port}: {reason}; take another with {option}, or any with 0") from None
