"""What does the broker look like to Prometheus? An overview, and the meter, in its text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tidewire.server.admin_types import Overview
from tidewire.store.meter_rows import Flow, Metered

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[dict[str, str], float]
Metric = tuple[str, str, str, list[Sample]]
"""Name, type, what it is, and its samples."""


def exposition(overview: Overview, total: Metered, clients: Sequence[Metered] = ()) -> str:
    """All metrics, each with what it is: the broker's, and what all clients, and these, have cost this month."""
    metrics = [*_metrics(overview), *_meters("", "all clients", [total])]
    if clients:
        metrics += _meters("client_", "a client", clients)
    return "".join(line for metric in metrics for line in _lines(*metric))


def _metrics(overview: Overview) -> Iterator[Metric]:
    totals = overview.totals
    yield (
        "tidewire_info",
        "gauge",
        "Version and form of the broker.",
        [({"version": overview.version, "form": overview.form}, 1)],
    )
    for name, text, value in (
        ("uptime_seconds", "Since the broker started.", overview.uptime_s),
        ("connections", "Clients that are connected.", overview.connections),
        ("sessions", "Sessions, connected or not.", overview.sessions),
        ("subscriptions", "Subscriptions of all sessions.", overview.subscriptions),
        ("retained_messages", "Retained messages, $SYS included.", overview.retained_messages + overview.sys_messages),
        ("retained_bytes", "Bytes of retained messages, $SYS included.", overview.retained_bytes + overview.sys_bytes),
        ("queued_messages", "Messages that wait for their clients, in flight included.", overview.queued_messages),
        ("queued_bytes", "Bytes of messages that wait in queues.", overview.queued_bytes),
        ("resident_memory_bytes", "Memory of the process.", overview.memory_bytes),
        ("cpu_share", "Of one core, over the last second.", overview.cpu_share),
        ("store_ok", "1: what is to outlive the process is kept; 0: that fails.", float(overview.store != "failing")),
    ):
        yield f"tidewire_{name}", "gauge", text, [({}, value)]
    yield (
        "tidewire_messages_total",
        "counter",
        "Application messages, by direction.",
        [
            ({"direction": "in"}, totals.messages_in),
            ({"direction": "out"}, totals.messages_out),
        ],
    )
    yield (
        "tidewire_bytes_total",
        "counter",
        "MQTT bytes, by direction.",
        [
            ({"direction": "in"}, totals.bytes_in),
            ({"direction": "out"}, totals.bytes_out),
        ],
    )
    yield (
        "tidewire_messages_dropped_total",
        "counter",
        "Messages that were dropped, by reason.",
        [({"reason": reason}, count) for reason, count in overview.drops.items()],
    )
    yield (
        "tidewire_listener_connections",
        "gauge",
        "Connections of a listener.",
        [({"url": url}, listener.connections) for listener in overview.listeners for url in listener.urls[:1]],
    )
    if overview.bridges:
        yield (
            "tidewire_bridge_connected",
            "gauge",
            "1: the bridge reaches the other broker.",
            [({"bridge": bridge.name}, float(bridge.connected)) for bridge in overview.bridges],
        )


def _meters(prefix: str, whose: str, rows: Sequence[Metered]) -> Iterator[Metric]:
    """Counters that begin anew with each month, as Prometheus expects of counters now and then."""
    flows = [
        ({"client": row.name, "direction": way} if prefix else {"direction": way}, flow)
        for row in rows
        for way, flow in (("in", row.received), ("out", row.sent))
    ]
    yield (
        f"tidewire_{prefix}metered_bytes_total",
        "counter",
        f"What {whose} cost this month, by layer; the layers add up.",
        [(labels | {"layer": layer}, size) for labels, flow in flows for layer, size in _layers(flow)],
    )
    yield (
        f"tidewire_{prefix}metered_packets_total",
        "counter",
        f"MQTT packets of {whose} this month.",
        [(labels, sum(packets.count for packets in flow.packets.values())) for labels, flow in flows],
    )


def _layers(flow: Flow) -> Iterable[tuple[str, int]]:
    """Those that there are."""
    layers = (
        ("payload", flow.payload),
        ("mqtt", flow.mqtt - flow.payload),
        ("websocket", flow.websocket),
        ("tls", flow.tls),
        ("tcp_ip", flow.tcp_ip),
    )
    return ((layer, size) for layer, size in layers if size)


def _lines(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
    for labels, value in samples:
        named = ",".join(f'{label}="{_escaped(each)}"' for label, each in labels.items())
        yield f"{name}{{{named}}} {value:.17g}\n" if named else f"{name} {value:.17g}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
