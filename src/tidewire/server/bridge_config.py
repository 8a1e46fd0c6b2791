"""What can be said of one bridge, `[[bridge]]` of the configuration file, and what can be wrong with it."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from tidewire.client.address import Address, parse_url
from tidewire.client.network import default_tls
from tidewire.engine.limits import MAXIMUM_INTERVAL
from tidewire.server.toml_lines import Place
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.topics import SHARE_PREFIX, check_topic_filter, has_wildcard

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_CREDENTIALS: Final = re.compile(r"//[^/\s]*@")


class BridgeTopic(msgspec.Struct, forbid_unknown_fields=True):
    """`[[bridge.topics]]`: what crosses the bridge, and what it is called on either side."""

    filter: str
    """A topic filter, without the prefixes. Of several that match a topic, the first decides."""
    direction: Literal["out", "in", "both"] = "out"
    """Whether messages go from here to the other broker, come from there, or both."""
    qos: Annotated[int, msgspec.Meta(ge=0, le=2)] = 1
    """The highest QoS at which they cross; QoS 0 does not wait for a broker that is away."""
    local_prefix: str = ""
    """What stands before the topic here, and is taken off on the way out: `plant/`, with its slash."""
    remote_prefix: str = ""
    """What stands before the topic at the other broker, and is taken off on the way in."""


class BridgeTls(msgspec.Struct, forbid_unknown_fields=True):
    """`[bridge.tls]`. Files are PEM."""

    ca: str | None = None
    """Certificates of the authorities that the other broker's certificate may be signed by; else the system's."""
    certificate: str | None = None
    """Our certificate, where the other broker wants one."""
    key: str | None = None
    """The key of that certificate."""


class BridgeConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[[bridge]]`: another broker that messages are exchanged with."""

    name: str
    """What the log and `$SYS/broker/bridge/NAME` call it. Under another name it begins anew."""
    url: str
    """Where the other broker is: mqtt://HOST, mqtts://HOST, ws://, wss:// or unix://, with :PORT where it is needed."""
    topics: list[BridgeTopic]
    version: Literal["5.0", "3.1.1"] = "5.0"
    """The version of MQTT that is spoken with the other broker."""
    client_id: str | None = None
    """What it calls itself there, the same in each life: `tidewire.HOST.NAME` when it is not said."""
    user_name: str | None = None
    """Who it is there."""
    password_file: str | None = None
    """A file with the password in its first line."""
    password_variable: str | None = None
    """A variable of the environment that has the password, in place of a file."""
    session_expiry_s: Annotated[int, msgspec.Meta(ge=1, le=MAXIMUM_INTERVAL)] = MAXIMUM_INTERVAL
    """How long the other broker is asked to keep what comes in while the bridge is away; MQTT 5.0."""
    keep_alive_s: Annotated[int, msgspec.Meta(ge=5, le=65_535)] = 60
    """A connection that is silent for longer is looked after."""
    retry_maximum_s: Annotated[float, msgspec.Meta(gt=0.0, le=86_400.0)] = 60.0
    """The longest wait between two attempts to connect; the first ones are shorter."""
    tls: BridgeTls | None = None


class BridgeFault(ValueError):
    """What a key names cannot be used."""

    def __init__(self, message: str, *key: str) -> None:
        super().__init__(message)
        self.key = key


def bridge_faults(bridges: list[BridgeConfig]) -> Iterator[tuple[Place, str]]:
    """What keeps bridges from being built, and where it stands. It reads the files that are named."""
    names: set[str] = set()
    for number, bridge in enumerate(bridges):
        place: Place = ("bridge", number)
        if not _NAME.fullmatch(bridge.name):
            yield (*place, "name"), f"{bridge.name!r} must be made of letters, digits, '.', '_' and '-'"
        elif bridge.name in names:
            yield (*place, "name"), f"there is another bridge {bridge.name}; name each by one of its own"
        names.add(bridge.name)
        for part in (address, tls_context, password):
            try:
                part(bridge)
            except BridgeFault as fault:
                yield (*place, *fault.key), str(fault)
        if not bridge.topics:
            yield (*place, "topics"), 'nothing would cross it; name something: topics = [{ filter = "sensors/#" }]'
        for position, topic in enumerate(bridge.topics):
            for key, message in _topic_faults(topic):
                yield (*place, "topics", position, key), message


def address(bridge: BridgeConfig) -> Address:
    """Where the other broker is. Raises BridgeFault."""
    try:
        found = parse_url(bridge.url)
    except ValueError as error:
        raise BridgeFault(_CREDENTIALS.sub("//", str(error)), "url") from None
    if found.user_name is not None or found.password is not None:
        # A URL is shown to people, by `tidewire config show` for example.
        raise BridgeFault("name and password have keys of their own: user_name and password_file", "url")
    if bridge.tls is not None and not found.secure:
        raise BridgeFault("there are TLS files, but the url is not mqtts:// or wss://", "tls")
    return found


def password(bridge: BridgeConfig) -> str | None:
    """The password, from its file or variable. Raises BridgeFault."""
    file, variable = bridge.password_file, bridge.password_variable
    if file is None and variable is None:
        return None
    key = "password_file" if file is not None else "password_variable"
    if bridge.user_name is None:
        raise BridgeFault("a password needs a user_name", key)
    if file is None:
        assert variable is not None
        if variable not in os.environ:
            raise BridgeFault(f"there is no {variable} in the environment", key)
        return os.environ[variable]
    if variable is not None:
        raise BridgeFault("there is a password_variable as well; leave one of them out", key)
    try:
        return next(iter(Path(file).read_text(encoding="utf-8").splitlines()), "")
    except OSError as error:
        raise BridgeFault(f"cannot read {file}: {error.strerror}", key) from None
    except UnicodeDecodeError:
        raise BridgeFault(f"{file} is not UTF-8 text", key) from None


def tls_context(bridge: BridgeConfig) -> ssl.SSLContext | None:
    """What TLS is spoken with; None: the client's own choice. Raises BridgeFault."""
    tls = bridge.tls
    if tls is None:
        return None
    context = default_tls()
    if tls.ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(tls.ca)
        except OSError as error:  # ssl.SSLError is one
            raise BridgeFault(f"cannot use {tls.ca}: {_explained(error)}", "tls", "ca") from None
    if tls.certificate is None:
        if tls.key is not None:
            raise BridgeFault("its certificate is missing; add certificate", "tls", "key")
        return context
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        named = f"{tls.certificate} with {tls.key}" if tls.key is not None else f"{tls.certificate} without a key"
        raise BridgeFault(f"cannot use {named}: {_explained(error)}", "tls", "certificate") from None
    return context


def client_id(bridge: BridgeConfig) -> str:
    """What the bridge calls itself at the other broker."""
    return bridge.client_id or f"tidewire.{socket.gethostname()}.{bridge.name}"


def _topic_faults(topic: BridgeTopic) -> Iterator[tuple[str, str]]:
    for key, prefix in (("local_prefix", topic.local_prefix), ("remote_prefix", topic.remote_prefix)):
        if has_wildcard(prefix.encode()):
            yield key, f"{prefix!r} must not contain a wildcard; it belongs into the filter"
            return
        if (prefix + topic.filter).encode().startswith(SHARE_PREFIX):
            yield "filter", "a bridge cannot share a subscription"
            return
        try:
            check_topic_filter((prefix + topic.filter).encode())
        except InvalidTopic as error:
            yield "filter", str(error)
            return


def _explained(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is not PEM").replace("_", " ").lower()
    return error.strerror or str(error)
