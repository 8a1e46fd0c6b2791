"""When is what traffic costs collected, kept, held against budgets, and told?

The engine counts; this asks sockets what lies below, and knows the calendar. What grows with the number of clients is
done in shares, one at a tick, so that nobody waits for it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from tidewire.engine.changes import MeterRow
from tidewire.engine.meter import RECEIVED, SENT, Account, Branch, total_bytes
from tidewire.engine.timers import BUCKETS_PER_SECOND
from tidewire.server.admin_types import BudgetInfo
from tidewire.server.budgets import CHECK_S, LiveBudgets
from tidewire.server.log import logger
from tidewire.server.meter_config import MeterConfig
from tidewire.store.meter_rows import LARGEST_FIRST, Metered, decoded, described, encoded

if TYPE_CHECKING:
    from tidewire.server.listener import ClientProtocol
    from tidewire.server.server import Server

ROUND_S: Final = 10.0
"""In so much time every socket is asked once: the kernel counts whether we look or not."""

SAVE_S: Final = 60.0
"""How often figures are written to the store: what a broker that is killed has counted since is lost."""

SAVED_AT_A_TICK: Final = 100
"""Figures that the store is told of at once, in some milliseconds; more where they would not be told in `SAVE_S`."""

AT_ONCE: Final = 500
"""So many connections are collected whenever somebody asks, likewise; of more, figures are as old as their round."""

PAST_ROWS: Final = 10_000
"""Figures of days and months gone by that a broker without a store keeps, the newest of all accounts."""


class Metering:
    """The meter of one server."""

    def __init__(self, server: Server, config: MeterConfig, wall_clock: Callable[[], float] = time.time) -> None:
        """Takes up what the store has kept. `wall_clock` gives seconds since 1970."""
        self.wall_clock = wall_clock
        self.budgets = LiveBudgets(config.budgets)
        self._server = server
        self._meter = server.broker.meter
        self._meter.budgets = self.budgets
        self._config = config
        self._today = self._date()
        self._past: deque[Metered] = deque(maxlen=PAST_ROWS)
        self._asked: deque[ClientProtocol] = deque()
        """Connections of this round that are still to be asked, …"""
        self._share = 0
        """… and how many at a tick."""
        self._unsaved: deque[tuple[Account, list[int], str]] = deque()
        """Figures of a period that the store has still to be told."""
        now = server.clock()
        self._round_at = now
        self._check_at = now
        self._save_at = now + SAVE_S
        if server.store is not None:
            self._restore(server.store.metered_before)
        self.budgets.check(self._meter.clients.values())

    # -- what the server calls

    def tick(self, now: float) -> None:
        """Let everything happen that is due."""
        if self._date() > self._today:  # a clock that is set back does not begin a day again
            self.turn(now)
        self._ask_some(now)
        if self.budgets and now >= self._check_at:
            self._check_at = now + CHECK_S
            self.check(now)
        if now >= self._save_at:
            self._save_at = now + SAVE_S
            self._note_changed()
        self._save_some(max(SAVED_AT_A_TICK, ceil(len(self._unsaved) / (SAVE_S * BUCKETS_PER_SECOND))))

    def collect(self, protocol: ClientProtocol, *, ended: bool = False) -> None:
        """Take over what a connection has counted, and ask its socket."""
        connection = protocol.connection
        self._meter.collect(connection, connection.account)
        if protocol.below is not None:
            protocol.below.collect(self._meter, connection.account, connection, ended=ended)

    def check(self, now: float) -> None:
        """Hold all clients against their budgets."""
        for protocol in self._server.gate.connections:
            if self.budgets.concerns(protocol.connection.account):
                self.collect(protocol)
        self._restrain(self.budgets.check(self._meter.clients.values()), now)

    def save(self) -> None:
        """Collect everything as it is now, and hand it to the store, where there is one."""
        self._collect_all()
        self._note_changed()
        self._save_some(len(self._unsaved))

    def turn(self, now: float) -> None:
        """Another day has begun: what was counted by now was the last one's."""
        self._collect_streams()  # and what lies below in its turn: asking all sockets at once would take too long
        self._note_changed()
        today, before = self._date(), self._today
        next_month = (today.year, today.month) != (before.year, before.month)
        store = self._server.store
        if store is None:
            for account in self._meter.accounts():
                ended = (self._one(account, "day"), self._one(account, "month"))[: 1 + next_month]
                self._past.extend(past for past in ended if past.total)
        self._today = today
        self._meter.turn(next_month)
        if next_month:
            self._server.broker.routes.clear()  # routes find their branches anew
        self._meter.total.changed = True  # so that there is a row of this day, whatever happens
        if store is not None:
            store.metered([], self._first_kept())
        self.budgets.begin_anew("day")
        if next_month:
            self.budgets.begin_anew("month")
        connections = [session.connection for session in self._server.broker.sessions.values()]
        accounts = [connection.account for connection in connections if connection is not None]
        self._restrain((account for account in accounts if self.budgets.concerns(account)), now)

    # -- what is told

    def totals(self, period: str = "month") -> Metered:
        """What all clients cost in the running "day" or "month"."""
        self._collect_few()
        return self._one(self._meter.total, period)

    def client(self, name: str, period: str = "month") -> Metered | None:
        """The same of one client; None for one that has no account."""
        account = self._meter.clients.get(name)
        if account is None:
            return None
        for protocol in self._server.gate.connections:
            if protocol.connection.account is account:
                self.collect(protocol)
        return self._one(account, period)

    def clients(self, contains: str = "", period: str = "month", limit: int = LARGEST_FIRST) -> list[Metered]:
        """Those whose identifier contains a text, the costliest first."""
        return self._listed(self._meter.clients.values(), contains, period, limit)

    def branches(self, contains: str = "", period: str = "month", limit: int = LARGEST_FIRST) -> list[Metered]:
        """The same of branches of the topics; they have no layers below MQTT, as packets share frames and segments."""
        return self._listed(self._meter.branches.values(), contains, period, limit)

    def others(self, period: str = "month") -> list[Metered]:
        """Connections that never became a client's; clients and branches for which there was no room."""
        self._collect_few()
        meter = self._meter
        return [self._one(account, period) for account in (meter.nobody, meter.other_clients, meter.other_branches)]

    def budgets_used(self) -> Iterable[BudgetInfo]:
        """How far the budgets are used now."""
        if not self.budgets:
            return ()
        self._collect_few()
        return self.budgets.used(self._meter.clients.values())

    def history(self, kind: str = "total", name: str = "") -> list[Metered]:
        """Days and months gone by, the newest first. With a store this reads the file: call it on a thread.

        Raises StoreError."""
        if self._server.store is None:
            return [row for row in reversed(self._past) if (row.kind, row.name) == (kind, name)]
        from tidewire.store.directory import DataDirectory  # noqa: PLC0415 (a broker in a test needs no SQLite)
        from tidewire.store.inspection import reading  # noqa: PLC0415
        from tidewire.store.meter_rows import history  # noqa: PLC0415

        data = self._server.config.data
        assert data is not None
        with reading(DataDirectory(Path(data).expanduser()).database) as database:
            return history(database, kind, name)

    # -- collecting

    def _collect_streams(self) -> None:
        """Take over what all connections have counted, but for what lies below MQTT."""
        for session in self._server.broker.sessions.values():
            if session.connection is not None:  # also those without a socket, as a bridge's
                self._meter.collect(session.connection, session.connection.account)
        self._meter.collect_branches()

    def _collect_all(self) -> None:
        self._collect_streams()
        for protocol in self._server.gate.connections:
            self.collect(protocol)

    def _collect_few(self) -> None:
        """Before somebody reads: everything, unless that took long."""
        if len(self._server.gate.connections) <= AT_ONCE:
            self._collect_all()

    def _ask_some(self, now: float) -> None:
        """Collect a share of the connections, so that all have had their turn in `ROUND_S`."""
        if now >= self._round_at and not self._asked:
            self._round_at = now + ROUND_S
            self._asked.extend(self._server.gate.connections)
            self._share = ceil(len(self._asked) / (ROUND_S * BUCKETS_PER_SECOND))
            self._meter.collect_branches()
        for _ in range(min(self._share, len(self._asked))):
            protocol = self._asked.popleft()
            connection = protocol.connection
            if not connection.closed and not self._meter.is_idle(connection):
                self.collect(protocol)

    # -- keeping

    def _note_changed(self) -> None:
        """The store has to be told of all figures that have changed."""
        if self._server.store is None:
            return
        day = self._today.isoformat()
        for account in self._meter.accounts():
            if account.changed:
                account.changed = False
                self._unsaved += ((account, account.day, day), (account, account.month, day[:7]))

    def _save_some(self, count: int) -> None:
        """Tell the store of so many of them."""
        store = self._server.store
        if store is not None and self._unsaved:
            some = [self._unsaved.popleft() for _ in range(min(count, len(self._unsaved)))]
            store.metered([_row(described(account, figures, period)) for account, figures, period in some])

    def _restore(self, rows: list[MeterRow]) -> None:
        day = self._today.isoformat()
        damaged = 0
        for kind, period, name, user_name, figures in rows:
            if period in (day, day[:7]):
                try:
                    self._meter.restore(kind, name, user_name, decoded(figures), period == day)
                except msgspec.MsgspecError:
                    damaged += 1
        if damaged:
            logger.error("meter: %d rows of the store are damaged, and count as none", damaged)
        if rows and self._server.store is not None and all(period != day for _, period, *_ in rows):
            self._server.store.metered([], self._first_kept())  # days have gone by

    def _first_kept(self) -> tuple[str, str]:
        """The first day and the first month that are not too old."""
        first_day = self._today - timedelta(days=self._config.days)
        years, month = divmod(self._today.year * 12 + self._today.month - 1 - self._config.months, 12)
        return first_day.isoformat(), f"{years:04}-{month + 1:02}"

    def _date(self) -> date:
        return datetime.fromtimestamp(self.wall_clock(), UTC).date()

    # -- inside

    def _restrain(self, accounts: Iterable[Account], now: float) -> None:
        """Clients that are there go by what their budgets say now."""
        sessions = self._server.broker.sessions
        for account in accounts:
            session = sessions.get(account.name)
            if session is not None and session.connection is not None and session.connection.account is account:
                session.connection.restrain(self.budgets.restraint(account), now)

    def _listed(self, accounts: Iterable[Account], contains: str, period: str, limit: int) -> list[Metered]:
        self._collect_few()
        wanted = [account for account in accounts if contains in account.name and _cost(account, period)]
        wanted.sort(key=lambda account: _cost(account, period), reverse=True)
        return [self._one(account, period) for account in wanted[:limit]]

    def _one(self, account: Account, period: str) -> Metered:
        if isinstance(account, Branch):
            account.collect()
        day = self._today.isoformat()
        return described(account, account.day, day) if period == "day" else described(account, account.month, day[:7])


def _row(told: Metered) -> MeterRow:
    return told.kind, told.period, told.name, told.user, encoded(told).decode()


def _cost(account: Account, period: str) -> int:
    figures = account.day if period == "day" else account.month
    return total_bytes(figures, RECEIVED) + total_bytes(figures, SENT)
