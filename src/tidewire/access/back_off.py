"""How long must an address wait that has given wrong passwords?"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

ADDRESSES: Final = 10_000
"""Addresses remembered, some 2 MB; the one that was quiet for longest is forgotten first."""

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0
"""The wait doubles with each failure up to here: 1 440 guesses a day, and who mends a password soon gets in."""

FORGOTTEN_AFTER_S: Final = 600.0
"""Failures that lie so far back do not count."""


class BackOff:
    """Failures by address. IPv6 addresses count by their network of 64 bits, which is what one customer has."""

    def __init__(self, attempts: int) -> None:
        """`attempts`: failures before an address has to wait; 0: none ever has to."""
        self._attempts = attempts
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Address → how many there were, and when the last one was."""

    def must_wait(self, peer: str, now: float) -> bool:
        """Whether an attempt from there is refused unheard."""
        failures, last = self._failures.get(_source(peer), (0, 0.0))
        excess = failures - self._attempts
        return (
            self._attempts > 0 and excess >= 0 and now - last < min(FIRST_WAIT_S * 2 ** min(excess, 10), LONGEST_WAIT_S)
        )

    def failed(self, peer: str, now: float) -> None:
        source = _source(peer)
        failures, last = self._failures.pop(source, (0, now))
        if now - last >= FORGOTTEN_AFTER_S:
            failures = 0
        self._failures[source] = (failures + 1, now)
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)


def _source(peer: str) -> str:
    host = peer.rpartition(":")[0].strip("[]")
    if ":" not in host:
        return host or peer
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host
