"""How does a command connect? The flags that all commands share, and the client that they describe."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from tidewire.cli.command_line import apply, option
from tidewire.cli.tls_options import TLS_OPTIONS, TLSOptions, tls_context, tls_fields

if TYPE_CHECKING:
    from tidewire import Client
    from tidewire.client.address import Address

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

VERSIONS: Final = {
    "5": "5.0", "311": "3.1.1", "31": "3.1",
    "mqttv5": "5.0", "mqttv311": "3.1.1", "mqttv31": "3.1",
    "5.0": "5.0", "3.1.1": "3.1.1", "3.1": "3.1",
}  # fmt: skip
"""What -V may say, and the client's name for it."""

DEFAULT_VERSION: Final = "5"
"""That of `tidewire.Client`: before 5.0 a broker that refuses a message has no way to say so (3.1.1, 3.3.5)."""

TLS_PORT: Final = 8883
"""The port at which TLS is meant even where nobody says so."""


DEFAULT_PORTS: Final = {(False, False): 1883, (False, True): TLS_PORT, (True, False): 80, (True, True): 443}
"""By whether it is a WebSocket, and TLS."""


@dataclass(kw_only=True)
class Connection:
    """The shared flags of one command line, and the client that they describe."""

    host: str
    port: int | None
    unix: str | None
    given_url: str | None
    websocket: bool
    bind_address: str | None
    user_name: str | None
    password: str | None
    client_id: str | None
    id_prefix: str | None
    keep_alive: int
    given_version: str
    tls: TLSOptions

    @property
    def version(self) -> str:
        """ "5.0", "3.1.1" or "3.1"."""
        return VERSIONS[self.given_version]

    @property
    def url(self) -> str:
        """Where to connect to, without user name and password."""
        if self.unix is not None:
            return f"unix://{self.unix}"
        address = self._address
        if address.scheme == "unix":
            return f"unix://{address.path}"
        host = f"[{address.host}]" if ":" in address.host else address.host
        secure = {"mqtt": "mqtts", "ws": "wss"} if self._is_secure(address) else {}
        return f"{secure.get(address.scheme, address.scheme)}://{host}:{address.port}{address.path}"

    def client(self, **arguments: Any) -> Client:
        """A client for it; `arguments` win. Raises click.UsageError for what does not go together."""
        from tidewire import Client  # noqa: PLC0415 (heavy, and not for --help)

        try:
            return Client(self.url, **{**self.arguments(), **arguments})
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Client` beside the URL."""
        address = None if self.unix is not None else self._address
        user_name, password = self.user_name, self.password
        if address is not None:
            user_name = user_name if user_name is not None else address.user_name
            password = password if password is not None else address.password
        return {
            "client_id": self.full_client_id,
            "version": self.version,
            "keep_alive": self.keep_alive,
            "user_name": user_name,
            "password": None if password is None else os.fsencode(password),
            "bind_address": self.bind_address,
            "tls": tls_context(self.tls) if address is not None and self._is_secure(address) else None,
        }

    @property
    def full_client_id(self) -> str:
        """What -i and -I say: empty for one that the client or the server makes."""
        if self.client_id is not None and self.id_prefix is not None:
            raise click.UsageError(
                "-i and -I cannot be used together: one is the client identifier, the other its head"
            )
        return f"{self.id_prefix}{os.getpid()}" if self.id_prefix is not None else self.client_id or ""

    @functools.cached_property
    def _address(self) -> Address:
        from tidewire.client.address import Address, parse_url  # noqa: PLC0415

        if self.given_url is None:
            default = DEFAULT_PORTS[self.websocket, self.tls.asks_for_tls]
            scheme, path = ("ws", "/mqtt") if self.websocket else ("mqtt", "")
            return Address(scheme, self.host, self.port or default, path)
        scheme, separator, rest = self.given_url.partition("://")
        url = self.given_url
        if separator and scheme.lower() in ("mqtt", "mqtts"):
            url = f"{scheme}://{rest.partition('/')[0]}"
        try:
            return parse_url(url)
        except ValueError as error:
            raise click.UsageError(f"-L: {error}") from None

    def _is_secure(self, address: Address) -> bool:
        meant = address.scheme == "mqtt" and address.port == TLS_PORT and not self.tls.no_tls
        return address.secure or self.tls.asks_for_tls or meant


WHERE: Final = "Where to connect to"
WHO: Final = "Who connects"

OPTIONS: Final[Sequence[Callable[[Any], Any]]] = (
    option(WHERE, "-h", "--host", default="localhost", metavar="HOST", help="The broker. [default: localhost]"),
    option(
        WHERE,
        "-p",
        "--port",
        type=click.IntRange(1, 65_535),
        metavar="PORT",
        help=f"TCP port; {TLS_PORT} means TLS. [default: 1883, with TLS {TLS_PORT}]",
    ),
    option(WHERE, "--unix", metavar="PATH", help="Connect to a Unix socket instead."),
    option(
        WHERE,
        "-L",
        "--url",
        "given_url",
        metavar="URL",
        help="mqtt(s)://[USER[:PASSWORD]@]HOST[:PORT][/TOPIC], instead of -h and -p; or ws(s)://HOST[:PORT][/PATH].",
    ),
    option(WHERE, "--ws", "websocket", is_flag=True, help="WebSocket, at path /mqtt; -L names another."),
    option(WHERE, "-A", "bind_address", metavar="ADDRESS", help="Address of this machine to connect from."),
    option(WHO, "-u", "--username", "user_name", metavar="NAME", help="User name."),
    option(WHO, "-P", "--pw", "password", metavar="TEXT", help="Password. Others on this machine may see it here."),
    option(WHO, "-i", "--id", "client_id", metavar="TEXT", help="Client identifier. [default: a new one]"),
    option(WHO, "-I", "--id-prefix", metavar="TEXT", help="Client identifier: this, and the process id."),
    option(
        WHO,
        "-k",
        "--keepalive",
        "keep_alive",
        type=click.IntRange(0, 65_535),
        default=60,
        metavar="SECONDS",
        help="Ping the broker after so long without traffic; 0: never. [default: 60]",
    ),
    option(
        WHO,
        "-V",
        "--protocol-version",
        "given_version",
        type=click.Choice(list(VERSIONS)),
        default=DEFAULT_VERSION,
        metavar="5|311|31",
        help=f"MQTT version. [default: {DEFAULT_VERSION}]",
    ),
)


def connection_options(command: CommandT) -> CommandT:
    """Give a command the shared flags; it gets them as `connection`."""

    @functools.wraps(command)
    def with_connection(**options: Any) -> Any:
        return command(connection=Connection(**connection_fields(options)), **options)

    return cast(CommandT, apply([*OPTIONS, *TLS_OPTIONS], with_connection))


def connection_fields(options: dict[str, Any]) -> dict[str, Any]:
    """Take the fields of `Connection` out of what click has parsed."""
    taken = {field.name: options.pop(field.name) for field in fields(Connection) if field.name != "tls"}
    return {**taken, "tls": TLSOptions(**tls_fields(options))}
