"""How far are the budgets of metered links used? A line for each, those that are nearest to their limit first."""

from __future__ import annotations

from typing import Any, Final

from tidewire.console import charts, words
from tidewire.console.look import Look
from tidewire.server.admin_types import BudgetInfo

LISTED: Final = 20
"""Those that are nearest to their limit."""

_COUNTED: Final = {"total": "all bytes down to IP", "mqtt": "MQTT", "payload": "payloads"}
_PERIODS: Final = {"day": "today", "month": "this month"}
_AT_LIMIT: Final = {"warn": "a warning in the log", "throttle": "throttled", "refuse": "refused"}

_USED_CELL: Final = """
<q-td :props="props"><div class="flex items-center gap-2 no-wrap justify-end">
<div class="used"><div :style="{width: props.row.width, background: props.row.colour}"></div></div>
<span>{{ props.row.used }}</span></div></q-td>"""


class Budgets:
    """The card of them."""

    def __init__(self, look: Look) -> None:
        self._look = look
        with charts.section("Budgets"):
            columns = [
                {"name": "name", "label": "Budget", "classes": "wide"},
                {"name": "client", "label": "Client", "classes": "topic"},
                {"name": "counts", "label": "What counts"},
                *charts.figures("used", "share"),
                {"name": "state", "label": "At the limit"},
            ]
            self._table = charts.Table(
                "Budgets",
                columns,
                empty="There is none. A [[meter.budget]] in the configuration file warns of clients on metered links, "
                "throttles or refuses them, by day or month.",
            )
            self._table.drawn.add_slot("body-cell-used", _USED_CELL)
        self.show()

    def show(self) -> None:
        """As they are now."""
        budgets = self._look.admin.budgets(LISTED)
        self._table.show([_row(number, info) for number, info in enumerate(budgets)])


def _row(number: int, info: BudgetInfo) -> dict[str, Any]:
    share = info.used_bytes / info.limit_bytes
    is_spent, is_near = share >= 1.0, share >= info.warn_at
    return {
        "id": number,
        "name": info.name,
        "client": info.client_identifier or "all together",
        "counts": f"{_COUNTED.get(info.counts, info.counts)}, {_PERIODS.get(info.period, info.period)}",
        "used": f"{words.size(info.used_bytes)} of {words.size(info.limit_bytes)}",
        "share": f"{share:.0%}".replace("%", " %"),
        "state": _AT_LIMIT.get(info.action, info.action) + (": reached" if is_spent else ""),
        "width": f"{min(1.0, share):.1%}",
        "colour": "var(--bad)" if is_spent else "var(--second)" if is_near else "var(--tide)",
    }
