"""How does a person read the figures? As tables, and as bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tidewire.overhead.costs import LAYERS, Direction, Exchange, Stage, StageName
from tidewire.overhead.protocols import ProtocolCost, of_mqtt
from tidewire.overhead.report import Report

LAYER_NAMES: Final = dict(zip(LAYERS, ("payload", "protocol", "WebSocket", "TLS", "TCP/IP"), strict=True))
SHADES: Final = dict(zip(LAYERS, "█▓▞▒░", strict=True))
BAR_CHARACTERS: Final = 50
"""Of the longest bar."""

STAGE_ORDER: Final[tuple[StageName, ...]] = (
    "connect",
    "subscribe",
    "publish first",
    "publish",
    "deliver first",
    "deliver",
    "keep-alive",
    "disconnect",
)


def costs(report: Report) -> str:
    """A line for each way of speaking MQTT, a column for each stage."""
    common = [stage for stage in ordered(report.exchanges[0]) if "first" not in stage.name]
    rows = [
        [_mqtt(exchange), *(grouped(exchange.stage(each.name, each.qos).traffic.total) for each in common)]
        for exchange in report.exchanges
    ]
    title = f"Bytes of each stage, all layers, both ways; payload {report.message.payload_bytes} B"
    return table(title, ["", *map(_column, common)], rows)


def layers(exchange: Exchange) -> str:
    """A line for each stage, a column for each layer."""
    stages = ordered(exchange)
    present = layers_in(stage.traffic.both for stage in stages)
    rows = []
    for stage in stages:
        both, sent, received = stage.traffic.both, stage.traffic.sent, stage.traffic.received
        counts = [*(getattr(both, name) for name in present), both.total, sent.total, received.total]
        rows.append(
            [
                _named(stage),
                *map(grouped, counts),
                f"{sent.packets} + {received.packets}",
                f"{sent.segments} + {received.segments}",
                str(stage.round_trips),
            ]
        )
    names = [LAYER_NAMES[name].replace("protocol", "MQTT") for name in present]
    columns = ["", *names, "total", "sent", "received", "packets", "segments", "round\ntrips"]
    agreed = f" ({exchange.tls})" if exchange.tls else ""
    title = f"{exchange.form}{agreed}: bytes by layer, both ways; sent and received as the client sees it"
    return table(title, columns, rows)


def months(report: Report) -> str:
    """Bytes of a month for each way of speaking MQTT, and how often the radio wakes."""
    schedule = report.schedule
    found = {month.name: month for month in report.months}
    by_form = [[found[cost.name] for cost in of_mqtt(exchange)] for exchange in report.exchanges]
    rows = [
        [
            _mqtt(exchange),
            *(megabytes(month.kept_bytes) for month in row),
            *(megabytes(month.connecting_bytes) for month in row),
        ]
        for exchange, row in zip(report.exchanges, by_form, strict=True)
    ]
    qualities = [stage.qos for stage in ordered(report.exchanges[0]) if stage.name == "publish"]
    columns = [f"{how}\nQoS {qos}" for how in ("kept", "each") for qos in qualities]
    title = (
        f"MB in 30 days: {report.message.payload_bytes} B every {schedule.every_s:g} s, {grouped(schedule.messages)} "
        f"messages; keep-alive {schedule.keep_alive_s} s, {grouped(schedule.pings)} pings"
    )
    explained = (
        "  kept: one connection for all messages; each: a connection for each message\n"
        f"  the radio wakes {grouped(report.wake_ups)} times with a connection that is kept, "
        f"{grouped(schedule.wake_ups_connecting)} times with one for each message"
    )
    return f"{table(title, ['', *columns], rows)}\n{explained}"


def protocols(report: Report) -> str:
    """A line for each protocol, MQTT first, and what is missing."""
    compared = compared_costs(report)
    present = layers_in(cost.message.both for cost in compared)
    found = {month.name: month for month in report.months}
    rows = []
    for cost in compared:
        both = cost.message.both
        month = found[cost.name]
        rows.append(
            [
                cost.name,
                *(grouped(getattr(both, name)) for name in present),
                grouped(both.total),
                f"{cost.message.sent.segments} + {cost.message.received.segments}",
                str(cost.round_trips),
                grouped(cost.first.total),
                str(cost.first_round_trips),
                megabytes(month.kept_bytes),
                megabytes(month.connecting_bytes),
            ]
        )
    names = [LAYER_NAMES[name] for name in present]
    columns = ["", *names, "total", "segments", "round\ntrips", "first\nbytes", "first\ntrips", "MB\nkept", "MB\neach"]
    title = "The same message by other protocols: once the connection is there, the first with all before it, 30 days"
    lines = [table(title, columns, rows)]
    lines += [f"  missing: {each.name}: {each.why}" for each in report.missing]
    libraries = dict.fromkeys(cost.implementation for cost in report.others)
    if libraries:
        lines.append(f"  measured with {'; '.join(libraries)}")
    return "\n".join(lines)


def chart(report: Report) -> str:
    """A bar for each protocol, the shortest first, shaded by layer."""
    compared = sorted(compared_costs(report), key=lambda cost: cost.message.total)
    longest = max(cost.message.total for cost in compared)
    width = max(len(cost.name) for cost in compared)
    lines = ["Bytes of one message on a connection that is there (or its own, where each has one)"]
    for cost in compared:
        lines.append(f"  {cost.name:<{width}}  {bar(cost.message.both, longest)} {grouped(cost.message.total)}")
    present = layers_in(cost.message.both for cost in compared)
    lines.append(f"  {'':<{width}}  {'   '.join(f'{SHADES[name]} {LAYER_NAMES[name]}' for name in present)}")
    return "\n".join(lines)


def compared_costs(report: Report) -> list[ProtocolCost]:
    """MQTT over the first transport that was measured, and the others."""
    transport = report.typical.form.transport
    same = [exchange for exchange in report.exchanges if exchange.form.transport == transport]
    return [*(cost for exchange in same for cost in of_mqtt(exchange)), *report.others]


def bar(direction: Direction, longest: int) -> str:
    """Characters for the bytes of each layer; their ends are rounded, so that the length is right."""
    drawn = ""
    passed = 0
    for name in LAYERS:
        passed += getattr(direction, name)
        drawn += SHADES[name] * (round(passed / longest * BAR_CHARACTERS) - len(drawn))
    return drawn


def layers_in(directions: Iterable[Direction]) -> list[str]:
    """The layers that are there at all, the innermost first."""
    listed = list(directions)
    return [name for name in LAYERS if any(getattr(each, name) for each in listed)]


def ordered(exchange: Exchange) -> list[Stage]:
    """Its stages as a client's life goes, the publisher's and the subscriber's in one row."""
    return sorted(exchange.stages, key=lambda stage: (STAGE_ORDER.index(stage.name), stage.qos or 0))


