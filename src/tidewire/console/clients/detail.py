"""What is known of one client? Its connection, what it subscribes to, what waits for it, what it lost and costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from nicegui import html, ui

from tidewire.console import charts, payloads
from tidewire.console.asking import asked
from tidewire.console.clients.bars import Bars
from tidewire.console.clients.pace import paced
from tidewire.console.clients.words import packets_address, session
from tidewire.console.look import Look
from tidewire.console.words import day, duration, number, size
from tidewire.overhead.costs import LAYERS
from tidewire.overhead.tables import LAYER_NAMES
from tidewire.server.admin import AdminFault
from tidewire.server.admin_types import ClientDetail, MessageInfo, SubscriptionInfo

SHOWN_S: Final = 1.0

SUBSCRIPTIONS_SHOWN: Final = 200
"""A client may have many thousand: nobody reads more than these."""

STYLE: Final = """
.facts { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .6rem 1.5rem; margin: 0; width: 100%; }
@media (max-width: 700px) { .facts { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
.facts dt { color: var(--faint); font-size: .82rem; }
.facts dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
"""

_FACTS: Final = ("User", "Address", "Protocol", "Since", "Keep alive", "Session")

_SUBSCRIPTION_COLUMNS: Final[list[dict[str, Any]]] = [
    {"name": "filter", "label": "Topic filter", "classes": "topic"},
    *charts.figures(("qos", "QoS")),
    {"name": "options", "label": "Options"},
]
_MESSAGE_COLUMNS: Final[list[dict[str, Any]]] = [
    {"name": "topic", "label": "Topic", "classes": "topic"},
    {"name": "value", "label": "Value", "classes": "mono wide"},
    *charts.figures(("size", "Size"), ("qos", "QoS")),
    {"name": "publisher", "label": "Published by"},
    {"name": "expires", "label": "Expires in", "align": "right"},
]


def show_client(look: Look, name: str) -> None:
    """All of one client, live."""
    ui.add_css(STYLE)
    detail = _Detail(look, name)
    detail.show()
    paced(SHOWN_S, detail.show)


class _Detail:
    def __init__(self, look: Look, name: str) -> None:
        self._look = look
        self._name = name
        ui.link("← All clients", "/clients").classes("link")
        self._gone = ui.label("There is no such session: the client has never been here, or its session has ended.")
        with ui.column().classes("w-full gap-4") as self._all:
            self._head()
            with ui.element("div").classes("grid grid-cols-1 lg:grid-cols-2 gap-4 w-full items-start"):
                with charts.section("Subscriptions"):
                    self._subscriptions = _Listed("Subscriptions", _SUBSCRIPTION_COLUMNS, "It subscribes to nothing.")
                with ui.column().classes("w-full gap-4 min-w-0"):
                    self._meter = _Meter()
                    self._drops = _Drops(tuple(look.admin.ledger()))
            with charts.section("Waiting for it"):
                self._queue = _Listed("The first messages of its queue", _MESSAGE_COLUMNS, "No message waits for it.")
            with charts.section("Will"):
                self._will_told = ui.label().classes("faint small")
                self._will = _Listed("Will", _MESSAGE_COLUMNS, "It has left no will.")

    def _head(self) -> None:
        with ui.card().classes("section w-full"):
            with ui.row().classes("w-full items-center gap-x-6 gap-y-3"):
                with ui.row().classes("items-center gap-3 no-wrap flex-1 basis-64 min-w-0"):
                    self._dot = ui.element("span").classes("dot").props("role=img aria-label=away")
                    with ui.element("h2"):
                        ui.label(self._name).classes("mono break-all").style("font-size: 1.15rem")
                with ui.row().classes("items-center gap-2"):
                    watch = ui.button("Watch its packets", icon="swap_vert", color=None).classes("on-tide")
                    watch.props('unelevated no-caps dense padding="3px 12px"')
                    watch.props["href"] = packets_address(self._name)
                    self._kick = _act("Kick …", "logout", self._ask_kick)
                    _act("Clear session …", "delete_forever", self._ask_clear)
            with html.dl().classes("facts"):
                self._facts: dict[str, ui.label] = {}
                for name in _FACTS:
                    with html.div():
                        html.dt(name)
                        with html.dd():
                            self._facts[name] = ui.label("–")
            with ui.row().classes("w-full gap-x-10 gap-y-3 pt-2"):
                self._tiles = [charts.tile(name) for name in ("Subscriptions", "Queue", "In flight", "Dropped")]

    def show(self) -> None:
        """As it is now, in place."""
        detail = self._look.admin.client(self._name)
        self._gone.set_visibility(detail is None)
        self._all.set_visibility(detail is not None)
        if detail is None:
            return
        info = detail.info
        self._dot.classes(add="here" if info.connected else "", remove="" if info.connected else "here")
        self._dot.props(f"aria-label={'connected' if info.connected else 'away'}")
        self._kick.set_enabled(info.connected)
        for name, text in facts(detail).items():
            charts.show(self._facts[name], text)
        figures = (
            (info.subscriptions, ""),
            (info.queue_messages, size(info.queue_bytes) if info.queue_messages else ""),
            (info.inflight, ""),
            (info.dropped, ""),
        )
        for (figure, below), (count, told) in zip(self._tiles, figures, strict=True):
            charts.show(figure, number(count))
            charts.show(below, told)
        listed = [_subscription(each) for each in detail.subscriptions[:SUBSCRIPTIONS_SHOWN]]
        self._subscriptions.show(listed, len(detail.subscriptions))
        self._queue.show([_message(each, place) for place, each in enumerate(detail.queue)], info.queue_messages)
        self._will.show([_message(detail.will, 0)] if detail.will is not None else [], 1)
        delay = (
            f"Published {duration(detail.will_delay_s)} after the connection is lost." if detail.will_delay_s else ""
        )
        charts.show(self._will_told, delay)
        self._will_told.set_visibility(bool(delay))
        self._meter.show(detail)
        self._drops.show(detail)

    async def _ask_kick(self) -> None:
        detail = self._look.admin.client(self._name)
        if detail is None or not detail.info.connected:
            ui.notify("it is not connected")
            return
        will = " Its will is published." if detail.will is not None else ""
        kept = "Its session ends with it" if detail.info.clean else f"Its session is kept for {_kept(detail)}"
        text = f"{self._name} is told “administrative action”, and may connect again at once. {kept}.{will}"
        await self._do("End this connection?", text, "Kick", self._look.admin.kick, "it was not connected any more")

    async def _ask_clear(self) -> None:
        detail = self._look.admin.client(self._name)
        if detail is None:
            return
        info = detail.info
        waiting = f"{number(info.queue_messages + info.inflight)} messages that wait for it or are in flight"
        text = (
            f"{self._name} loses {number(info.subscriptions)} subscriptions and {waiting}"
            f"{', and its connection' if info.connected else ''}. This cannot be undone."
        )
        await self._do(
            "Clear this session?", text, "Clear", self._look.admin.clear_session, "there was no session any more"
        )

    async def _do(self, title: str, text: str, act: str, do: Callable[[str], bool], nothing: str) -> None:
        """Ask, then do it and say so."""
        if not await asked(title, text, act):
            return
        try:
            done = do(self._name)
        except AdminFault as fault:
            ui.notify(str(fault), type="negative")
            return
        ui.notify("done" if done else nothing, type="positive" if done else "info")
        self.show()


class _Listed:
    """A table, or the words for an empty one, and how many there are in all."""

    def __init__(self, name: str, columns: list[dict[str, Any]], empty: str) -> None:
        self._empty = ui.label(empty).classes("faint")
        with ui.column().classes("w-full gap-0") as self._box:
            self._table = charts.table(name, columns)
        self._more = ui.label().classes("faint small figure")

    def show(self, rows: list[dict[str, Any]], in_all: int) -> None:
        self._empty.set_visibility(not rows)
        self._box.set_visibility(bool(rows))
        self._more.set_visibility(in_all > len(rows) > 0)
        charts.show(self._more, f"The first {number(len(rows))} of {number(in_all)}.")
        charts.show_rows(self._table, rows)


class _Meter:
    """What it has cost this month, by layer."""

    def __init__(self) -> None:
        with charts.section("Traffic of this month"):
            self._none = ui.label("Its traffic is not metered.").classes("faint")
            with ui.column().classes("w-full gap-3") as self._all:
                charts.key(("from the client", "to the client"), ("var(--tide)", "var(--second)"))
                self._bars = Bars(tuple(LAYER_NAMES.values()), ("var(--tide)", "var(--second)"))
                self._told = ui.label().classes("faint small figure")

    def show(self, detail: ClientDetail) -> None:
        meter = detail.meter
        self._none.set_visibility(meter is None)
        self._all.set_visibility(meter is not None)
        if meter is None:
            return
        shown: dict[str, tuple[tuple[float, float], str]] = {}
        for layer in LAYERS:
            parts = tuple(
                flow.mqtt - flow.payload if layer == "protocol" else getattr(flow, layer)
                for flow in (meter.received, meter.sent)
            )
            if any(parts):
                shown[LAYER_NAMES[layer]] = (parts[0], parts[1]), size(sum(parts))
        self._bars.show(shown)
        estimated = meter.received.estimated + meter.sent.estimated
        told = f"{size(meter.total)} in {meter.period} (UTC)"
        charts.show(self._told, f"{told}, {size(estimated)} of them estimated" if estimated else told)


class _Drops:
    """What it did not get, or what was not taken from it, by reason."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        with charts.section("Dropped"):
            self._none = ui.label("Nothing was dropped.").classes("faint")
            self._bars = Bars(reasons, ("var(--bad)",))

    def show(self, detail: ClientDetail) -> None:
        drops = {reason: ((count,), number(count)) for reason, count in detail.drops.items() if count}
        self._none.set_visibility(not drops)
        self._bars.show(drops)


def facts(detail: ClientDetail) -> dict[str, str]:
    """What stands at the top, by name."""
    info = detail.info
    version = f"MQTT {info.version} over {info.transport}" if info.connected else "not connected"
    return {
        "User": info.user or "has proven no name",
        "Address": info.address or "–",
        "Protocol": f"{version}, listener {info.listener}" if info.listener else version,
        "Since": day(info.since) if info.since > 0 else "–",
        "Keep alive": f"{info.keep_alive_s} s" if info.keep_alive_s else "none" if info.connected else "–",
        "Session": session(info),
    }


def _kept(detail: ClientDetail) -> str:
    return duration(detail.info.expires_s)


def _subscription(each: SubscriptionInfo) -> dict[str, Any]:
    options = ["no local"] * each.no_local + ["retain as published"] * each.retain_as_published
    options += [f"identifier {each.identifier}"] * bool(each.identifier)
    return {"id": each.topic_filter, "filter": each.topic_filter, "qos": each.qos, "options": ", ".join(options) or "–"}


def _message(each: MessageInfo, place: int) -> dict[str, Any]:
    return {
        "id": place,
        "topic": each.topic,
        "value": payloads.preview(each.payload, each.payload_bytes),
        "size": size(each.payload_bytes),
        "qos": f"{each.qos}, retain" if each.retain else str(each.qos),
        "publisher": each.publisher or "the broker",
        "expires": duration(each.expires_s) if each.expires_s is not None else "never",
    }


def _act(text: str, icon: str, press: Callable[[], object]) -> ui.button:
    button = ui.button(text, icon=icon, on_click=press, color=None)
    return button.props('outline no-caps dense padding="3px 12px"').classes("in-bad")
