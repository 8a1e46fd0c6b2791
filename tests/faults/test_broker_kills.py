"""Does the broker keep what it acknowledged while it is killed at random moments, and while the power fails with it?

`make faults` runs the long form. The seed of a run is printed, and TIDEWIRE_FAULT_SEED repeats its choices.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
from pathlib import Path
from typing import Final

import pytest

from tests.faults.kills.broker import Mortal
from tests.faults.kills.load import QUIET_S, Load
from tests.faults.kills.power import Power
from tests.process import PATIENCE_S

KILLS: Final = int(os.environ.get("TIDEWIRE_FAULT_KILLS", "4"))
SEED: Final = int(os.environ.get("TIDEWIRE_FAULT_SEED", "1"))
PATIENCE: Final = PATIENCE_S * (1 + KILLS / 5)
SHOWN: Final = 20
"""Faults that are shown, of what may be thousands."""


@pytest.fixture
def chance() -> random.Random:
    print(f"TIDEWIRE_FAULT_SEED={SEED}")
    return random.Random(SEED)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def power(data: Path) -> Power:
    scratch = data.with_name("scratch")
    scratch.mkdir()
    return Power(data, scratch)


def test_killed_at_random_moments_the_broker_keeps_its_promises(data: Path, chance: random.Random) -> None:
    assert faults(Mortal(data, chance), chance) == []
    assert is_sound(data)


def test_with_what_was_not_synced_lost_as_well_the_broker_keeps_its_promises(
    data: Path, power: Power, chance: random.Random
) -> None:
    assert faults(Mortal(data, chance, power), chance) == []
    assert is_sound(data)


def test_a_broker_that_does_not_wait_for_the_disk_is_found_out(data: Path, power: Power, chance: random.Random) -> None:
    broker = Mortal(data, chance, power, durability="relaxed", ahead=False)
    assert any("its session is gone" in fault for fault in faults(broker, chance, kills=1, quiet_s=1))


def faults(broker: Mortal, chance: random.Random, kills: int = KILLS, quiet_s: float = QUIET_S) -> list[str]:
    async def run() -> list[str]:
        async with asyncio.timeout(PATIENCE):
            return await Load(broker, chance, quiet_s).run(kills)

    try:
        found = asyncio.run(run())
    finally:
        broker.close()
    print(*found[:SHOWN], sep="\n")
    return found


def is_sound(data: Path) -> bool:
    with contextlib.closing(sqlite3.connect(data / "broker.db")) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
