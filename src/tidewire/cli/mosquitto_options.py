"""Which flags do `pub`, `sub` and `rr` have in common, beside how they connect: session, will, properties, errors."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from tidewire.cli import exits
from tidewire.cli.command_line import apply, option, unsupported
from tidewire.cli.connection_options import OPTIONS, WHERE, Connection, connection_fields
from tidewire.cli.tls_options import TLS_OPTIONS
from tidewire.wire import properties as p
from tidewire.wire.codes import CONNECT, DISCONNECT, WILL
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.properties import Properties
from tidewire.wire.topics import check_topic_filter, check_topic_name

if TYPE_CHECKING:
    from tidewire import Client, Message
    from tidewire.client.errors import SubscribeError
    from tidewire.client.options import Will

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

FOR_EVER: Final = 0xFFFF_FFFF
"""A session that does not expire (3.1.2.11.2)."""


class Topic(click.ParamType):  # type: ignore[type-arg]  # it has one since click 8.4
    """A topic name, or with `is_filter` a topic filter."""

    def __init__(self, is_filter: bool = False) -> None:
        self.name = "filter" if is_filter else "topic"
        self._check = check_topic_filter if is_filter else check_topic_name

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> str:
        try:
            self._check(value.encode())
        except UnicodeEncodeError:
            self.fail("a topic must be UTF-8 text", parameter, context)
        except InvalidTopic as error:
            self.fail(str(error), parameter, context)
        return str(value)


class _Expiry(click.ParamType):  # type: ignore[type-arg]
    """Seconds, or -1 or ∞ for ever."""

    name = "seconds"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        if value in ("-1", "∞"):
            return FOR_EVER
        try:
            seconds = int(value, 0)
        except ValueError:
            seconds = -1
        if not 0 <= seconds <= FOR_EVER:
            self.fail(f"{value!r} is neither a number of seconds nor -1 or ∞, for ever", parameter, context)
        return seconds


@dataclass(kw_only=True)
class MosquittoConnection(Connection):
    """The flags that `pub`, `sub` and `rr` share."""

    disable_clean_session: bool
    session_expiry: int | None
    inflight_maximum: int
    will_topic: str | None
    will_payload: str | None
    will_qos: int
    will_retain: bool
    triples: tuple[tuple[str, str, str], ...]
    debug: bool
    quiet: bool
    properties: dict[int, Properties] = field(init=False)
    """What -D says, by packet."""
    comes_back: bool = field(init=False, default=True)
    """Whether a lost connection is made again, which is then told."""

    def __post_init__(self) -> None:
        from tidewire.cli.property_options import read_properties  # noqa: PLC0415

        self.properties = read_properties(self.triples)
        if self.triples:
            self.given_version = "5"  # as Mosquitto's clients do: properties exist there only
        if self.will_topic is None and (self.will_payload is not None or self.will_retain):
            raise click.UsageError("a will needs --will-topic")
        if self.keeps_session and self.client_id is None and self.session_expiry_s == FOR_EVER:
            raise click.UsageError("a session that never expires is found again by its client identifier: give one, -i")

    def client(self, **arguments: Any) -> Client:
        self.comes_back = arguments.get("reconnect", True) is not None
        return super().client(**arguments)

    @property
    def topic(self) -> str | None:
        """The topic of -L mqtt://HOST/TOPIC, as it is written; the path of a WebSocket or a Unix socket is none."""
        scheme, _, rest = (self.given_url or "").partition("://")
        return rest.partition("/")[2] or None if scheme.lower() in ("mqtt", "mqtts") else None

    @property
    def keeps_session(self) -> bool:
        """Whether the session is to outlive the connection."""
        return self.session_expiry_s > 0

    @property
    def session_expiry_s(self) -> int:
        """What -x, -c and -D say, in seconds."""
        if self.version != "5.0":
            return FOR_EVER if self.disable_clean_session else 0
        given = self.session_expiry
        if given is None:
            given = self.properties[CONNECT].integers.get(p.SESSION_EXPIRY_INTERVAL)
        if given is None:
            given = FOR_EVER if self.disable_clean_session else 0
        return given

    @property
    def last_session_expiry_s(self) -> int | None:
        """What -D disconnect session-expiry-interval says, in seconds."""
        return self.properties[DISCONNECT].integers.get(p.SESSION_EXPIRY_INTERVAL)

    def arguments(self) -> dict[str, Any]:
        from tidewire.cli.property_options import connect_arguments  # noqa: PLC0415

        return {
            **super().arguments(),
            **connect_arguments(self.properties[CONNECT]),
            "clean_start": not self.disable_clean_session,
            "session_expiry": self.session_expiry_s,
            "inflight_maximum": self.inflight_maximum,
            "will": self._will(),
            "on_state": self._tell_state,
        }

    def say(self, message: str) -> None:
        """A line of -d, on standard error."""
        if self.debug and not self.quiet:
            click.echo(message, err=True)

    def say_received(self, message: Message) -> None:
        """What -d says of a message."""
        if self.debug:
            self.say(
                f"received PUBLISH: topic {message.topic!r}, QoS {message.qos}, retain {int(message.retain)}, "
                f"packet identifier {message.packet_identifier}, {len(message.payload)} bytes"
            )

    def say_connected(self, client: Client) -> None:
        """What -d says of the broker's answer."""
        if self.debug and client.connack is not None:
            present = "present" if client.connack.session_present else "new"
            self.say(f"client identifier {client.client_id!r}, session {present}, MQTT {self.version}")

    def reworded(self, error: SubscribeError) -> SubscribeError:
        """The same error; before 5.0 a SUBACK says that the server refuses, and not why (3.1.1, 3.9.3)."""
        if self.version != "5.0":
            refused = ", ".join(map(repr, error.reason_codes))
            why = f"MQTT {self.version} does not say why, -V 5 does"
            error.args = (f"the server refused to subscribe to {refused}; {why}",)
        return error

    def tell(self, message: str) -> None:
        """An error, unless --quiet."""
        exits.tell(message, self.quiet)

    def _will(self) -> Will | None:
        from tidewire.cli.property_options import publish_options  # noqa: PLC0415
        from tidewire.client.options import Will  # noqa: PLC0415

        if self.will_topic is None:
            return None
        properties = self.properties[WILL]
        return Will(
            self.will_topic,
            os.fsencode(self.will_payload or ""),
            self.will_qos,
            self.will_retain,
            delay=properties.integers.get(p.WILL_DELAY_INTERVAL, 0),
            **publish_options(properties),
        )

    def _tell_state(self, state: str, error: Exception | None) -> None:
        if error is None:
            self.say(f"{state}: {self.url}")
        elif self.comes_back and not getattr(error, "permanent", False):
            self.tell(f"{exits.words(error)}; connecting again")


