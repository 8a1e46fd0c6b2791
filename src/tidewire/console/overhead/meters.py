"""What has this broker's traffic cost, this month or today? By layer, by client, and by branch of the topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nicegui import ui

from tidewire.console import charts, words
from tidewire.console.look import Look

if TYPE_CHECKING:
    from tidewire.store.meter_rows import Flow, Metered

LISTED: Final = 20
"""Clients, and branches: the costliest."""

PERIODS: Final = {"month": "This month", "day": "Today"}
_LAYERS: Final = ("payload", "protocol", "websocket", "tls", "tcp_ip")
_NAMES: Final = ("payload", "MQTT", "WebSocket", "TLS", "TCP/IP")


def layers(flow: Flow) -> list[int]:
    """Bytes of each layer, none of them in another: the meter's MQTT has the payload in it."""
    return [flow.payload, flow.mqtt - flow.payload, flow.websocket, flow.tls, flow.tcp_ip]


class Meters:
    """The card of it."""

    def __init__(self, look: Look) -> None:
        self._look = look
        with charts.section("This broker's own traffic"):
            with ui.row().classes("w-full items-center justify-between gap-2"):
                self._period = charts.segments(PERIODS, value="month", on_change=self.show)
                ui.button("Look again", icon="refresh", on_click=self.show, color=None).props(
                    "flat no-caps dense"
                ).classes("in-tide")
            charts.key(_NAMES, [f"var(--{name})" for name in _LAYERS])
            self._bars = charts.Bars(
                ("received by the broker", "sent by the broker"), _NAMES, [f"var(--{name})" for name in _LAYERS]
            )
            self._estimated = ui.label().classes("faint small")
            self._clients = self._branches = None
            if look.operator:
                self._clients = self._part("By client", "Client", True)
                self._branches = self._part("By branch of the topics", "Branch", False)
        self.show()

    def show(self) -> None:
        """As it is now."""
        admin, period = self._look.admin, self._period.value
        total = admin.meters("total", period=period)[0]
        self._bars.show([layers(total.received), layers(total.sent)], words.size)
        estimated = total.received.estimated + total.sent.estimated
        charts.show(
            self._estimated,
            f"{words.size(estimated)} of it are estimated, where the kernel does not tell." if estimated else "",
        )
        if self._clients is not None and self._branches is not None:
            self._clients.show([_row(each) for each in admin.meters("clients", "", period, LISTED)])
            self._branches.show([_row(each) for each in admin.meters("branches", "", period, LISTED)])

    def _part(self, title: str, name: str, is_whole: bool) -> charts.Table:
        """Branches have no layers below MQTT: packets share frames and segments."""
        charts.heading(title).classes("mt-2")
        columns = [
            {"name": "name", "label": name, "classes": "topic"},
            *charts.figures(("messages", "Messages\nreceived + sent"), ("payload", "Payload"), ("mqtt", "MQTT")),
        ]
        if is_whole:
            columns += charts.figures(("websocket", "WebSocket"), ("tls", "TLS"), ("tcp_ip", "TCP/IP"))
        return charts.Table(
            title,
            [*columns, *charts.figures(("total", "Total"), ("share", "Payload's\nshare"))],
            "name",
            "Nothing yet.",
        )


def _row(metered: Metered) -> dict[str, Any]:
    both = [received + sent for received, sent in zip(layers(metered.received), layers(metered.sent), strict=True)]
    sizes = {key: words.size(count) for key, count in zip(_LAYERS, both, strict=True)}
    counts = [
        flow.packets["PUBLISH"].count if "PUBLISH" in flow.packets else 0 for flow in (metered.received, metered.sent)
    ]
    return {
        "name": metered.name,
        "messages": " + ".join(map(words.number, counts)),
        **sizes,
        "mqtt": sizes["protocol"],
        "total": words.size(metered.total),
        "share": f"{both[0] / metered.total:.0%}".replace("%", " %") if metered.total else "–",
    }
