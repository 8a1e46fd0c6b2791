"""Which pages are there? Each has a package of its own; this is their list and the frame around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from fastapi import Request
from nicegui import ui

from tidewire.console.frame import frame
from tidewire.console.gate import visit_of
from tidewire.console.look import Look
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


def register(admin: Admin) -> None:
    """Make them known to NiceGUI."""
    for page in PAGES:
        ui.page(page.path, title=f"{page.title} · Tidewire")(_builder(page, admin))


def _builder(page: Page, admin: Admin) -> Callable[[Request], None]:
    build: Callable[[Look], None] = import_module(f"tidewire.console.{page.name}.page").build

    def built(request: Request) -> None:
        visit = visit_of(request)
        client = ui.context.client
        visit.pages[client.id] = client.delete
        client.on_delete(lambda: visit.pages.pop(client.id, None))
        look = Look(admin, visit.viewer, visit.name, visit.dark)
        shown = [each for each in PAGES if look.operator or not each.operators_only]
        with frame(page, shown, look, visit):
            if page in shown:
                build(look)
            else:
                ui.label("This page is for operators: users that the broker's configuration names in [console].")

    return built
