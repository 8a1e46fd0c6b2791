"""Can Prometheus read what the broker says?"""

from __future__ import annotations

import re

import msgspec

from tests.server.administered import administered, run
from tidewire.server.admin_metrics import exposition
from tidewire.server.admin_types import BridgeInfo, ListenerInfo, Overview

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? (-?[0-9.e+-]+)')


async def overview() -> Overview:
    async with administered() as setup:
        for name in ("lamp", "door"):
            setup.client(name)
        return setup.admin.overview()


def test_every_line_is_a_sample_of_a_metric_that_was_introduced() -> None:
    kinds: dict[str, str] = {}
    samples: dict[str, float] = {}
    for line in exposition(run(overview())).splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] in kinds
            assert (kinds[sample[1]] == "counter") == sample[1].endswith("_total")
            samples[line.rpartition(" ")[0]] = float(sample[3])
    assert samples["tidewire_connections"] == 2
    assert samples['tidewire_messages_dropped_total{reason="queue full"}'] == 0
    assert samples["tidewire_store_ok"] == 1


def test_a_name_cannot_forge_a_line() -> None:
    listener = ListenerInfo(name="", urls=['unix:///a"b\\c\nd'], protocol="mqtt", tls=False, connections=3)
    bridge = BridgeInfo(name="plant", connected=True)
    shown = msgspec.structs.replace(run(overview()), listeners=[listener], bridges=[bridge], store="failing")
    lines = exposition(shown).splitlines()
    assert 'tidewire_listener_connections{url="unix:///a\\"b\\\\c\\nd"} 3' in lines
    assert 'tidewire_bridge_connected{bridge="plant"} 1' in lines
    assert "tidewire_store_ok 0" in lines
