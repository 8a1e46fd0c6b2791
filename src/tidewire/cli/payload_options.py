"""What do `pub` and `rr` send? The flags that name one payload, and the payload."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import click

from tidewire.cli.blocking import read_all
from tidewire.cli.command_line import apply, option

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

HEADING: Final = "What is sent"
STANDARD_INPUT: Final = 0


class Source:
    """Where the payload comes from: one of the flags, and only one."""

    def __init__(
        self, message: str | None, file: str | None, null_message: bool, stdin_file: bool, by_line: bool = False
    ) -> None:
        """`by_line`: a message a line, of standard input or of the file."""
        given = [message is not None, file is not None and not by_line, null_message, stdin_file, by_line]
        if sum(given) != 1:
            raise click.UsageError("say what to send, and only once: -m TEXT, -f FILE, -l, -s or -n")
        self.file = file
        self.by_line = by_line
        self._message = message
        self._stdin_file = stdin_file

    def open(self) -> int:
        """A file descriptor to read from. Raises click.UsageError."""
        if self.file is None:
            return STANDARD_INPUT
        try:
            return os.open(self.file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise click.UsageError(f"cannot read {self.file}: {error.strerror}") from None

    async def payload(self) -> bytes:
        """The one payload. Raises click.UsageError."""
        if self._message is not None:
            return os.fsencode(self._message)
        if self.file is None and not self._stdin_file:
            return b""
        descriptor = self.open()
        try:
            return await read_all(descriptor)
        except OSError as error:
            raise click.UsageError(f"cannot read {self.file or 'standard input'}: {error.strerror}") from None
        finally:
            if descriptor != STANDARD_INPUT:
                os.close(descriptor)


_SHARED: Final = (
    option(HEADING, "-m", "--message", metavar="TEXT", help="This text."),
    option(HEADING, "-f", "--file", metavar="FILE", help="The contents of a file; with -l, each line of it."),
    option(HEADING, "-s", "--stdin-file", is_flag=True, help="All of standard input, as one message."),
    option(HEADING, "-n", "--null-message", is_flag=True, help="Nothing: a message of length 0."),
)
_BY_LINE: Final = option(HEADING, "-l", "--stdin-line", "by_line", is_flag=True, help="Each line of standard input.")


def payload_options(*, by_line: bool) -> Callable[[CommandT], CommandT]:
    """Give a command these flags, -l among them or not; it gets them as `source`."""

    def decorate(command: CommandT) -> CommandT:
        @functools.wraps(command)
        def with_source(
            *, message: str | None, file: str | None, null_message: bool, stdin_file: bool, **options: Any
        ) -> Any:
            lines = options.pop("by_line") if by_line else False
            return command(source=Source(message, file, null_message, stdin_file, lines), **options)

        return cast(CommandT, apply([*_SHARED, *([_BY_LINE] if by_line else [])], with_source))

    return decorate