_WILL: Final = "Will: what the broker publishes when this client is lost"
_PROTOCOL: Final = "Protocol"
_MESSAGES: Final = "What is told"

_OPTIONS: Final[Sequence[Callable[[Any], Any]]] = (
    option(_WILL, "--will-topic", type=Topic(), metavar="TOPIC", help="Where."),
    option(_WILL, "--will-payload", metavar="TEXT", help="What. [default: nothing]"),
    option(_WILL, "--will-qos", type=click.IntRange(0, 2), default=0, metavar="0|1|2", help="Its QoS. [default: 0]"),
    option(_WILL, "--will-retain", is_flag=True, help="Retain it."),
    option(
        _PROTOCOL,
        "-c",
        "--disable-clean-session",
        is_flag=True,
        help="Go on with the session of this client identifier, and keep it when the connection ends.",
    ),
    option(
        _PROTOCOL,
        "-x",
        "session_expiry",
        type=_Expiry(),
        metavar="SECONDS",
        help="MQTT 5.0: keep the session so long; -1 or ∞: for ever. [default: 0, with -c for ever]",
    ),
    option(
        _PROTOCOL,
        "-D",
        "--property",
        "triples",
        nargs=3,
        multiple=True,
        metavar="PACKET PROPERTY [NAME] VALUE",
        help="MQTT 5.0, which it implies: a property of connect, publish, subscribe, disconnect or will; "
        "user-property has a NAME.",
    ),
    option(
        _PROTOCOL,
        "-M",
        "inflight_maximum",
        type=click.IntRange(1, 65_000),
        default=1024,
        metavar="N",
        help="Messages of QoS 1 and 2 whose acknowledgement may be still to come. [default: 1024]",
    ),
    option(_MESSAGES, "-d", "--debug", is_flag=True, help="Say on standard error what happens."),
    option(_MESSAGES, "--quiet", is_flag=True, help="Say nothing of what goes wrong; see the exit status."),
)
_UNUSED: Final[Sequence[Callable[[Any], Any]]] = (
    option(WHERE, "--nodelay", is_flag=True, expose_value=False, help="Nothing to do: messages always leave at once."),
    unsupported(WHERE, "--proxy", metavar="URL", why="there is no SOCKS client here; use `ssh -L`, or tsocks"),
    unsupported(WHERE, "-S", is_flag=True, why="Python cannot look up SRV records; name the host with -h and -p"),
)


def mosquitto_options(command: CommandT) -> CommandT:
    """Give a command the flags that `pub`, `sub` and `rr` share; it gets them as `connection`."""

    @functools.wraps(command)
    def with_connection(**options: Any) -> Any:
        own = {each.name: options.pop(each.name) for each in _OWN_FIELDS}
        return command(connection=MosquittoConnection(**connection_fields(options), **own), **options)

    return cast(CommandT, apply([*OPTIONS, *_UNUSED, *TLS_OPTIONS, *_OPTIONS], with_connection))


_OWN_FIELDS: Final = [
    each for each in fields(MosquittoConnection) if each.init and each.name not in {f.name for f in fields(Connection)}
]
