"""The configuration file: one typed TOML document, and what can be wrong with it in one line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec

from tidewire.access.control import Policy
from tidewire.access.web import is_loopback
from tidewire.engine.limits import Limits
from tidewire.server.access_config import AccessConfig, AccessFault, make_policy
from tidewire.server.admin_config import AdminConfig, admin_faults
from tidewire.server.bridge_config import BridgeConfig, bridge_faults
from tidewire.server.config_document import Document, faults, suggestion, written
from tidewire.server.console_config import ConsoleConfig, console_faults
from tidewire.server.environment import apply
from tidewire.server.listener_config import ListenerConfig
from tidewire.server.meter_config import MeterConfig, meter_faults
from tidewire.server.telemetry_config import TelemetryConfig, telemetry_faults
from tidewire.server.toml_lines import Place, lines_of
from tidewire.store.directory import default_directory

LogLevel = Literal["debug", "info", "warning", "error"]

QueuePolicy = Literal["drop_newest", "drop_oldest", "refuse"]

Durability = Literal["full", "relaxed", "memory"]

LARGEST_LIMIT: Final = 2**53
"""No limit is larger: past it a number is not exact in every type that it passes through."""


LIMIT_BOUNDS: Final = {
    "receive_maximum": (1, 65_535),
    "inflight_maximum": (1, 65_534),
    "topic_alias_maximum": (0, 65_535),
    "keep_alive_maximum_s": (0, 65_535),
    "maximum_packet_size": (256, 268_435_460),
    "session_expiry_maximum_s": (0, 0xFFFF_FFFF),
    "retained_burst": (1, LARGEST_LIMIT),
}
"""Limits that travel in a packet, or without which nothing would move."""


class ConfigError(ValueError):
    """The configuration cannot be used; the text says what is wrong and how to mend it."""

    def __init__(self, *errors: str) -> None:
        more = f" (and {len(errors) - 1} more: tidewire config check)" if len(errors) > 1 else ""
        super().__init__(f"{errors[0]}{more}")
        self.errors = list(errors)
        """A line for each thing that is wrong."""


class SettingError(ConfigError):
    """A ConfigError that another value of one top-level setting mends. Its text is for the command line; whoever is
    configured otherwise words it from the parts."""

    def __init__(self, problem: str, setting: str, value: object) -> None:
        super().__init__(f"{problem}: --{setting} {value}")
        self.problem = problem
        """Ends where setting and value follow."""
        self.setting = setting
        self.value = value


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file. What is not said has these defaults."""

    bind: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.1", "::1"])
    """Addresses to listen on."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 1883
    """TCP port; 0: any free one."""
    unix_socket: str | None = None
    """Path of a Unix socket to listen on as well."""
    backlog: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 1024
    """Connections that the kernel keeps until they are accepted."""
    accept_rate: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    """Connections a second that are let in; more wait, so that a storm of them does not starve the others."""
    connections: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Connections at a time; 0: as many as open files allow."""
    data: str | None = None
    """Directory that keeps sessions and messages; without one they end with the process."""
    durability: Durability = "full"
    """What an acknowledgement promises: "full", the disk has it; "relaxed", it survives the end of the process but not
    that of the machine; "memory", nothing is kept."""
    queue_policy: QueuePolicy = "drop_newest"
    """What the full queue of a session does: "drop_newest" loses the new message, and tells its publisher where nobody
    could take it; "drop_oldest" loses the oldest; "refuse" tells the publisher whenever a session could not take it."""
    log_level: LogLevel = "info"
    """What is logged: this, and what is worse."""
    listeners: list[ListenerConfig] = msgspec.field(default_factory=list, name="listener")
    """Listeners beside the one of `bind` and `port`, each with what it asks for; `bind = []` leaves that one out."""
    bridges: list[BridgeConfig] = msgspec.field(default_factory=list, name="bridge")
    """Other brokers that messages are exchanged with."""
    admin: AdminConfig | None = None
    """The broker's administration over HTTP; there is none where this is not said."""
    console: ConsoleConfig | None = None
    """The broker's web page; there is none where this is not said."""
    access: AccessConfig = msgspec.field(default_factory=AccessConfig)
    meter: MeterConfig = msgspec.field(default_factory=MeterConfig)
    telemetry: TelemetryConfig | None = None
    """Traces for an OpenTelemetry collector; there are none where this is not said."""
    limits: dict[str, int | float] = {}
    """Bounds of `tidewire.engine.limits`, by their names there."""


def read_config(path: Path | None, environment: Mapping[str, str] = MappingProxyType({})) -> Config:
    """A configuration from a file, if there is one, and from variables, which win over it. Raises ConfigError."""
    return convert(read_document(path, environment))


def read_document(path: Path | None, environment: Mapping[str, str]) -> Document:
    """The same, before it is held against its types. Raises ConfigError for a file that is no TOML."""
    document = Document()
    if path is not None:
        try:
            text = path.read_bytes().decode("utf-8")
            document = Document(tomllib.loads(text), name=str(path))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{path} is not UTF-8 text") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(_syntax_fault(path, text, str(error))) from None
        document.origins = {place: f"{path}, line {line}" for place, line in lines_of(text).items()}
    apply(document, Config, environment)
    return document


def convert(document: Document) -> Config:
    """The configuration that a document is. Raises ConfigError with all that is wrong with it."""
    errors = [document.fault(place, message) for place, message in faults(Config, document.values)]
    limits = document.values.get("limits")
    for name, value in limits.items() if isinstance(limits, dict) else ():
        if isinstance(value, int | float) and (message := limit_fault(name, value)):
            errors.append(document.fault(("limits", name), message))
    if errors:
        raise ConfigError(*errors)
    config = msgspec.convert(document.values, Config)
    if errors := [document.fault(place, message) for place, message in meter_faults(config.meter)]:
        raise ConfigError(*errors)
    return config


def check_config(document: Document) -> list[str]:
    """All that keeps a broker from starting with it, as far as can be seen without opening its listeners."""
    try:
        config = convert(document)
    except ConfigError as error:
        return error.errors
    errors = []
    for part in (make_access, check_exposure):
        try:
            part(config)
        except ConfigError as error:
            errors.append(located(document, str(error)))
    for number, listener in enumerate(config.listeners):
        errors += [
            document.fault(place, message) for place, message in _listener_faults(("listener", number), listener)
        ]
    errors += [document.fault(place, message) for place, message in bridge_faults(config.bridges)]
    errors += [document.fault(place, message) for place, message in admin_faults(config.admin)]
    errors += [document.fault(place, message) for place, message in telemetry_faults(config.telemetry)]
    if not config.listeners and not config.bind and config.unix_socket is None:
        errors.append(document.fault(("bind",), "there is no address to listen on; name one"))
    return errors


def located(document: Document, message: str) -> str:
    """A message about a configuration that was read, with the line that it is about, if it names one."""
    rule = re.match(r"access\.rules, rule (\d+): ", message)
    if rule is not None:
        return document.fault(("access", "rules", int(rule[1]) - 1), message[rule.end() :])
    key = re.match(r"((?:\w+\.)+\w+)(?: |: )", message)
    place: Place = tuple(key[1].split(".")) if key is not None else document.place_of(message)
    if place not in document.origins:
        return f"{document.origin(place)}: {message}"
    return f"{document.origins[place]}: {message if key is not None else f'{written(place)}: {message}'}"


def make_limits(config: Config) -> Limits:
    """The engine's limits with those of the file. Raises ConfigError."""
    limits = Limits()
    limits.queue_policy = config.queue_policy
    errors = []
    for name, value in config.limits.items():
        if message := limit_fault(name, value):
            errors.append(f"limits.{name} {message}")
        else:
            setattr(limits, name, float(value) if isinstance(getattr(limits, name), float) else int(value))
    if errors:
        raise ConfigError(*errors)
    return limits


def limit_fault(name: str, value: int | float) -> str:
    """What is wrong with a limit; empty where nothing is."""
    known = vars_of(Limits())
    if name not in known:
        return f"does not exist{suggestion(name, known)}"
    least, most = LIMIT_BOUNDS.get(name, (0, LARGEST_LIMIT))
    return "" if least <= value <= most else f"must lie between {least} and {most}, not be {value}"


def vars_of(limits: Limits) -> dict[str, int | float]:
    """The names and values of all limits, compiled or not."""
    return {
        name: value
        for name in dir(limits)
        if not name.startswith("_") and isinstance(value := getattr(limits, name), int | float)
    }


def data_directory(config: Config, environment: Mapping[str, str]) -> Path:
    """Where `tidewire serve` keeps its data, if it keeps any."""
    return Path(config.data).expanduser() if config.data is not None else default_directory(environment)


def make_access(config: Config) -> Policy:
    """Who may connect, and who may do what. Raises ConfigError."""
    try:
        return make_policy(config.access)
    except AccessFault as error:
        raise ConfigError(str(error)) from None


def check_exposure(config: Config) -> None:
    """Refuse to serve strangers on other machines unless the file says so. Raises ConfigError."""
    exposed = exposed_addresses(config)
    if exposed:
        raise ConfigError(
            f"refusing to listen on {exposed[0]} where anybody could connect: no credentials are configured. "
            f"Make some, with certificates and a configuration: tidewire init --bind {exposed[0]}"
        )
    for place, message in console_faults(config.console, config.access.proves_names()):
        raise ConfigError(f"{'.'.join(map(str, place))}: {message}")


def exposed_addresses(config: Config) -> list[str]:
    """Those where strangers on other machines would be served though nothing says that they may."""
    if config.access.proves_names() or config.access.anonymous is True:
        return []
    open_to_all = [
        *config.bind,
        *(
            address
            for listener in config.listeners
            if listener.tls is None or listener.tls.client_certificate != "required"
            for address in listener.bind
        ),
    ]
    return [address for address in open_to_all if not is_loopback(address)]


def _listener_faults(place: Place, listener: ListenerConfig) -> Iterator[tuple[Place, str]]:
    from tidewire.server.tls import make_context  # noqa: PLC0415 (it imports this file)

    if listener.port is None and listener.unix_socket is None:
        yield place, "neither a port nor a unix_socket; add port = 8883"
    if listener.tls is not None:
        try:
            make_context(listener.tls, listener.protocol)
        except ConfigError as error:  # most name the key in front, without the number of the listener
            named = re.match(r"listener\.([\w.]+):? ", str(error))
            if named is None:
                yield (*place, "tls"), str(error)
            else:
                yield (*place, *named[1].split(".")), str(error)[named.end() :]


def _syntax_fault(path: Path, text: str, message: str) -> str:
    """tomllib's message with the line in front, as all others have it."""
    at = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if at is not None:
        return f"{path}, line {at[1]}: {message[: at.start()]}, at column {at[2]}"
    return f"{path}, line {len(text.splitlines())}: {message.removesuffix(' (at end of document)')}, at the end"
