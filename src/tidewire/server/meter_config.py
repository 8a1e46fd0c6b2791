"""What can be said of the meter, `[meter]` of the configuration file, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from tidewire.server.toml_lines import Place

Periods = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Rate = Annotated[int, msgspec.Meta(ge=0)]


class BudgetConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[[meter.budget]]`: what clients on a metered link may move, and what becomes of them when they have."""

    name: str
    """What the log calls it."""
    limit_bytes: Annotated[int, msgspec.Meta(ge=1)]
    """In both directions together."""
    clients: str = "*"
    """Client identifiers that it is for, with * and ? as in a shell: `sensor-*`."""
    users: str | None = None
    """User names that it is for, likewise; those without a name are then left out."""
    period: Literal["day", "month"] = "month"
    """When it begins anew: at midnight, or on the first of the month, UTC."""
    counts: Literal["total", "mqtt", "payload"] = "total"
    """Whether all bytes down to those of IP count, as on a bill, or those of MQTT packets, or of payloads alone."""
    together: bool = False
    """Whether all these clients share one limit; else each has its own."""
    warn_at: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.8
    """The share of the limit at which the log has a warning, once in a period."""
    action: Literal["warn", "throttle", "refuse"] = "warn"
    """At the limit: another warning; fewer messages; or none: 5.0 is answered 0x97, older clients are disconnected."""
    messages_per_s: Rate = 0
    """What a throttled client may publish in a second; 0: not limited."""
    bytes_per_s: Rate = 0
    """The same in bytes of payloads."""


class MeterConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[meter]`: what traffic costs, by client and by branch of the topics. How many of them: `metered_` in `[limits]`.

    Days and months are those of UTC."""

    days: Periods = 62
    """Days that are kept …"""
    months: Periods = 24
    """… and months."""
    budgets: list[BudgetConfig] = msgspec.field(default_factory=list, name="budget")
    """Budgets; where several are for a client, the strictest holds."""


def meter_faults(config: MeterConfig) -> Iterator[tuple[Place, str]]:
    """What is wrong with it beyond its types, and where."""
    names: set[str] = set()
    for number, budget in enumerate(config.budgets):
        place: Place = ("meter", "budget", number)
        has_rate = bool(budget.messages_per_s or budget.bytes_per_s)
        if budget.action == "throttle" and not has_rate:
            yield (*place, "action"), "throttled to what? add messages_per_s = 1 or bytes_per_s = 100"
        if budget.action != "throttle" and has_rate:
            rate = "messages_per_s" if budget.messages_per_s else "bytes_per_s"
            yield (*place, rate), f'is for action = "throttle", and this is "{budget.action}"'
        if budget.name in names:
            yield (*place, "name"), f"there is another budget called {budget.name!r}"
        names.add(budget.name)
