"""How each broker is started, watched and ended: loopback only, one at a time, on cores of its own."""

from __future__ import annotations

import itertools
import os
import resource
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.load.clients import HOST, BrokerFailed, close_clients, open_clients

START_TIMEOUT_S: Final = 15.0
STOP_TIMEOUT_S: Final = 5.0
WAYS: Final = ("TCP", "TLS", "WebSocket")
OUTPUT: Final = "output"  # the file that keeps what a broker prints
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
TIDEWIRE_COMMAND: Final = f"{shlex.quote(sys.executable)} -m tidewire serve --config {{config}}"


@dataclass(frozen=True)
class Broker:
    """One broker of the comparison.

    `command` makes its arguments from a port and a directory for its files; `version` is what the report calls it.
    """

    name: str
    version: str
    command: Callable[[int, Path], list[str]]


def find_brokers(tidewire_command: str) -> list[Broker]:
    """Tidewire, and every peer that is installed.

    A peer is looked for under its name on PATH, or where the variable BENCH_MOSQUITTO, BENCH_FLASHMQ, BENCH_NANOMQ
    or BENCH_AMQTT says. `tidewire_command` contains `{config}`, a configuration file, or `{port}`.
    """
    found = [Broker("tidewire", _tidewire_version(tidewire_command), _tidewire(tidewire_command))]
    for name, (make_command, version_arguments) in PEERS.items():
        program = shutil.which(os.environ.get(f"BENCH_{name.upper()}", name))
        if program:
            found.append(Broker(name, _version([program, *version_arguments]), make_command(program)))
    return found


@dataclass(frozen=True)
class Running:
    """A broker that accepts connections: at `port` of TCP, at the two after it of TLS and WebSocket where it can."""

    port: int
    process_id: int
    start_s: float = 0.0
    """From its exec to the answer to the first CONNECT."""

    def port_of(self, way: str) -> int:
        return self.port + WAYS.index(way)

    def cpu_s(self) -> float:
        """Seconds of processor time used so far, user and system, by all threads and child processes."""
        return sum(_cpu_ticks(process_id) for process_id in _family(self.process_id)) / TICKS_PER_S

    def resident_bytes(self) -> int:
        """VmRSS of the process and its children."""
        return sum(_resident_kib(process_id) for process_id in _family(self.process_id)) * 1024

    def written_bytes(self) -> int:
        """What the process has had written to the disk so far, by itself or by the kernel afterwards."""
        fields = Path(f"/proc/{self.process_id}/io").read_text().split()
        return int(fields[fields.index("write_bytes:") + 1])


def machine_cpu_s() -> float:
    """Seconds of processor time that all programs on the machine, and its hypervisor, have used so far."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = Path("/proc/stat").read_text().split()[1:9]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / TICKS_PER_S


@contextmanager
def running(broker: Broker) -> Iterator[Running]:
    """`serving` in a directory of its own, which is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="tidewire-bench-") as name,
        serving(broker, Path(name), START_TIMEOUT_S, STOP_TIMEOUT_S) as started,
    ):
        yield started


