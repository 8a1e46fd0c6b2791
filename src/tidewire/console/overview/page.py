"""How is the broker? Its rates and their last minutes, what it holds, what it has dropped and why, and where it is."""

from __future__ import annotations

from typing import Final, Protocol

from nicegui import ui

from tidewire.console import charts, words
from tidewire.console.look import Look
from tidewire.console.overview.hints import HINTS
from tidewire.console.overview.history import SECONDS, History, history_of
from tidewire.console.overview.steps import FirstSteps
from tidewire.server.admin_types import ClientInfo, Overview

SHOWN_S: Final = 1.0
"""How often the figures are looked at."""


class Part(Protocol):
    """Of the page."""

    def show(self, history: History) -> None:
        """What is the case now."""


def build(look: Look) -> None:
    """The page."""
    charts.add_style()
    history = history_of(look.admin)
    history.join()
    ui.context.client.on_delete(history.leave)
    parts: list[Part] = [FirstSteps(look, history), _Rates(), _Holdings()]
    with ui.element("div").classes("grid grid-cols-1 lg:grid-cols-2 gap-4 w-full"):
        parts.append(_Drops())
        if look.operator:
            parts += [_Places(), _Clients()]

    def show() -> None:
        for part in parts:
            part.show(history)

    ui.timer(SHOWN_S, show)


class _Rates:
    """What passes now, and in the last minutes."""

    def __init__(self) -> None:
        self._seen = -1
        with ui.element("div").classes("grid grid-cols-1 md:grid-cols-2 gap-4 w-full"):
            with charts.section("Messages"):
                with ui.row().classes("gap-8"):
                    self._messages_in, self._total_in = charts.tile("in, a second", charts.COLOURS[0])
                    self._messages_out, self._total_out = charts.tile("out, a second", charts.COLOURS[1])
                self._messages = charts.Lines("Messages a second, five minutes", ("in", "out"), "count", SECONDS)
            with charts.section("Traffic"):
                with ui.row().classes("gap-8"):
                    self._bytes_in, self._bytes_total_in = charts.tile("in, a second", charts.COLOURS[0])
                    self._bytes_out, self._bytes_total_out = charts.tile("out, a second", charts.COLOURS[1])
                self._bytes = charts.Lines("Bytes a second, five minutes", ("in", "out"), "bytes", SECONDS)
            with charts.section("Processor"):
                self._cpu, below = charts.tile("of one core")
                below.delete()
                self._cpu_chart = charts.Lines("Processor, five minutes", ("of one core",), "percent", SECONDS)
            with charts.section("Memory"):
                self._memory, below = charts.tile("resident")
                below.delete()
                self._memory_chart = charts.Lines("Memory, five minutes", ("resident",), "bytes", SECONDS)

    def show(self, history: History) -> None:
        overview, now = history.latest, history.now
        if now is None or now.second == self._seen:
            return
        self._seen = now.second
        charts.show(self._messages_in, words.rate(now.messages_in))
        charts.show(self._messages_out, words.rate(now.messages_out))
        charts.show(self._bytes_in, words.size(now.bytes_in))
        charts.show(self._bytes_out, words.size(now.bytes_out))
        totals = overview.totals
        charts.show(self._total_in, f"{words.number(totals.messages_in)} in all")
        charts.show(self._total_out, f"{words.number(totals.messages_out)} in all")
        charts.show(self._bytes_total_in, f"{words.size(totals.bytes_in)} in all")
        charts.show(self._bytes_total_out, f"{words.size(totals.bytes_out)} in all")
        charts.show(self._cpu, f"{overview.cpu_share:.0%}".replace("%", " %") if overview.cpu_share >= 0 else "–")
        charts.show(self._memory, words.size(overview.memory_bytes) if overview.memory_bytes else "–")
        messages_in, messages_out, bytes_in, bytes_out, cpu, memory = history.series(
            "messages_in", "messages_out", "bytes_in", "bytes_out", "cpu_share", "memory_bytes"
        )
        self._messages.show((messages_in, messages_out))
        self._bytes.show((bytes_in, bytes_out))
        self._cpu_chart.show([[None if share is None else share * 100 for share in cpu]])
        self._memory_chart.show([memory])


