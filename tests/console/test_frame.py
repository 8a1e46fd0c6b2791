"""Does somebody find their way about the page, with a mouse, with keys, on a phone, in the dark?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.console.looking import Console

LOAD = ("2000", "500")
"""Messages a second, topics."""

TITLES = ("Overview", "Topics", "Clients", "Flow inspector", "Publish", "Retained", "Overhead")


@pytest.fixture(scope="module", autouse=True)
def load(console: Console) -> Iterator[None]:
    """All the while messages pass."""
    process = subprocess.Popen([sys.executable, "-m", "tests.console.load", str(console.mqtt_port), *LOAD])
    yield
    process.terminate()
    process.wait()


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, True)])
def test_every_page_is_reached_and_has_no_serious_fault(console: Console, dark: bool, phone: bool) -> None:
    page = console.open("/", dark=dark, phone=phone)
    for title in TITLES:
        if phone:
            page.get_by_role("button", name="Pages").click()
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=title).click()
        page.get_by_role("heading", name=title, level=1).wait_for()
        page.wait_for_load_state("networkidle")
        console.check_accessibility(page)
        name = title.lower().replace(" ", "-")
        console.shot(page, f"{name}{'-dark' if dark else ''}{'-phone' if phone else ''}")
    page.context.close()


def test_the_first_key_leads_past_the_navigation(console: Console) -> None:
    page = console.open()
    page.get_by_role("heading", name="Overview", level=1).wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    page.context.close()


def test_light_and_dark_are_chosen_and_stay_chosen(console: Console) -> None:
    page = console.open(dark=True)
    page.locator("body.body--dark").wait_for()
    page.get_by_role("button", name="Colours: as the browser").click()
    page.locator("body.body--light").wait_for()
    page.get_by_role("link", name="Topics", exact=True).click()
    page.get_by_role("heading", name="Topics", level=1).wait_for()
    page.get_by_role("button", name="Colours: light").click()
    page.locator("body.body--dark").wait_for()
    page.context.close()