@contextmanager
def serving(broker: Broker, directory: Path, start_timeout_s: float, stop_timeout_s: float) -> Iterator[Running]:
    """Start `broker` on a free port and wait until it answers a CONNECT; end it by its process id.

    Where there are two cores or more the load generator, this process, keeps the last and the broker gets the others.
    """
    _raise_open_file_limit()
    port = _free_ports()
    began = time.monotonic()
    process = _spawn(broker.command(port, directory), directory)
    try:
        _wait_until_ready(broker, process, port, directory / OUTPUT, began + start_timeout_s)
        yield Running(port, process.pid, time.monotonic() - began)
    finally:
        process.terminate()
        try:
            process.wait(stop_timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _spawn(arguments: list[str], directory: Path) -> subprocess.Popen[bytes]:
    ours, theirs = _cores()
    os.sched_setaffinity(0, theirs)  # inherited by the broker
    try:
        with (directory / OUTPUT).open("wb") as output:
            return subprocess.Popen(arguments, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    finally:
        os.sched_setaffinity(0, ours)


ALL_CORES: Final = frozenset(os.sched_getaffinity(0))


def _cores() -> tuple[frozenset[int], frozenset[int]]:
    if len(ALL_CORES) < 2:
        return ALL_CORES, ALL_CORES
    last = max(ALL_CORES)
    return frozenset({last}), ALL_CORES - {last}


def _wait_until_ready(
    broker: Broker, process: subprocess.Popen[bytes], port: int, output: Path, deadline: float
) -> None:
    while True:
        try:
            close_clients(open_clients(port, 1, "bench-ready"))
            return
        except (OSError, BrokerFailed) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                said = output.read_text(errors="replace").strip().rpartition("\n")[2]
                raise BrokerFailed(f"{broker.name} did not start ({error}): {said}") from None
            time.sleep(0.01)


def _raise_open_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _free_ports() -> int:
    """The first of three below those that the system gives to clients: one could take them before the broker does."""
    while True:
        first = next(PORTS)
        try:
            for port in range(first, first + len(WAYS)):
                with socket.socket() as probe:
                    probe.bind((HOST, port))
            return first
        except OSError:
            continue


PORTS: Final = itertools.cycle(range(20_000 + os.getpid() % 10_000, 32_000, len(WAYS)))


def _family(process_id: int) -> list[int]:
    """The process and its living descendants."""
    members = [process_id]
    for member in members:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            members += [int(child) for child in children.read_text().split()]
    return members


def _cpu_ticks(process_id: int) -> int:
    # proc(5): utime, stime and those of waited-for children are fields 14 to 17; the name before may hold spaces
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def _resident_kib(process_id: int) -> int:
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _tidewire(command: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: shlex.split(
        command.format(port=port, config=write_config(directory / "tidewire.toml", TIDEWIRE, port))
    )


def _tidewire_version(command: str) -> str:
    return _version([*shlex.split(command.partition(" serve")[0]), "--version"])


def _mosquitto(program: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: [program, "-c", write_config(directory / "mosquitto.conf", MOSQUITTO, port)]


def _flashmq(program: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: [program, "--config-file", write_config(directory / "flashmq.conf", FLASHMQ, port)]


def _nanomq(program: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: [program, "start", "--conf", write_config(directory / "nanomq.conf", NANOMQ, port)]


def _amqtt(program: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: [program, "-c", write_config(directory / "amqtt.yaml", AMQTT, port)]


PEERS: Final[dict[str, tuple[Callable[[str], Callable[[int, Path], list[str]]], list[str]]]] = {
    "mosquitto": (_mosquitto, ["-h"]),
    "flashmq": (_flashmq, ["--version"]),
    "nanomq": (_nanomq, ["--version"]),
    "amqtt": (_amqtt, ["--version"]),
}


def _version(command: list[str]) -> str:
    """The first number with dots that the program prints, or "unknown"."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    for word in (done.stdout + done.stderr).replace("v", " ").split():
        if word[0].isdigit() and "." in word:
            return word.strip(",")
    return "unknown"


def write_config(path: Path, template: str, port: int) -> str:
    if "TLS_PORT" in template:
        _make_certificate(path.parent)
    for way in reversed(WAYS):
        name = "PORT" if way == "TCP" else f"{way.upper()}_PORT"
        template = template.replace(name, str(port + WAYS.index(way)))
    path.write_text(template.replace("DIRECTORY", str(path.parent)))
    return str(path)


def _make_certificate(directory: Path) -> None:
    """A key on P-256, which every broker here may have, and a certificate that nobody looks at."""
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -days 1"
    files = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "certificate.pem")]
    subprocess.run([*words.split(), *files], check=True, capture_output=True, timeout=START_TIMEOUT_S)


# What the configurations have in common: loopback, anonymous, no log, nothing on disk, one thread for the work where
# it can be said, and no limit that would make a broker drop a message that a run waits for. Mosquitto searches what is
# in flight from its beginning: there the window of the load generator is kinder to it than no limit. FlashMQ's buffers
# make it up to 1.7 times as fast as its default of 1 KiB does, and cost it 6 KB for each idle connection.

TIDEWIRE: Final = """\
bind = ["127.0.0.1"]
port = PORT
log_level = "warning"
durability = "memory"

[[listener]]
bind = ["127.0.0.1"]
port = TLS_PORT

[listener.tls]
certificate = "DIRECTORY/certificate.pem"
key = "DIRECTORY/key.pem"

[[listener]]
bind = ["127.0.0.1"]
port = WEBSOCKET_PORT
protocol = "websocket"

[[access.rules]]
effect = "allow"
topic = "#"

[[access.rules]]
effect = "deny"
topic = "private/+/#"
"""

MOSQUITTO: Final = """\
user root
listener PORT 127.0.0.1
allow_anonymous true
persistence false
log_type none
set_tcp_nodelay true
max_inflight_messages 100
max_queued_messages 0
max_queued_bytes 0
sys_interval 0
listener TLS_PORT 127.0.0.1
certfile DIRECTORY/certificate.pem
keyfile DIRECTORY/key.pem
listener WEBSOCKET_PORT 127.0.0.1
protocol websockets
"""

FLASHMQ: Final = """\
thread_count 1
allow_anonymous true
log_level none
client_initial_buffer_size 65536
client_max_write_buffer_size 268435456
max_qos_msg_pending_per_client 65535
max_qos_bytes_pending_per_client 1073741824
max_event_loop_drift 60000
overload_mode log
listen {
  protocol mqtt
  port PORT
  inet_protocol ip4
  inet4_bind_address 127.0.0.1
  tcp_nodelay true
}
"""

NANOMQ: Final = """\
system {
  num_taskq_thread = 1
  max_taskq_thread = 1
  parallel = 64
}
mqtt {
  property_size = 32
  max_packet_size = 256MB
  max_mqueue_len = 65535
  max_inflight_window = 65535
  retry_interval = 3600s
}
listeners.tcp {
  bind = "127.0.0.1:PORT"
}
log {
  to = [console]
  level = fatal
}
auth {
  allow_anonymous = true
  no_match = allow
  deny_action = ignore
}
"""

AMQTT: Final = """\
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:PORT
    max_connections: 0
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""
