"""What did a measurement find? Its tables and bars, as `tidewire overhead` prints them, and the flows as diagrams."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from nicegui import ui

from tidewire.console import charts, words
from tidewire.overhead import diagram, svg
from tidewire.overhead.costs import Direction, Exchange, Stage
from tidewire.overhead.protocols import ProtocolCost
from tidewire.overhead.report import Report
from tidewire.overhead.tables import LAYER_NAMES, compared_costs, grouped, layers_in, megabytes, ordered


def draw_result(report: Report) -> None:
    """All of it."""
    _stages(report)
    _layers(report)
    _flows(report)
    _protocols(report)
    with charts.section("How it was counted"), ui.element("ul").classes("m-0 pl-5 list-disc small"):
        for note in report.notes:
            with ui.element("li"):
                ui.label(note)


def draw_layers(names: Sequence[str], directions: Sequence[Direction], present: Sequence[str]) -> None:
    """A bar for each, by the layers that are there at all, and what their colours mean."""
    layer_names, colours = [LAYER_NAMES[name] for name in present], [f"var(--{name})" for name in present]
    charts.key(layer_names, colours)
    bars = charts.Bars(names, layer_names, colours)
    bars.show([[getattr(each, name) for name in present] for each in directions], lambda count: f"{grouped(count)} B")


def _stages(report: Report) -> None:
    common = [stage for stage in ordered(report.exchanges[0]) if "first" not in stage.name]
    columns = [{"name": "form", "label": "MQTT"}, *charts.figures(*((_key(each), _column(each)) for each in common))]
    rows = [
        {
            "form": _form(exchange),
            **{_key(each): grouped(exchange.stage(each.name, each.qos).traffic.total) for each in common},
        }
        for exchange in report.exchanges
    ]
    with charts.section("Bytes of each stage"):
        ui.label(
            f"All layers, both ways, with a payload of {report.message.payload_bytes} B: what a client's life costs."
        ).classes("faint small")
        charts.Table("Bytes of each stage", columns, "form").show(rows)


def _layers(report: Report) -> None:
    forms = {number: str(exchange.form) for number, exchange in enumerate(report.exchanges)}
    with charts.section("Bytes by layer"):
        chosen = ui.select(forms, value=report.exchanges.index(report.typical), label="How MQTT is spoken")
        chosen.props("outlined dense options-dense").classes("w-72 max-w-full")
        room = ui.column().classes("w-full gap-4")

        def draw() -> None:
            room.clear()
            with room:
                _layers_of(report.exchanges[chosen.value])

        chosen.on_value_change(draw)
        draw()


def _layers_of(exchange: Exchange) -> None:
    stages = ordered(exchange)
    present = layers_in(stage.traffic.both for stage in stages)
    draw_layers([_named(stage) for stage in stages], [stage.traffic.both for stage in stages], present)
    columns = [
        {"name": "stage", "label": "Stage"},
        *charts.figures(*((name, LAYER_NAMES[name].replace("protocol", "MQTT")) for name in present)),
        *charts.figures("total", "sent", "received", "packets", "segments", ("trips", "round\ntrips")),
    ]
    charts.Table("Bytes by layer", columns, "stage").show([_stage_row(stage, present) for stage in stages])
    if exchange.tls:
        ui.label(f"Agreed on: {exchange.tls}").classes("faint small")


def _stage_row(stage: Stage, present: list[str]) -> dict[str, Any]:
    both, sent, received = stage.traffic.both, stage.traffic.sent, stage.traffic.received
    return {
        "stage": _named(stage),
        **{name: grouped(getattr(both, name)) for name in present},
        "total": grouped(both.total),
        "sent": grouped(sent.total),
        "received": grouped(received.total),
        "packets": f"{sent.packets} + {received.packets}",
        "segments": f"{sent.segments} + {received.segments}",
        "trips": stage.round_trips,
    }


def _flows(report: Report) -> None:
    forms = {number: str(exchange.form) for number, exchange in enumerate(report.exchanges)}
    with charts.section("The packets of one message"):
        ui.label("From its publisher through the broker to its subscriber, as they were seen.").classes("faint small")
        chosen = ui.select(forms, value=report.exchanges.index(report.typical), label="How MQTT is spoken")
        chosen.props("outlined dense options-dense").classes("w-72 max-w-full")
        room = ui.column().classes("w-full gap-3")

        def drawn() -> str:
            return svg.draw(replace(report, exchanges=[report.exchanges[chosen.value]]), bars=False)

        def draw() -> None:
            exchange = report.exchanges[chosen.value]
            room.clear()
            with room:
                with ui.element("div").classes("scrolled").props('tabindex=0 role=region aria-label="Diagrams"'):
                    image = ui.element("img").classes("flow w-full min-w-[44rem] rounded")
                    image.props('alt="Sequence diagrams; the same as text below"')
                    image.props["src"] = f"data:image/svg+xml;base64,{b64encode(drawn().encode()).decode()}"
                with ui.expansion("The same as text").props("dense header-class=px-0").classes("w-full"):
                    for flow in exchange.flows:
                        text = ui.label(diagram.text(exchange, flow)).classes("command w-full mt-2")
                        text.props(f'tabindex=0 role=group aria-label="QoS {flow.qos} as text"')

        chosen.on_value_change(draw)
        draw()
        save = ui.button("Save as SVG", icon="download", color=None)
        save.on_click(lambda: ui.download.content(drawn(), "tidewire-flows.svg", "image/svg+xml"))
        save.props("flat no-caps dense").classes("in-tide")


def _protocols(report: Report) -> None:
    compared = compared_costs(report)
    present = layers_in(cost.message.both for cost in compared)
    with charts.section("The same message by other protocols"):
        ui.label(
            f"Bytes of one message of {report.message.payload_bytes} B, both ways, on a connection that is there, or "
            "on its own where each message has one."
        ).classes("faint small")
        shortest_first = sorted(compared, key=lambda cost: cost.message.total)
        draw_layers([cost.name for cost in shortest_first], [cost.message.both for cost in shortest_first], present)
        _protocol_table(report, compared, present)
        for each in report.missing:
            ui.label(f"Not measured: {each.name}, for {each.why}").classes("small")
        libraries = dict.fromkeys(cost.implementation for cost in report.others)
        if libraries:
            ui.label(f"Measured with {'; '.join(libraries)}").classes("faint small")
        else:
            ui.label("Only MQTT was measured.").classes("faint small")


def _protocol_table(report: Report, compared: list[ProtocolCost], present: list[str]) -> None:
    months = {month.name: month for month in report.months}
    columns = [
        {"name": "name", "label": "Protocol"},
        *charts.figures(*((name, LAYER_NAMES[name]) for name in present)),
        *charts.figures("total", "segments", ("trips", "round\ntrips"), ("first", "first\nbytes")),
        *charts.figures(("first_trips", "first\ntrips"), ("kept", "MB a month,\nkept"), ("each", "MB a month,\neach")),
    ]
    rows = []
    for cost in compared:
        both, month = cost.message.both, months[cost.name]
        rows.append(
            {
                "name": cost.name,
                **{name: grouped(getattr(both, name)) for name in present},
                "total": grouped(both.total),
                "segments": f"{cost.message.sent.segments} + {cost.message.received.segments}",
                "trips": cost.round_trips,
                "first": grouped(cost.first.total),
                "first_trips": cost.first_round_trips,
                "kept": megabytes(month.kept_bytes),
                "each": megabytes(month.connecting_bytes),
            }
        )
    charts.Table("The same message by other protocols", columns, "name").show(rows)
    ui.label(
        f"A month: one message every {words.duration(report.schedule.every_s)}. Kept: one connection for all of them; "
        "each: a connection for each."
    ).classes("faint small")


def _form(exchange: Exchange) -> str:
    return str(exchange.form).removeprefix("MQTT ")


def _key(stage: Stage) -> str:
    return f"{stage.name} {stage.qos}"


def _column(stage: Stage) -> str:
    return stage.name if stage.qos is None else f"{stage.name}\nQoS {stage.qos}"


def _named(stage: Stage) -> str:
    first = ", names the alias" if "first" in stage.name else ""
    return stage.name.removesuffix(" first") + ("" if stage.qos is None else f" QoS {stage.qos}") + first
