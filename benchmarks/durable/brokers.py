"""The brokers of the comparison: each is one program with one promise of what it keeps."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.brokers import TIDEWIRE_COMMAND, Broker, Running, find_brokers, serving, write_config

PATIENCE_S: Final = 300.0  # for a start, and for an end: a million messages are read or written meanwhile
DATA: Final = "data"  # the directory below a run's that a broker keeps its files in

FULL: Final = "tidewire"
RELAXED: Final = "tidewire, relaxed"
MEMORY: Final = "tidewire, memory"
MOSQUITTO: Final = "mosquitto"
MOSQUITTO_EAGER: Final = "mosquitto, saving always"

PROMISES: Final = {
    FULL: 'durability = "full": what it acknowledges is on the disk',
    RELAXED: 'durability = "relaxed": what it acknowledges survives the process, not the loss of power',
    MEMORY: 'durability = "memory": it keeps nothing',
    MOSQUITTO: "persistence true: it saves all every half hour, and when it ends",
    MOSQUITTO_EAGER: "persistence true, autosave_interval 1, autosave_on_changes true: it saves all after each change",
}


def durable_brokers(names: list[str]) -> list[Broker]:
    """Those of `names` whose program is installed."""
    versions = {broker.name: broker.version for broker in find_brokers(TIDEWIRE_COMMAND)}
    return [Broker(name, versions[program_of(name)], _command(name)) for name in names if program_of(name) in versions]


def program_of(name: str) -> str:
    return name.partition(",")[0]


@contextmanager
def kept(broker: Broker, directory: Path) -> Iterator[Running]:
    """The broker while it serves what it keeps in `directory`, which may be from an earlier life."""
    (directory / DATA).mkdir(exist_ok=True)
    with serving(broker, directory, PATIENCE_S, PATIENCE_S) as running:
        yield running


def kept_bytes(directory: Path) -> int:
    """The size of all files that a broker keeps there."""
    return sum(path.stat().st_size for path in (directory / DATA).iterdir())


def _command(name: str) -> Callable[[int, Path], list[str]]:
    if program_of(name) == MOSQUITTO:
        program = shutil.which(os.environ.get("BENCH_MOSQUITTO", MOSQUITTO)) or MOSQUITTO
        autosave = AUTOSAVE_ALWAYS if name == MOSQUITTO_EAGER else ""
        return lambda port, directory: [
            program,
            "-c",
            write_config(directory / "mosquitto.conf", MOSQUITTO_CONFIG + autosave, port),
        ]
    # a variable of the environment wins over the file: what this program was given must not decide
    start = ["env", f"TIDEWIRE_DURABILITY={name.partition(', ')[2] or 'full'}", *shlex.split(TIDEWIRE_COMMAND)[:-1]]
    return lambda port, directory: [*start, write_config(directory / "tidewire.toml", TIDEWIRE_CONFIG, port)]


# Loopback, anonymous, no log, and no limit that would make a broker drop a message or refuse one. What is in flight to
# a subscriber is limited as in the other benchmarks.

TIDEWIRE_CONFIG: Final = """\
bind = ["127.0.0.1"]
port = PORT
log_level = "warning"
data = "DIRECTORY/data"

[limits]
queue_messages = 1_000_000_000
queue_bytes = 1_000_000_000_000
retained_messages = 2_000_000

[[access.rules]]
effect = "allow"
topic = "#"

[[access.rules]]
effect = "deny"
topic = "private/+/#"
"""

MOSQUITTO_CONFIG: Final = """\
user root
listener PORT 127.0.0.1
allow_anonymous true
persistence true
persistence_location DIRECTORY/data/
log_type none
set_tcp_nodelay true
max_inflight_messages 100
max_queued_messages 0
max_queued_bytes 0
sys_interval 0
"""

AUTOSAVE_ALWAYS: Final = """\
autosave_interval 1
autosave_on_changes true
"""
