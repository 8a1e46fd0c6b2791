"""How is a client described to a person?"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

from tidewire.console.words import day, duration
from tidewire.server.admin_types import ClientInfo


def detail_address(client: str) -> str:
    """Where all of it is shown."""
    return f"/clients?client={quote(client, safe='')}"


def packets_address(client: str) -> str:
    """Where its packets are watched."""
    return f"/flow?client={quote(client, safe='')}"


def protocol(info: ClientInfo) -> str:
    """Version and transport: `5.0 · wss`."""
    return f"{info.version} · {info.transport}" if info.connected else "–"


def session(info: ClientInfo) -> str:
    """How long its session is kept."""
    if not info.connected:
        return f"kept for {duration(info.expires_s)} more"
    return "ends with its connection" if info.clean else f"kept for {duration(info.expires_s)} after its connection"


def when(at: float) -> str:
    """The time of day for today, else with its date; an en dash where nobody knows."""
    if at <= 0:
        return "–"
    told = day(at)
    return told[11:] if told[:10] == datetime.now().strftime("%Y-%m-%d") else told
