"""What can be said of traces, `[telemetry]` of the configuration, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from tidewire.server.toml_lines import Place


class TelemetryConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[telemetry]`: traces for an OpenTelemetry collector. There are none without this table."""

    endpoint: str
    """Where a collector takes OTLP over HTTP: `http://127.0.0.1:4318/v1/traces`."""
    service_name: str = "tidewire"
    """What traces call this broker."""
    sample_ratio: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 1.0
    """The share of connections, and of calls of the administration, that are traced. Messages are as they say."""
    messages: bool = False
    """Whether messages are traced whose user property `traceparent` asks for it. Then each message is looked at by
    itself, also at QoS 0, where many could be handed on as one."""


def telemetry_faults(config: TelemetryConfig | None) -> Iterator[tuple[Place, str]]:
    """What is wrong with it beyond its types, and where."""
    if config is None:
        return
    try:
        url = urlsplit(config.endpoint)
        is_url = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        is_url = False
    if not is_url:
        example = "http://127.0.0.1:4318/v1/traces"
        yield ("telemetry", "endpoint"), f"{config.endpoint!r} is no URL of a collector; write {example!r}"
