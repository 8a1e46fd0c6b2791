"""Runs all clients against one broker, and writes what was found to docs/interop.md.

    python -m tests.interop.matrix                   all that this machine has the tool chain for
    python -m tests.interop.matrix --only rumqttc    one client, by its name; may be repeated; writes nothing
    python -m tests.interop.matrix --check           only say whether the page has the rows of the matrix

Ends with 1 when something does not work, and names it. What is left out is named, too, and is no fault.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from time import monotonic
from typing import Final

from tests.interop.matrix import document
from tests.interop.matrix.building import BUILT, CannotBuild, build
from tests.interop.matrix.cases import CASES, run_case
from tests.interop.matrix.clients import CLIENTS, TRANSPORTS, OtherClient
from tests.interop.matrix.program import Cell
from tests.process import BrokerProcess, tidewire

AT_A_TIME: Final = 2
"""Clients that are built and run side by side; they wait for processes to start more than for the broker."""

WITHIN_S: Final = 1800.0
"""How long all of it may take, with every library to be downloaded and compiled; then what is left has failed."""


def main() -> int:
    names = [client.name for client in CLIENTS]
    parser = argparse.ArgumentParser(prog="python -m tests.interop.matrix", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of: {'; '.join(names)}")
    parser.add_argument("--check", action="store_true", help="only compare the rows of docs/interop.md")
    parser.add_argument("--within", type=float, default=WITHIN_S, metavar="SECONDS", help="time for all of it")
    options = parser.parse_args()
    if options.check:
        return _check()
    wanted = [client for client in CLIENTS if not options.only or client.name in options.only]
    run = Run()
    BUILT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder)) as process:
        ports = [int(address.rpartition(":")[2].partition("/")[0]) for address in process.addresses]
        asyncio.run(run.all(wanted, dict(zip(TRANSPORTS, ports, strict=True)), Path(folder) / "ca.pem", options.within))
        healthy = process.stop() == 0 and "internal error" not in process.log
    if not healthy:
        print(f"FAILED   the broker itself:\n{process.log}")
    print(
        f"{len(run.results)} combinations, {len(run.faults)} failed; left out: {', '.join(run.left_out) or 'nothing'}"
    )
    if healthy and len(run.results) == sum(len(client.versions) * len(client.transports) for client in CLIENTS):
        document.DOCUMENT.write_text(document.render(run.results), encoding="utf-8")
    return 1 if run.faults or not healthy else 0


def _check() -> int:
    if document.stale():
        print("docs/interop.md has other rows than the matrix; `make interop` writes it", file=sys.stderr)
        return 1
    return 0


def broker(folder: Path) -> BrokerProcess:
    """A broker with a listener for each transport, in their order, and a certificate for localhost in `folder`."""
    made = tidewire("certs", "make", "--host", "localhost", folder)
    if made.returncode:
        raise SystemExit(made.stderr)
    lines = ["bind = []"]
    for scheme in TRANSPORTS:
        protocol = "websocket" if scheme.startswith("ws") else "mqtt"
        lines += ["[[listener]]", 'bind = ["127.0.0.1"]', "port = 0", f'protocol = "{protocol}"']
        if scheme in {"mqtts", "wss"}:
            lines += ["[listener.tls]", f'certificate = "{folder}/server.pem"', f'key = "{folder}/server.key"']
    config = folder / "broker.toml"
    config.write_text("\n".join(lines))
    return BrokerProcess("--config", config)


class Run:
    """One run of the matrix, and what came of it."""

    def __init__(self) -> None:
        self.results: document.Results = {}
        self.faults: list[str] = []
        self.left_out: list[str] = []
        self._places = asyncio.Semaphore(AT_A_TIME)
        self._folders: dict[str, asyncio.Lock] = {}

    async def all(
        self, clients: Iterable[OtherClient], ports: dict[str, int], authority: Path, within_s: float
    ) -> None:
        task = asyncio.current_task()
        assert task
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # leave no program behind
        try:
            async with asyncio.timeout(within_s), asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(self._client(client, ports, authority))
        except TimeoutError:
            self._fault(f"not all was done in {within_s:.0f} s")

    async def _client(self, client: OtherClient, ports: dict[str, int], authority: Path) -> None:
        if missing := client.missing():
            self.left_out.append(client.name)
            print(f"left out {client.name}: on Debian, apt install {' '.join(missing)}", flush=True)
            return
        async with self._folders.setdefault(client.folder, asyncio.Lock()), self._places:
            try:
                built = await build(client)
            except CannotBuild as fault:
                self._fault(f"{client.name}: {fault}")
                return
            for version, scheme in product(client.versions, client.transports):
                path = "/mqtt" if scheme.startswith("ws") else ""
                url = f"{scheme}://localhost:{ports[scheme]}{path}"
                await self._cell(scheme, Cell(client, built, url, authority, version))

    async def _cell(self, scheme: str, cell: Cell) -> None:
        began = monotonic()
        name = f"{cell.client.name}, MQTT {cell.version}, {TRANSPORTS[scheme]}"
        faults = {case: await run_case(case, cell) for case in CASES}
        self.results[cell.client.name, cell.version, scheme] = faults
        wrong = [f"{case}: {fault}" for case, fault in faults.items() if fault]
        if wrong:
            self._fault("\n         ".join([name, *wrong]))
        else:
            print(f"works    {name} ({monotonic() - began:.1f} s)", flush=True)

    def _fault(self, fault: str) -> None:
        self.faults.append(fault)
        print(f"FAILED   {fault}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
