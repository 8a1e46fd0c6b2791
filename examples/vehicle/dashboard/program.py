"""How is the page served? A web server and an MQTT client on one event loop."""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from examples.mistakes import listen
from examples.vehicle.dashboard.control import Control
from examples.vehicle.dashboard.page import build
from examples.vehicle.link import Link


async def serve(link: Link, port: int, tour: bool) -> None:
    """Serve until told to end; prints the address when it is ready. Raises what `tidewire.Client` raises."""
    with listen(port, "--port") as listener:
        async with link.client("", retry_first_connect=True) as client:
            control = Control(client)
            listening = asyncio.create_task(control.listen())
            touring = asyncio.create_task(_send_on_tour(control)) if tour else None
            app = FastAPI()
            ui.page("/", title="Vehicles")(lambda: build(control, link.url))
            ui.run_with(app, dark=None)
            try:
                await _Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)).serve([listener])
            finally:
                control.end()
                for task in filter(None, (listening, touring)):
                    task.cancel()


async def _send_on_tour(control: Control) -> None:
    """Every vehicle that comes and has a tour goes on it, once."""
    sent: set[str] = set()
    while True:
        for name in [name for name in control.watch.vehicles if name not in sent and control.has_tour(name)]:
            sent.add(name)
            control.start_tour(name)
        await asyncio.sleep(0.25)


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets and self.started:
            host, port = sockets[0].getsockname()[:2]
            print(f"The vehicles are at http://{host}:{port}", flush=True)
