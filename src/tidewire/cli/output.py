"""What do `sub` and `rr` print of a message? Mosquitto's formats, JSON lines, or what a person likes to see."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from tidewire.cli import decoders
from tidewire.cli.command_line import apply, option

if TYPE_CHECKING:
    from tidewire.cli.decoders import Decoder
    from tidewire.engine.received import Message

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
Printer = Callable[["Message"], bytes]
"""From a message to the bytes to write, line end included."""


@dataclass(kw_only=True)
class OutputOptions:
    """The flags that say how messages are printed."""

    format: str | None
    verbose: bool
    no_end_of_line: bool
    plain: bool
    json_lines: bool
    pretty: bool
    decode: str | None
    watch: bool = False

    def printer(
        self, on_terminal: bool, complain: Callable[[str], None], subscription_identifier: int | None = None
    ) -> Printer:
        """What prints a message. Raises click.UsageError for a format or a decoder that does not exist here."""
        printer = self._printer(on_terminal, complain, subscription_identifier)
        if not self.watch:
            return printer
        if not on_terminal:
            raise click.UsageError("-w needs a terminal")
        from tidewire.cli.screen import Watch  # noqa: PLC0415

        return Watch(printer).show

    def _printer(
        self, on_terminal: bool, complain: Callable[[str], None], subscription_identifier: int | None
    ) -> Printer:
        from tidewire.cli.message_json import MessageJSON  # noqa: PLC0415 (--help does without)

        decode = self._decoder()
        as_json = MessageJSON(self.pretty, subscription_identifier, decode, complain)
        end = b"" if self.no_end_of_line else b"\n"
        if self.format is not None:
            return self._formatted(as_json, payloads(decode, complain), end)
        if self.json_lines:
            return lambda message: as_json.line(message, time.time_ns()) + b"\n"
        if self.no_end_of_line or self.plain or (self.verbose and not on_terminal):
            return plain(self.verbose, payloads(decode, complain), end)
        if on_terminal:
            from tidewire.cli.screen import Screen  # noqa: PLC0415

            return Screen(self.verbose, decode).show
        return lambda message: as_json.line(message, time.time_ns()) + b"\n"

    def _formatted(self, as_json: Any, payload_of: Callable[[Message], bytes], end: bytes) -> Printer:
        from tidewire.cli.format_string import FormatError, compile_format  # noqa: PLC0415

        try:
            print_message = compile_format(self.format or "", as_json, payload_of)
        except FormatError as error:
            raise click.UsageError(f"-F: {error}") from None
        return lambda message: print_message(message, time.time_ns()) + end

    def _decoder(self) -> Decoder | None:
        try:
            return decoders.decoder(self.decode) if self.decode is not None else None
        except decoders.DecoderMissing as error:
            raise click.UsageError(str(error)) from None


def plain(verbose: bool, payload_of: Callable[[Message], bytes], end: bytes) -> Printer:
    """The payload alone, nothing if it is empty; with `verbose` after its topic."""
    if not verbose:
        return lambda message: payload + end if (payload := payload_of(message)) else b""

    def with_topic(message: Message) -> bytes:
        payload = payload_of(message)
        if payload:
            return b"%b %b%b" % (message.topic.encode(), payload, end)
        return b"%b (null)\n" % message.topic.encode() if end else b""

    return with_topic


def payloads(decode: Decoder | None, complain: Callable[[str], None]) -> Callable[[Message], bytes]:
    """A message's payload, decoded; as it is if it cannot be, and a complaint."""
    if decode is None:
        return lambda message: message.payload

    def decoded(message: Message) -> bytes:
        try:
            return decode(message.payload) if message.payload else b""
        except decoders.DecodeError as error:
            complain(f"the payload on topic {message.topic} is {error}")
            return message.payload

    return decoded


HEADING: Final = "What is printed: JSON lines; on a terminal text, colour and hex dumps"

_OPTIONS: Final[Sequence[Callable[[Any], Any]]] = (
    option(HEADING, "--plain", is_flag=True, help="The bare payload and a line end, as mosquitto_sub prints it."),
    option(
        HEADING,
        "-v",
        "--verbose",
        is_flag=True,
        help="Topic and payload, as mosquitto_sub -v; on a terminal with QoS and retain.",
    ),
    option(HEADING, "-N", "no_end_of_line", is_flag=True, help="--plain without the line end."),
    option(
        HEADING,
        "-F",
        "format",
        metavar="FORMAT",
        help="Format of mosquitto_sub: %t topic, %p payload, %x in hex, %l length, %q QoS, %r retain, %m packet "
        "identifier, %j JSON, %J JSON with a JSON payload, %I and %U time, @H and such strftime's, \\n \\t \\0 …; "
        "%-20t is 20 wide, to the left.",
    ),
    option(HEADING, "--json", "json_lines", is_flag=True, help="JSON lines, on a terminal as well."),
    option(HEADING, "--pretty", is_flag=True, help="JSON over several lines."),
    option(
        HEADING,
        "--decode",
        type=click.Choice(decoders.NAMES),
        help="Show what the payload says, as JSON. cbor needs cbor2.",
    ),
)


def output_options(command: CommandT) -> CommandT:
    """Give a command the flags of `OutputOptions`; it gets them as `output`."""

    @functools.wraps(command)
    def with_output(**options: Any) -> Any:
        own = {each.name: options.pop(each.name) for each in fields(OutputOptions) if each.name in options}
        return command(output=OutputOptions(**own), **options)

    return cast(CommandT, apply(_OPTIONS, with_output))
