"""Wills of the load: of clients that are cut off, by themselves or by the end of the broker, and never come back."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from tests.faults.kills.broker import Unwell
from tests.faults.kills.clients import Target, Wire, lasting
from tests.faults.kills.judge import History, Name, Sent
from tidewire.wire.codes import V5
from tidewire.wire.packets import Connect, Will
from tidewire.wire.properties import WILL_DELAY_INTERVAL

WILLS: Final = "will"
"""Topics of wills begin so."""
QOS: Final = 2
DELAYS_S: Final = (0, 1, 2)


async def leave_a_will(name: str, target: Target, history: History, chance: random.Random, stays: int) -> None:
    """Connect, and be cut off after so many acknowledgements or by a kill: then the will is owed.

    Some say DISCONNECT. As nothing answers it, a kill may come first, so their wills may be published too; once.
    """
    will = Name(f"{WILLS}/{name}", name, 1)
    connect = Connect(name, V5, clean_start=False, properties=lasting())
    connect.will = Will(will.topic.encode(), will.payload(), QOS)
    connect.will.properties.integers = {WILL_DELAY_INTERVAL: chance.choice(DELAYS_S)}
    leave = target.after(chance.randrange(stays))
    in_peace = chance.random() < 0.25
    history.sent[will] = Sent(QOS, history.now())
    life = await target.life()
    try:
        wire, _ = await Wire.open(target.port, connect)
    except OSError:
        return  # killed before CONNACK
    end = asyncio.create_task(wire.receive())
    leaving = asyncio.create_task(leave.wait())
    await asyncio.wait((end, leaving), return_when=asyncio.FIRST_COMPLETED)
    leaving.cancel()
    if end.done() and target.lives(life):
        raise Unwell(f"{name}: the broker lives, but ended the connection: {end.exception()}")
    history.sent[will].owed = end.done() or not in_peace
    wire.leave(in_peace and not end.done())
    await asyncio.gather(end, return_exceptions=True)
