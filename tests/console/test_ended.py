"""Is somebody told that their page has ended, or its broker is gone, and how they get back in?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("nicegui", reason="the extra console is not installed")

from tests.console.looking import Console
from tests.process import BrokerProcess
from tidewire.access.passwords import set_password
from tidewire.console.visits import PAGES

CONFIG = """
port = 0
durability = "memory"
[console]
port = 0
operators = ["ann"]
[access]
password_file = "{users}"
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a broker with the operator ann."""
    directory = tmp_path_factory.mktemp("ended")
    set_password(directory / "users", "ann", b"ann tide")
    path = directory / "broker.toml"
    path.write_text(CONFIG.format(users=(directory / "users").as_posix()), encoding="utf-8")
    return path


@pytest.fixture
def guarded(config: Path) -> Iterator[Console]:
    with Console("--config", config) as console:
        yield console
        assert "Traceback" not in console.broker.log


def logged_in(console: Console, **how: Any) -> Any:
    """A page that would notice its end."""
    page = console.open("/log-in", **how)
    page.get_by_label("User").fill("ann")
    page.get_by_label("Password or token").fill("ann tide")
    page.get_by_role("button", name="Log in").click()
    watches(page)
    return page


def watches(page: Any) -> None:
    page.locator(".ended").wait_for(state="attached")


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, True)])
def test_who_is_logged_out_is_told_so_and_led_back(guarded: Console, dark: bool, phone: bool) -> None:
    page = logged_in(guarded, dark=dark, phone=phone)
    page.context.request.post(guarded.url + "/log-out")
    page.get_by_role("alert").get_by_text("Your log-in has ended").wait_for()
    guarded.check_accessibility(page)
    guarded.shot(page, f"ended{'-dark' if dark else ''}{'-phone' if phone else ''}")
    page.get_by_role("button", name="Log in again").click()
    page.get_by_label("User").wait_for()


def test_who_comes_back_to_a_broker_that_was_restarted_is_told(guarded: Console, config: Path) -> None:
    page = logged_in(guarded)
    guarded.broker.stop()
    page.get_by_role("alert").get_by_text("No connection to the broker since").wait_for()
    with BrokerProcess("--config", config, "--console-port", str(urlsplit(guarded.url).port)) as restarted:
        page.get_by_role("alert").get_by_text("Your log-in has ended").wait_for()
        assert page.get_by_text("No connection to the broker").is_hidden()
        assert "ASGI" not in restarted.log and "Traceback" not in restarted.log


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, True)])
def test_what_a_broker_that_is_gone_has_left_is_grey_and_nothing_covers_it(dark: bool, phone: bool) -> None:
    with Console("--memory") as console:
        page = console.open(dark=dark, phone=phone)
        page.get_by_role("heading", name="Held now").wait_for()
        watches(page)
        console.broker.stop()
        page.get_by_role("alert").get_by_text("No connection to the broker since").wait_for()
        assert page.get_by_text("Connection lost").is_hidden()
        assert "grayscale" in page.locator(".q-page").evaluate("page => getComputedStyle(page).filter")
        console.shot(page, f"away{'-dark' if dark else ''}{'-phone' if phone else ''}")
        console.check_accessibility(page)


def test_the_oldest_of_too_many_pages_says_that_it_has_ended(console: Console) -> None:
    page = console.open("/publish")
    watches(page)
    for _ in range(PAGES):
        page.context.request.get(console.url)
    page.get_by_role("alert").get_by_text("This page has ended").wait_for()
    page.get_by_role("button", name="Reload").click()
    page.get_by_role("alert").wait_for(state="hidden")
    page.get_by_role("heading", name="Publish", level=1).wait_for()
    page.context.close()
