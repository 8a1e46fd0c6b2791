"""Which clients have used up what they may move on a metered link, and what becomes of them?

Looked at every `CHECK_S`, so a client may move a little more than its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from tidewire.engine import meter
from tidewire.engine.meter import CLIENT_KIND, REFUSED, THROTTLED, UNRESTRAINED, Account, total_bytes
from tidewire.server.admin_types import BudgetInfo
from tidewire.server.log import logger, quoted
from tidewire.server.meter_config import BudgetConfig

CHECK_S: Final = 5.0
"""How often budgets are held against what was moved: so long may a client go on that has reached its limit."""

_ACTIONS: Final = {"warn": UNRESTRAINED, "throttle": THROTTLED, "refuse": REFUSED}
_LAYERS: Final = {"mqtt": meter.MQTT, "payload": meter.PAYLOAD}


class LiveBudgets(meter.Budgets):
    """All budgets of one broker."""

    def __init__(self, configs: Iterable[BudgetConfig]) -> None:
        super().__init__()
        self._budgets = [_Budget(config) for config in configs]

    def __bool__(self) -> bool:
        return bool(self._budgets)

    def concerns(self, account: Account) -> bool:
        """Whether there is a budget for a client."""
        return any(budget.is_for(account) for budget in self._budgets)

    def restraint(self, account: Account) -> int:
        """The strictest of those that are for it."""
        return max(budget.restraint(account) for budget in self._budgets) if self._budgets else UNRESTRAINED

    def allowance(self, account: Account) -> tuple[int, int]:
        """Messages and bytes a second, the least of those that throttle it."""
        rates = [
            (budget.config.messages_per_s, budget.config.bytes_per_s)
            for budget in self._budgets
            if budget.restraint(account) == THROTTLED
        ]
        return _least(messages for messages, _ in rates), _least(size for _, size in rates)

    def check(self, accounts: Iterable[Account]) -> list[Account]:
        """Hold all accounts against the budgets; returns those whose restraint has changed."""
        members = [account for account in accounts if account.kind == CLIENT_KIND]
        changed: list[Account] = []
        for budget in self._budgets:
            changed += budget.check([account for account in members if budget.is_for(account)])
        return changed

    def used(self, accounts: Iterable[Account]) -> Iterator[BudgetInfo]:
        """How far each budget is used: of all together where they share it, else of each client that it is for."""
        members = [account for account in accounts if account.kind == CLIENT_KIND]
        for budget in self._budgets:
            yield from budget.used([account for account in members if budget.is_for(account)])

    def begin_anew(self, period: str) -> None:
        """A "day" or a "month" has begun."""
        for budget in self._budgets:
            if budget.config.period == period:
                budget.states.clear()


class _State:
    """How far a client, or all together, have come."""

    __slots__ = ("is_spent", "is_warned")

    def __init__(self) -> None:
        self.is_warned = False
        self.is_spent = False


class _Budget:
    def __init__(self, config: BudgetConfig) -> None:
        self.config = config
        self.states: dict[str, _State] = {}
        """By client identifier; all together are the empty one."""
        self._used = _measure(config)
        self._at_limit = _ACTIONS[config.action]

    def is_for(self, account: Account) -> bool:
        config = self.config
        return account.kind == CLIENT_KIND and _is_named(account.name, account.user_name, config.clients, config.users)

    def restraint(self, account: Account) -> int:
        state = self.states.get("" if self.config.together else account.name)
        return self._at_limit if state is not None and state.is_spent and self.is_for(account) else UNRESTRAINED

    def check(self, members: list[Account]) -> list[Account]:
        """Those of the members whose restraint has changed."""
        if self.config.together:
            return members if self._has_spent("", sum(map(self._used, members))) else []
        return [account for account in members if self._has_spent(account.name, self._used(account))]

    def used(self, members: list[Account]) -> list[BudgetInfo]:
        """All together, or each of them."""
        if self.config.together:
            return [self._info("", sum(map(self._used, members)))]
        return [self._info(account.name, self._used(account)) for account in members]

    def _info(self, name: str, used: int) -> BudgetInfo:
        config = self.config
        return BudgetInfo(
            name=config.name,
            client_identifier=name,
            period=config.period,
            counts=config.counts,
            used_bytes=used,
            limit_bytes=config.limit_bytes,
            warn_at=config.warn_at,
            action=config.action,
        )

    def _has_spent(self, name: str, used: int) -> bool:
        """Note what was used; True when the limit is reached by that."""
        config = self.config
        if used < config.warn_at * config.limit_bytes:
            return False
        state = self.states.setdefault(name, _State())
        if not state.is_warned:
            state.is_warned = True
            if used < config.limit_bytes:
                self._log("is nearly used up", name, used)
        if state.is_spent or used < config.limit_bytes:
            return False
        state.is_spent = True
        self._log({"warn": "is used up", "throttle": "throttles", "refuse": "refuses"}[config.action], name, used)
        return self._at_limit != UNRESTRAINED

    def _log(self, what: str, name: str, used: int) -> None:
        config = self.config
        whose = "" if config.together else f" client={quoted(name)}"
        logger.warning(
            "budget %s budget=%s%s bytes=%d limit=%d period=%s",
            what,
            quoted(config.name),
            whose,
            used,
            config.limit_bytes,
            config.period,
        )


@lru_cache(65_536)  # asked of every client again and again
def _is_named(name: str, user_name: str | None, clients: str, users: str | None) -> bool:
    if not fnmatchcase(name, clients):
        return False
    return users is None or (user_name is not None and fnmatchcase(user_name, users))


def _measure(config: BudgetConfig) -> Callable[[Account], int]:
    """What tells how much of it an account has used."""

    def used(account: Account) -> int:
        figures = account.day if config.period == "day" else account.month
        if config.counts == "total":
            return total_bytes(figures, meter.RECEIVED) + total_bytes(figures, meter.SENT)
        place = _LAYERS[config.counts]
        return figures[meter.RECEIVED + place] + figures[meter.SENT + place]

    return used


def _least(rates: Iterable[int]) -> int:
    """The lowest that is a limit, 0 where none is."""
    return min((rate for rate in rates if rate), default=0)