def grouped(number: int) -> str:
    """With its thousands apart."""
    return f"{number:,}".replace(",", " ")


def megabytes(count: int | None) -> str:
    return "–" if count is None else f"{count / 1e6:,.2f}".replace(",", " ")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, figures to the right. Names of columns may have two lines."""
    upper = [name.partition("\n")[0] if "\n" in name else "" for name in columns]
    lower = [name.rpartition("\n")[2] for name in columns]
    heads = [upper, lower] if any(upper) else [lower]
    widths = [max(len(row[index]) for row in [*heads, *rows]) for index in range(len(columns))]
    lines = [
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in [*heads, *rows]
    ]
    lines.insert(len(heads), "─" * len(lines[-1]))
    return "\n".join([title, *(f"  {line}".rstrip() for line in lines)])


def _mqtt(exchange: Exchange) -> str:
    """Where all lines are MQTT, none has to say so."""
    return str(exchange.form).removeprefix("MQTT ")


def _column(stage: Stage) -> str:
    if stage.qos is not None:
        return f"{stage.name}\nQoS {stage.qos}"
    return {"keep-alive": "keep-\nalive", "disconnect": "dis-\nconnect", "subscribe": "sub-\nscribe"}.get(
        stage.name, stage.name
    )


def _named(stage: Stage) -> str:
    first = ", names the alias" if "first" in stage.name else ""
    return stage.name.removesuffix(" first") + ("" if stage.qos is None else f" QoS {stage.qos}") + first
