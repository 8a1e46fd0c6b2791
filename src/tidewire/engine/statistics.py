"""What the broker counts, and the `$SYS` topics that show it, named as Mosquitto names them."""

from __future__ import annotations

from mypy_extensions import i64


class Statistics:
    """Totals since the start. Bytes are MQTT bytes; messages are packets of any type."""

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.bytes_received: i64 = 0
        self.bytes_sent: i64 = 0
        self.messages_received: i64 = 0
        self.control_sent: i64 = 0
        """Packets sent other than PUBLISH."""
        self.publish_received: i64 = 0
        self.publish_sent: i64 = 0
        self.publish_bytes_received: i64 = 0
        self.publish_bytes_sent: i64 = 0
        self.publish_packet_bytes_sent: i64 = 0
        """Of whole PUBLISH packets; `publish_bytes_` are payloads."""
        self.publish_dropped: i64 = 0
        self.connections_total: i64 = 0
        self.connections: i64 = 0
        self.connections_maximum: i64 = 0
        self.connections_refused: i64 = 0
        """By a limit, a TLS handshake, a PROXY header or the access rules."""
        self.publishers_held_back: i64 = 0
        """How often a client was not read from because it had published more than it may."""
        self.sessions_expired: i64 = 0
        self.subscriptions: i64 = 0
        self.shared_subscriptions: i64 = 0
        self._loads: list[LoadAverage] = [
            LoadAverage("messages/received"),
            LoadAverage("messages/sent"),
            LoadAverage("publish/received"),
            LoadAverage("publish/sent"),
            LoadAverage("publish/dropped"),
            LoadAverage("bytes/received"),
            LoadAverage("bytes/sent"),
            LoadAverage("connections"),
        ]
        self._loads_at = started_at

    def update_loads(self, now: float) -> None:
        """Advance the moving averages; call it once per `$SYS` interval."""
        elapsed = now - self._loads_at
        if elapsed <= 0.0:
            return
        self._loads_at = now
        totals: list[int] = [
            int(self.messages_received),
            int(self.publish_sent + self.control_sent),
            int(self.publish_received),
            int(self.publish_sent),
            int(self.publish_dropped),
            int(self.bytes_received),
            int(self.bytes_sent),
            int(self.connections_total),
        ]
        for load, total in zip(self._loads, totals, strict=True):
            load.update(total, elapsed)

    def topics(
        self,
        now: float,
        version: str,
        sessions: int,
        retained: int,
        retained_bytes: int,
        queued: int,
        queued_bytes: int,
    ) -> dict[str, str]:
        """`$SYS/broker/…` without that prefix → value. `sessions` counts connected and offline ones."""
        offline = sessions - int(self.connections)
        values = {
            "version": version,
            "uptime": f"{int(now - self.started_at)} seconds",
            "clients/total": str(sessions),
            "clients/connected": str(self.connections),
            "clients/active": str(self.connections),
            "clients/disconnected": str(offline),
            "clients/inactive": str(offline),
            "clients/maximum": str(self.connections_maximum),
            "clients/refused": str(self.connections_refused),
            "clients/held back": str(self.publishers_held_back),
            "clients/expired": str(self.sessions_expired),
            "subscriptions/count": str(self.subscriptions),
            "shared_subscriptions/count": str(self.shared_subscriptions),
            "retained messages/count": str(retained),
            "store/messages/count": str(retained + queued),
            "store/messages/bytes": str(retained_bytes + queued_bytes),
            "messages/stored": str(retained + queued),
            "messages/received": str(self.messages_received),
            "messages/sent": str(self.publish_sent + self.control_sent),
            "publish/messages/received": str(self.publish_received),
            "publish/messages/sent": str(self.publish_sent),
            "publish/messages/dropped": str(self.publish_dropped),
            "publish/bytes/received": str(self.publish_bytes_received),
            "publish/bytes/sent": str(self.publish_bytes_sent),
            "bytes/received": str(self.bytes_received),
            "bytes/sent": str(self.bytes_sent),
        }
        for load in self._loads:
            load.add_topics(values)
        return values


class LoadAverage:
    """Moving averages per minute over 1, 5 and 15 minutes, like a system's load."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last_total = 0
        self._averages = [0.0, 0.0, 0.0]

    def update(self, total: int, elapsed_s: float) -> None:
        per_minute = (total - self._last_total) * 60.0 / elapsed_s
        self._last_total = total
        for index, minutes in enumerate((1.0, 5.0, 15.0)):
            weight = 2.718281828459045 ** (-elapsed_s / (minutes * 60.0))
            self._averages[index] = per_minute + weight * (self._averages[index] - per_minute)

    def add_topics(self, values: dict[str, str]) -> None:
        for index, minutes in enumerate((1, 5, 15)):
            values[f"load/{self._name}/{minutes}min"] = f"{self._averages[index]:.2f}"
