"""What does a message's way look like? A sequence diagram of the packets that were seen, as text."""

from __future__ import annotations

from typing import Final

from tidewire.overhead.costs import Exchange, Flow, SeenPacket

INDENT: Final = 6
LEAST_GAP: Final = 34
"""Characters between two lifelines; more where a label needs them."""
LINE: Final = 3
"""Of an arrow, on both sides of its label."""


def text(exchange: Exchange, flow: Flow) -> str:
    """Publisher, broker, subscriber; an arrow for each packet, from the top to the bottom as they were seen."""
    gap = max(LEAST_GAP, *(len(_label(packet)) + 2 * LINE for packet in flow.packets))
    idle = " " * gap
    lines = [f"{exchange.form}, QoS {flow.qos}: {summary(flow)}", _heads(gap), _row("│", idle, "│", idle, "│")]
    for packet in flow.packets:
        left, arrow, right = _arrow(packet, gap)
        published = packet.client == "publisher"
        lines.append(_row(left, arrow, right, idle, "│") if published else _row("│", idle, left, arrow, right))
    lines.append(_row("┴", idle, "┴", idle, "┴"))
    return "\n".join(lines)


def size(packet: SeenPacket) -> str:
    """Bytes of the packet, and what they came to in WebSocket frames and TLS records where there are any."""
    wrapped = f" ({packet.stream_bytes} B)" if packet.stream_bytes > packet.packet_bytes else ""
    return f"{packet.packet_bytes} B{wrapped}"


def summary(flow: Flow) -> str:
    """How much that was."""
    count = len(flow.packets)
    return f"{count} packets, {sum(packet.packet_bytes for packet in flow.packets)} B of MQTT"


def _label(packet: SeenPacket) -> str:
    name = f"{packet.name} {packet.detail}".strip()
    return f" {name} · {size(packet)} "


def _arrow(packet: SeenPacket, gap: int) -> tuple[str, str, str]:
    """Its two ends on the lifelines, and what fills the gap between them."""
    line = _label(packet).center(gap - 2, "─")
    if packet.to_broker == (packet.client == "publisher"):
        return "├", f"─{line}▶", "│"
    return "│", f"◀{line}─", "┤"


def _row(*parts: str) -> str:
    return " " * INDENT + "".join(parts)


def _heads(gap: int) -> str:
    heads = [" "] * (INDENT + 2 * gap + 10)
    for lifeline, name in enumerate(("publisher", "broker", "subscriber")):
        start = INDENT + lifeline * (gap + 1) - len(name) // 2
        heads[start : start + len(name)] = name
    return "".join(heads).rstrip()
