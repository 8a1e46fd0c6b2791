"""Who hands out the page? Starlette: a few files, what the page has to know, and the report. Messages come by MQTT."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from examples.surf.heat import Heat
from examples.surf.history import History
from examples.surf.report import as_csv, as_svg

STATIC: Final = Path(__file__).parent / "static"


def application(heat: Heat, directory: Path) -> Starlette:
    """The page of a heat."""

    def index(request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    def settings(request: Request) -> Response:
        what = {"id": heat.id, "websocket": heat.websocket, "surfers": heat.surfers, "link": heat.link}
        return JSONResponse(what, headers={"Cache-Control": "no-store"})

    def picture(request: Request) -> Response:
        with History(directory / "rides.db") as history:
            return Response(as_svg(heat.id, history.rides()), media_type="image/svg+xml")

    def table(request: Request) -> Response:
        with History(directory / "rides.db") as history:
            return Response(as_csv(history.rides()), media_type="text/csv")

    return Starlette(
        routes=[
            Route("/", index),
            Route("/heat.json", settings),
            Route("/report.svg", picture),
            Route("/rides.csv", table),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]
    )


def address(opened: socket.socket) -> str:
    """The address of the page."""
    host, port = opened.getsockname()[:2]
    return f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """One that leaves the signals to whoever started it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(application: Starlette, opened: socket.socket) -> None:
    """Serve the page until cancelled."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = _Server(uvicorn.Config(application, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([opened]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving
