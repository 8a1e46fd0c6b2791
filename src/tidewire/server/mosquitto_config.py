"""What does a configuration file of Mosquitto say in our words, and what of it can we not say?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tidewire.server.config import ConfigError
from tidewire.server.listener_config import LOOPBACK
from tidewire.server.mosquitto_reasons import BRIDGE_KEYS, REASONS, SAME_HERE

DEFAULT_PORT: Final = 1883
EVERYWHERE: Final = ("0.0.0.0", "::")

MESSAGE_HEAD_BYTES: Final = 64 * 1024
"""What `message_size_limit` does not count and we do: the topic, and some properties."""

_UNITS_S: Final = {"h": 3600, "d": 86_400, "w": 7 * 86_400, "m": 30 * 86_400, "y": 365 * 86_400}


@dataclass(frozen=True)
class Line:
    """One setting: where it stands and what it says."""

    origin: str
    key: str
    value: str


@dataclass
class _Listener:
    """What stands between one `listener` line and the next."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    """Of the settings that are looked at together when all of them are known."""
    port: int | None = None
    bind: list[str] = field(default_factory=list)
    unix_socket: str | None = None


def convert_mosquitto(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The document of a configuration that does the same, and a line for each setting that it cannot take over.

    Raises ConfigError for files that cannot be read, or that have no setting of Mosquitto's.
    """
    conversion = _Conversion()
    lines = list(read_lines(path))
    for line in lines:
        conversion.take(line)
    if lines and conversion.unknown == len(lines):
        raise ConfigError(f"{path} is no configuration of Mosquitto: it has no setting such as `listener 1883`")
    return conversion.document(), conversion.notes


def read_lines(path: Path, included: frozenset[Path] = frozenset()) -> Iterator[Line]:
    """All settings of a file and of those that it includes. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    for number, written in enumerate(text.splitlines(), 1):
        key, _, value = written.strip().partition(" ")
        line = Line(f"{path}, line {number}", key, value.strip())
        if not key or key.startswith("#"):
            continue
        if key != "include_dir":
            yield line
            continue
        directory = Path(line.value)
        if not directory.is_dir():
            raise ConfigError(f"{line.origin}: include_dir: there is no directory {directory}")
        if directory.resolve() in included:
            raise ConfigError(f"{line.origin}: include_dir: {directory} includes itself")
        for file in sorted(directory.glob("*.conf")):
            yield from read_lines(file, included | {directory.resolve()})


class _Conversion:
    """The settings so far."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.unknown = 0
        """Settings that are not Mosquitto's."""
        self._limits: dict[str, int | float] = {}
        self._top: dict[str, Any] = {}
        self._default = _Listener()
        self._listeners = [self._default]
        self._per_listener = False
        self._in_bridge = False

    def take(self, line: Line) -> None:
        """One setting, in the order of the file."""
        key = line.key
        if key in ("listener", "connection"):
            self._in_bridge = key == "connection"
        if self._in_bridge and (key in BRIDGE_KEYS or key.startswith("bridge_")):
            if key == "connection":
                self._note(
                    line, f"the bridge {line.value} is left out: write it as [[bridge]], as docs/bridges.md says"
                )
        elif key in _SETTINGS:
            _SETTINGS[key](self, line)
        elif key in _LIMITS:
            self._limit(line)
        elif key in _TOGETHER:
            self._listeners[-1].lines[key] = line
        elif key in REASONS:
            self._note(line, REASONS[key])
        elif key.startswith(("auth_opt_", "plugin_opt_")):
            self._note(line, REASONS["plugin"])
        elif key in SAME_HERE:
            same, otherwise = SAME_HERE[key]
            if same not in ("", line.value):
                self._note(line, otherwise)
        else:
            self.unknown += 1
            self._note(line, "Mosquitto has no such setting, as far as is known here")

    def document(self) -> dict[str, Any]:
        """All of it together."""
        named = self._listeners[1:]
        default = self._default
        if (
            default.port is not None
            or default.bind
            or (not named and (default.values or _TLS_KEYS & set(default.lines)))
        ):
            named = [default, *named]
        access = self._access(named)
        listeners = [self._listener(listener) for listener in named]
        document: dict[str, Any] = {"bind": [], **self._top} if listeners else dict(self._top)
        parts = {"access": access, "limits": self._limits, "listener": listeners}
        return document | {name: part for name, part in parts.items() if part}

    # -- settings of the whole broker

    def _per_listener_settings(self, line: Line) -> None:
        self._per_listener = line.value == "true"

    def _log_type(self, line: Line) -> None:
        levels = ["debug", "info", "warning", "error"]
        meant = {"all": "debug", "notice": "info", "information": "info", "none": "error"}.get(line.value, line.value)
        if meant in levels:
            said = self._top.get("log_level", "error")
            self._top["log_level"] = levels[min(levels.index(said), levels.index(meant))]
        else:
            self._note(line, 'it has no level of its own; log_level = "debug" logs the most')

    def _limit(self, line: Line) -> None:
        names, least, most, unlimited = _LIMITS[line.key]
        number = self._number(line)
        if number is None:
            return
        if number == 0 and unlimited is not None:
            if not unlimited:
                self._note(line, f"{names[0]} has to have a bound here; its default stays")
                return
            number = unlimited
        if line.key == "message_size_limit":
            number += MESSAGE_HEAD_BYTES
        bounded = min(max(number, least), most)
        if bounded != number:
            self._note(line, f"it is {bounded} here, which is the {'least' if bounded == least else 'most'} there is")
        for name in names:
            self._limits[name] = bounded

    def _expiration(self, line: Line) -> None:
        match = re.fullmatch(r"(\d+)([hdwmy])", line.value)
        if match is None:
            self._note(line, f"{line.value!r} is no time such as 14d")
        else:
            self._limits["session_expiry_maximum_s"] = min(int(match[1]) * _UNITS_S[match[2]], 0xFFFF_FFFF)

    # -- settings of a listener

    def _new_listener(self, line: Line) -> None:
        port, _, address = line.value.partition(" ")
        listener = _Listener()
        if port == "0" and address.startswith("/"):
            listener.unix_socket = address
        elif port.isdecimal() and int(port) <= 65_535:
            listener.port = int(port)
            listener.bind = [address.strip()] if address else []
        else:
            self._note(line, f"{port!r} is no port; the listener is left out")
        self._listeners.append(listener)

    def _port(self, line: Line) -> None:
        self._default.port = self._number(line)

    def _bind_address(self, line: Line) -> None:
        self._listeners[-1].bind = [line.value]

    def _socket_domain(self, line: Line) -> None:
        listener = self._listeners[-1]
        domain = {"ipv4": ["0.0.0.0"], "ipv6": ["::"]}.get(line.value)
        if domain is not None and not listener.bind:
            listener.bind = domain

    def _protocol(self, line: Line) -> None:
        if line.value == "websockets":
            self._listeners[-1].values["protocol"] = "websocket"
            self._note(line, "taken over; Mosquitto lets clients ask for any path, here it has to be /mqtt (path = …)")
        elif line.value != "mqtt":
            self._note(line, f"a listener cannot speak {line.value}; it speaks mqtt here")

    def _persistence(self, line: Line) -> None:
        if line.value == "true":
            self._note(line, REASONS["persistence_file"])
        else:
            self._top["durability"] = "memory"

    def _connections(self, line: Line) -> None:
        number = self._number(line)
        if number is not None and number > 0:
            self._listeners[-1].values["connections"] = number

    def _origin(self, line: Line) -> None:
        self._listeners[-1].values.setdefault("origins", []).append(line.value)

    # -- what is known at the end

    def _access(self, listeners: list[_Listener]) -> dict[str, Any]:
        """Without `per_listener_settings` the last word counts, wherever it stands; with it, each has its own."""
        listens = any(not self._only_local(listener) for listener in listeners)
        if not self._per_listener:
            said = {key: line for listener in self._listeners for key, line in listener.lines.items()}
            return self._one_access([said], listens)
        return self._one_access([listener.lines for listener in listeners or [self._default]], listens)

    def _one_access(self, said: list[dict[str, Line]], listens: bool) -> dict[str, Any]:
        access: dict[str, Any] = {}
        for key in ("password_file", "acl_file"):
            lines = [lines[key] for lines in said if key in lines]
            if lines:
                access[key] = lines[0].value
            for line in lines:
                if line.value != lines[0].value:
                    self._note(line, f"it is for all listeners here, and is {lines[0].value}")
            if lines and len(lines) < len(said):
                self._note(lines[0], "it is for all listeners here, also for those that had none")
        anonymous = [lines["allow_anonymous"].value == "true" for lines in said if "allow_anonymous" in lines]
        if anonymous or listens:
            access["anonymous"] = bool(anonymous) and len(anonymous) == len(said) and all(anonymous)
        if any(anonymous) and not access["anonymous"]:
            line = next(lines["allow_anonymous"] for lines in said if "allow_anonymous" in lines)
            self._note(line, "it is for all listeners here, and not all of them say true; so it is anonymous = false")
        return access

    def _listener(self, listener: _Listener) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if listener.unix_socket is not None:
            values["unix_socket"] = listener.unix_socket
        else:
            values["bind"] = listener.bind or list(LOOPBACK if self._only_local(listener) else EVERYWHERE)
            values["port"] = DEFAULT_PORT if listener.port is None else listener.port
        values |= listener.values
        tls = self._tls(listener.lines)
        return values | {"tls": tls} if tls else values

    def _only_local(self, listener: _Listener) -> bool:
        """Without a port and an address Mosquitto serves its own machine, and there without names."""
        return listener is self._default and listener.port is None and not listener.bind

    def _tls(self, lines: dict[str, Line]) -> dict[str, Any]:
        said = {key: line.value for key, line in lines.items()}
        if "certfile" not in said or "keyfile" not in said:
            for key in _TLS_KEYS & lines.keys():
                self._note(lines[key], "TLS needs a certificate and a key; make them: tidewire certs make")
            return {}
        tls: dict[str, Any] = {"certificate": said["certfile"], "key": said["keyfile"]}
        if said.get("require_certificate") == "true":
            tls["client_certificate"] = "required"
            if "cafile" in said:
                tls["client_ca"] = said["cafile"]
            else:
                self._note(lines["require_certificate"], "it needs client_ca: the authority that signs clients")
            if said.get("use_identity_as_username") == "true":
                tls["identity"] = "common_name"
            if "crlfile" in said:
                tls["revocation_list"] = said["crlfile"]
        elif said.get("use_identity_as_username") == "true":
            self._note(lines["use_identity_as_username"], "it needs require_certificate true")
        if "ciphers" in said:
            tls["ciphers"] = said["ciphers"]
        if "psk_file" in said:
            tls["pre_shared_keys"] = said["psk_file"]
        version = said.get("tls_version", "tlsv1.2")
        if version == "tlsv1.3":
            tls["minimum_version"] = "1.3"
        elif version != "tlsv1.2":
            self._note(lines["tls_version"], f"{version} is broken and is not spoken here; it is 1.2 and newer")
        return tls

    def _number(self, line: Line) -> int | None:
        try:
            return int(line.value)
        except ValueError:
            self._note(line, f"{line.value!r} is no number")
            return None

    def _note(self, line: Line, reason: str) -> None:
        self.notes.append(f"{line.origin}: {line.key}: {reason}")


_TLS_KEYS: Final = frozenset(
    (
        "certfile",
        "keyfile",
        "cafile",
        "require_certificate",
        "use_identity_as_username",
        "crlfile",
        "tls_version",
        "ciphers",
        "psk_file",
    )
)
_TOGETHER: Final = _TLS_KEYS | {"password_file", "acl_file", "allow_anonymous"}

_SETTINGS: Final[dict[str, Callable[[_Conversion, Line], None]]] = {
    "listener": _Conversion._new_listener,
    "port": _Conversion._port,
    "bind_address": _Conversion._bind_address,
    "socket_domain": _Conversion._socket_domain,
    "protocol": _Conversion._protocol,
    "persistence": _Conversion._persistence,
    "max_connections": _Conversion._connections,
    "websockets_origin": _Conversion._origin,
    "per_listener_settings": _Conversion._per_listener_settings,
    "log_type": _Conversion._log_type,
    "persistent_client_expiration": _Conversion._expiration,
}

_MOST: Final = 2**53

_LIMITS: Final[dict[str, tuple[tuple[str, ...], int, int, int | None]]] = {
    "max_inflight_messages": (("inflight_maximum", "receive_maximum"), 1, 65_534, 65_534),
    "max_queued_messages": (("queue_messages",), 1, _MOST, 0),
    "max_queued_bytes": (("queue_bytes",), 1, _MOST, 0),
    "max_packet_size": (("maximum_packet_size",), 256, 268_435_460, 268_435_460),
    "message_size_limit": (("maximum_packet_size",), 256, 268_435_460, 268_435_460 - MESSAGE_HEAD_BYTES),
    "max_keepalive": (("keep_alive_maximum_s",), 0, 65_535, None),
    "max_topic_alias": (("topic_alias_maximum",), 0, 65_535, None),
    "sys_interval": (("sys_interval_s",), 0, _MOST, None),
}
"""Setting: our limits, the least and the most that they may be, and what 0 stands for: None, 0 itself; 0, no bound at
all, which we do not have."""
