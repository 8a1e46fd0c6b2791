"""Which pages are there? Each has a package of its own; this is their list, the frame around them, and what is said of
an address that has none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Final

from fastapi import HTTPException, Request
from fastapi.responses import PlainTextResponse, Response
from nicegui import Client, ElementFilter, ui
from nicegui import app as nicegui

from tidewire.console import charts
from tidewire.console.ended import end, watch_for_end
from tidewire.console.frame import frame
from tidewire.console.gate import visit_of
from tidewire.console.handing_over import register_files
from tidewire.console.look import Look
from tidewire.console.visits import Visit
from tidewire.server.admin import Admin


@dataclass(frozen=True)
class Page:
    """One entry of the navigation; `build` in `page.py` of the package of this name fills it."""

    name: str
    path: str
    title: str
    icon: str
    operators_only: bool = False


PAGES: Final = (
    Page("overview", "/", "Overview", "speed"),
    Page("topics", "/topics", "Topics", "account_tree"),
    Page("clients", "/clients", "Clients", "devices", True),
    Page("flow", "/flow", "Flow inspector", "swap_vert", True),
    Page("publish", "/publish", "Publish", "send"),
    Page("retained", "/retained", "Retained", "push_pin"),
    Page("overhead", "/overhead", "Overhead", "balance"),
)

NOWHERE: Final = Page("nowhere", "", "Not found", "wrong_location")

SHOWN_CHARACTERS: Final = 200
"""Of an address that has no page."""

COLOURS: Final = "tidewire_colours"
"""The cookie by which a browser keeps its choice of light or dark."""
COLOURS_S: Final = 365 * 86_400
_COLOURS: Final[dict[bool | None, str]] = {None: "browser", False: "light", True: "dark"}


def register(admin: Admin) -> None:
    """Make them known to NiceGUI."""
    register_files()
    for page in PAGES:
        ui.page(page.path, title=_title(page))(_builder(page, admin))
    nicegui.exception_handler(404)(_nowhere(admin))


def _title(page: Page) -> str:
    return f"{page.title} · Tidewire"


def _builder(page: Page, admin: Admin) -> Callable[[Request], None]:
    build: Callable[[Look], None] = import_module(f"tidewire.console.{page.name}.page").build

    def built(request: Request) -> None:
        _framed(page, admin, request, build)

    return built


def _nowhere(admin: Admin) -> Callable[[Request, HTTPException], Awaitable[Response]]:
    async def answered(request: Request, fault: HTTPException) -> Response:
        if "text/html" not in request.headers.get("accept", ""):  # no person: a page would be too much
            return PlainTextResponse("There is nothing here.\n", 404)
        with Client(ui.page(NOWHERE.path, title=_title(NOWHERE)), request=request) as client:
            _framed(NOWHERE, admin, request, lambda _: _say_nowhere(request.url.path))
        return client.build_response(request, 404)

    return answered


def _say_nowhere(path: str) -> None:
    charts.add_style()
    with charts.section("There is no such page"):
        ui.label(f"The console has nothing at {path[:SHOWN_CHARACTERS]}").classes("break-all")
        ui.link("To the Overview", "/").classes("link")


def _framed(page: Page, admin: Admin, request: Request, build: Callable[[Look], None]) -> None:
    """What is built belongs to the visit of the request, and ends with it."""
    visit = visit_of(request)
    _belongs_to(visit)
    watch_for_end()
    chosen = request.cookies.get(COLOURS)
    dark = next((dark for dark, name in _COLOURS.items() if name == chosen), None)
    look = Look(admin, visit.viewer, visit.name, dark)
    shown = [each for each in PAGES if look.operator or not each.operators_only]
    with frame(page, shown, look, replace(visit, dark=dark)):
        if page.operators_only and not look.operator:
            ui.label("This page is for operators: users that the broker's configuration names in [console].")
        else:
            build(look)
    for element in ElementFilter(kind=ui.dark_mode):
        element.on_value_change(lambda event: _keep(event.value))


def _belongs_to(visit: Visit) -> None:
    """The page that is being built ends with the visit. One that a browser has left NiceGUI ends itself in a moment,
    and must not find ended; if the browser comes back to it before, it is the visit's again."""
    client = ui.context.client
    visit.opened(client.id, lambda: end(client))
    client.on_connect(lambda: visit.opened(client.id, lambda: end(client)))
    client.on_disconnect(lambda: None if client.has_socket_connection else visit.pages.pop(client.id, None))
    client.on_delete(lambda: visit.pages.pop(client.id, None))


def _keep(dark: bool | None) -> None:
    """In the browser: next time it is so from the first."""
    cookie = f"{COLOURS}={_COLOURS[dark]}; Path=/; SameSite=Strict; Max-Age={COLOURS_S}"
    ui.run_javascript(f'document.cookie = "{cookie}"')