class _Holdings:
    """What it holds."""

    def __init__(self) -> None:
        with (
            charts.section("Held now"),
            ui.element("div").classes("grid grid-cols-2 sm:grid-cols-3 lg:grid-cols-6 gap-x-6 gap-y-5 w-full"),
        ):
            self._connections, _ = charts.tile("Connections")
            self._sessions, self._away = charts.tile("Sessions")
            self._subscriptions, _ = charts.tile("Subscriptions")
            self._queued, self._queued_bytes = charts.tile("Queued messages")
            self._retained, self._retained_bytes = charts.tile("Retained messages")
            self._uptime, self._version = charts.tile("Running for")

    def show(self, history: History) -> None:
        overview = history.latest
        charts.show(self._connections, words.number(overview.connections))
        charts.show(self._sessions, words.number(overview.sessions))
        charts.show(self._away, f"{words.number(max(0, overview.sessions - overview.connections))} away")
        charts.show(self._subscriptions, words.number(overview.subscriptions))
        charts.show(self._queued, words.number(overview.queued_messages))
        charts.show(self._queued_bytes, words.size(overview.queued_bytes))
        charts.show(self._retained, words.number(overview.retained_messages))
        charts.show(self._retained_bytes, words.size(overview.retained_bytes))
        charts.show(self._uptime, words.duration(overview.uptime_s))
        charts.show(self._version, f"Tidewire {overview.version}, {overview.form}")


class _Drops:
    """What was dropped, why, and what to do about it."""

    def __init__(self) -> None:
        with charts.section("Dropped"):
            columns = [
                {"name": "reason", "label": "Reason"},
                *charts.figures(("messages", "Messages")),
                {"name": "hint", "label": "What to do about it", "classes": "wide"},
            ]
            self._table = charts.Table(
                "Drops by reason", columns, "reason", "Nothing has been dropped since the start."
            )

    def show(self, history: History) -> None:
        rows = [
            {"reason": reason, "messages": words.number(count), "hint": HINTS.get(reason, "")}
            for reason, count in history.latest.drops.items()
            if count
        ]
        self._table.show(rows)


class _Clients:
    """Who waits for the most, and who has lost the most."""

    def __init__(self) -> None:
        self._queues = self._part("Largest queues", "No client has a message waiting.", ("Messages", "Bytes"))
        self._droppers = self._part("Lost the most", "No client has lost a message.", ("Messages",))

    def show(self, history: History) -> None:
        queues = [
            {**_named(each), "Messages": words.number(each.queue_messages), "Bytes": words.size(each.queue_bytes)}
            for each in history.largest_queues
        ]
        droppers = [{**_named(each), "Messages": words.number(each.dropped)} for each in history.worst_droppers]
        self._queues.show(queues)
        self._droppers.show(droppers)

    def _part(self, title: str, none: str, names: tuple[str, ...]) -> charts.Table:
        with charts.section(title):
            columns = [
                {"name": "client", "label": "Client", "classes": "topic"},
                {"name": "state", "label": "State"},
                *charts.figures(*names),
            ]
            return charts.Table(title, columns, "client", none)


class _Places:
    """Where it listens, whom it is bridged with, and whether it keeps what it is given."""

    def __init__(self) -> None:
        with charts.section("Listeners and bridges"):
            columns = [
                {"name": "what", "label": "Address", "classes": "topic"},
                {"name": "kind", "label": "Kind"},
                {"name": "state", "label": "State", "align": "right"},
            ]
            self._table = charts.Table("Listeners and bridges", columns, "what")
            self._store = ui.label().classes("faint small")

    def show(self, history: History) -> None:
        overview = history.latest
        self._table.show(_places(overview))
        charts.show(self._store, _STORES.get(overview.store, overview.store))
        if overview.store == "failing":
            self._store.classes(add="in-bad", remove="faint")
        else:
            self._store.classes(add="faint", remove="in-bad")


_STORES: Final = {
    "ok": "The store works: what is acknowledged outlives a restart.",
    "failing": "The store cannot write, so nothing is acknowledged now: is the disk full? The broker's log says more.",
    "none": "There is no store: sessions and retained messages end with this process.",
}


def _places(overview: Overview) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for listener in overview.listeners:
        kind = "WebSocket" if listener.protocol == "websocket" else "MQTT"
        for number, url in enumerate(listener.urls):
            count = f"{words.number(listener.connections)} connected" if number == 0 else ""
            rows.append({"what": url, "kind": f"{kind}, TLS" if listener.tls else kind, "state": count})
    for bridge in overview.bridges:
        state = "connected" if bridge.connected else "not connected"
        rows.append({"what": bridge.name, "kind": "bridge", "state": state})
    return rows


def _named(client: ClientInfo) -> dict[str, object]:
    return {"client": client.client_identifier, "state": "connected" if client.connected else "away"}
