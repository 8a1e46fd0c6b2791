"""What does a month cost? A device that sends one message every so often, reckoned from what was measured."""

from __future__ import annotations

from math import ceil
from typing import Final

from msgspec import Struct

from tidewire.overhead.costs import Exchange
from tidewire.overhead.protocols import ProtocolCost

MONTH_S: Final = 30 * 86_400
"""Thirty days."""

RADIO_SLEEPS_AFTER_S: Final = 10.0
"""Of silence: the inactivity timer that LTE networks usually set. Traffic within it is one burst."""


class Schedule(Struct, frozen=True):
    """How often a device sends, and its Keep Alive (3.1.2.10); 0: none."""

    every_s: float
    keep_alive_s: int = 60

    @property
    def messages(self) -> int:
        """In a month."""
        return round(MONTH_S / self.every_s)

    @property
    def pings(self) -> int:
        """PINGREQ in a month, over a connection that is kept: only where nothing else was sent for so long."""
        return self.messages * self._pings_between if self.keep_alive_s else 0

    @property
    def wake_ups(self) -> int:
        """Bursts of radio traffic in a month over a connection that is kept; 1 where the radio never sleeps."""
        pings = self._pings_between
        silences = [float(self.keep_alive_s)] * pings + [self.every_s - pings * self.keep_alive_s]
        return max(1, self.messages * sum(silence > RADIO_SLEEPS_AFTER_S for silence in silences))

    @property
    def wake_ups_connecting(self) -> int:
        """The same where it connects for each message."""
        return self.messages if self.every_s > RADIO_SLEEPS_AFTER_S else 1

    @property
    def _pings_between(self) -> int:
        return max(0, ceil(self.every_s / self.keep_alive_s) - 1) if self.keep_alive_s else 0


class Month(Struct, frozen=True):
    """Bytes of all layers and both ways, and wake-ups, of one device in a month."""

    name: str
    kept_bytes: int | None
    """Over one connection that stays; None where each message has its own."""
    kept_wake_ups: int | None
    connecting_bytes: int
    """Where the device connects for each message and leaves."""
    connecting_wake_ups: int


def month(cost: ProtocolCost, schedule: Schedule, ping_bytes: int = 0) -> Month:
    """`ping_bytes`: of one PINGREQ and its answer, all layers; other protocols have none while they are idle here."""
    messages = schedule.messages
    kept = cost.first.total + (messages - 1) * cost.message.total + cost.last.total + schedule.pings * ping_bytes
    each = (cost.first + cost.last).total * messages
    wake_ups = schedule.wake_ups if ping_bytes else schedule.wake_ups_connecting
    if not cost.kept:
        return Month(cost.name, None, None, each, schedule.wake_ups_connecting)
    return Month(cost.name, kept, wake_ups, each, schedule.wake_ups_connecting)


def ping_bytes(exchange: Exchange) -> int:
    return exchange.stage("keep-alive").traffic.total
