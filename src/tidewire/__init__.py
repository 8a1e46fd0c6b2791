"""Tidewire: MQTT for Python, whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidewire.client.client import Client as Client
    from tidewire.client.errors import ConnectionFailed as ConnectionFailed
    from tidewire.client.errors import ConnectionRefused as ConnectionRefused
    from tidewire.client.errors import NotConnected as NotConnected
    from tidewire.client.errors import Overflow as Overflow
    from tidewire.client.errors import PublishError as PublishError
    from tidewire.client.errors import QueueFull as QueueFull
    from tidewire.client.errors import SubscribeError as SubscribeError
    from tidewire.client.errors import TidewireError as TidewireError
    from tidewire.client.options import Authentication as Authentication
    from tidewire.client.options import Backoff as Backoff
    from tidewire.client.options import PublishOptions as PublishOptions
    from tidewire.client.options import Subscription as Subscription
    from tidewire.client.options import Will as Will
    from tidewire.client.outbox import OutboxError as OutboxError
    from tidewire.client.outbox import SQLiteOutbox as SQLiteOutbox
    from tidewire.client.scram import scram as scram
    from tidewire.client.stream import Stream as Stream
    from tidewire.engine.client_session import Publication as Publication
    from tidewire.engine.received import Message as Message
    from tidewire.server.access_config import AccessConfig as AccessConfig
    from tidewire.server.config import Config as Config
    from tidewire.server.config import ConfigError as ConfigError
    from tidewire.server.embedded import Broker as Broker
    from tidewire.server.hooks import ClientInfo as ClientInfo
    from tidewire.server.hooks import ConnectRequest as ConnectRequest
    from tidewire.server.hooks import Disconnection as Disconnection
    from tidewire.server.hooks import Drop as Drop
    from tidewire.server.hooks import PublishRequest as PublishRequest
    from tidewire.server.hooks import Refuse as Refuse
    from tidewire.server.hooks import SubscribeRequest as SubscribeRequest
    from tidewire.wire.codes import ReasonCode as ReasonCode
    from tidewire.wire.errors import InvalidTopic as InvalidTopic

__version__ = "0.1.0"

_HOMES = {
    "AccessConfig": "tidewire.server.access_config",
    "Authentication": "tidewire.client.options",
    "Backoff": "tidewire.client.options",
    "Broker": "tidewire.server.embedded",
    "Client": "tidewire.client.client",
    "ClientInfo": "tidewire.server.hooks",
    "Config": "tidewire.server.config",
    "ConfigError": "tidewire.server.config",
    "ConnectRequest": "tidewire.server.hooks",
    "ConnectionFailed": "tidewire.client.errors",
    "ConnectionRefused": "tidewire.client.errors",
    "Disconnection": "tidewire.server.hooks",
    "Drop": "tidewire.server.hooks",
    "InvalidTopic": "tidewire.wire.errors",
    "Message": "tidewire.engine.received",
    "NotConnected": "tidewire.client.errors",
    "OutboxError": "tidewire.client.outbox",
    "Overflow": "tidewire.client.errors",
    "Publication": "tidewire.engine.client_session",
    "PublishError": "tidewire.client.errors",
    "PublishOptions": "tidewire.client.options",
    "PublishRequest": "tidewire.server.hooks",
    "QueueFull": "tidewire.client.errors",
    "ReasonCode": "tidewire.wire.codes",
    "Refuse": "tidewire.server.hooks",
    "SQLiteOutbox": "tidewire.client.outbox",
    "Stream": "tidewire.client.stream",
    "SubscribeError": "tidewire.client.errors",
    "SubscribeRequest": "tidewire.server.hooks",
    "Subscription": "tidewire.client.options",
    "TidewireError": "tidewire.client.errors",
    "Will": "tidewire.client.options",
    "scram": "tidewire.client.scram",
}
"""Where each public name lives: a command that needs no client does not wait for one to load (PEP 562)."""

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 (they are strings)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tidewire' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 (only when it is needed)

    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
