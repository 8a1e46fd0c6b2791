"""Can Prometheus read what the broker says?"""

from __future__ import annotations

import re

import msgspec

from tests.server.administered import administered, run
from tidewire.server.admin_metrics import exposition
from tidewire.server.admin_types import BridgeInfo, ListenerInfo, Overview
from tidewire.store.meter_rows import Flow, Metered, Packets

NOTHING = Metered("total", "", "2026-11", Flow(), Flow())
CLIENTS = [
    Metered(
        "client",
        name,
        "2026-11",
        Flow(payload=20, mqtt=50, tls=22, tcp_ip=104, packets={"PUBLISH": Packets(2, 46), "PINGREQ": Packets(2, 4)}),
        Flow(mqtt=4, tcp_ip=52, packets={"PINGRESP": Packets(2, 4)}),
    )
    for name in ("lamp", 'a"b\\c\nd')
]
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? (-?[0-9.e+-]+)')


async def overview() -> Overview:
    async with administered() as setup:
        for name in ("lamp", "door"):
            setup.client(name)
        return setup.admin.overview()


def test_every_line_is_a_sample_of_a_metric_that_was_introduced() -> None:
    kinds: dict[str, str] = {}
    samples: dict[str, float] = {}
    for line in exposition(run(overview()), NOTHING, CLIENTS).splitlines():
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


def test_the_broker_s_own_retained_messages_are_among_those_that_are_kept() -> None:
    shown = msgspec.structs.replace(
        run(overview()), retained_messages=3, retained_bytes=30, sys_messages=80, sys_bytes=800
    )
    lines = exposition(shown, NOTHING).splitlines()
    assert "tidewire_retained_messages 83" in lines
    assert "tidewire_retained_bytes 830" in lines


def test_a_name_cannot_forge_a_line() -> None:
    listener = ListenerInfo(name="", urls=['unix:///a"b\\c\nd'], protocol="mqtt", tls=False, connections=3)
    bridge = BridgeInfo(name="plant", connected=True)
    shown = msgspec.structs.replace(run(overview()), listeners=[listener], bridges=[bridge], store="failing")
    lines = exposition(shown, NOTHING).splitlines()
    assert 'tidewire_listener_connections{url="unix:///a\\"b\\\\c\\nd"} 3' in lines
    assert 'tidewire_bridge_connected{bridge="plant"} 1' in lines
    assert "tidewire_store_ok 0" in lines


def test_a_client_has_its_layers_which_add_up_to_all_its_bytes() -> None:
    lines = exposition(run(overview()), NOTHING, CLIENTS[:1]).splitlines()
    assert [line for line in lines if "client=" in line] == [
        'tidewire_client_metered_bytes_total{client="lamp",direction="in",layer="payload"} 20',
        'tidewire_client_metered_bytes_total{client="lamp",direction="in",layer="mqtt"} 30',
        'tidewire_client_metered_bytes_total{client="lamp",direction="in",layer="tls"} 22',
        'tidewire_client_metered_bytes_total{client="lamp",direction="in",layer="tcp_ip"} 104',
        'tidewire_client_metered_bytes_total{client="lamp",direction="out",layer="mqtt"} 4',
        'tidewire_client_metered_bytes_total{client="lamp",direction="out",layer="tcp_ip"} 52',
        'tidewire_client_metered_packets_total{client="lamp",direction="in"} 4',
        'tidewire_client_metered_packets_total{client="lamp",direction="out"} 2',
    ]


def test_without_clients_no_client_is_named() -> None:
    assert "client_metered" not in exposition(run(overview()), NOTHING)
