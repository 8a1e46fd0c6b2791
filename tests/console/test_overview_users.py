"""What does a user see who is no operator? Figures and their own messages, and nobody's name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("nicegui", reason="the extra console is not installed")

from tests.console.looking import Console
from tests.process import tidewire


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    directory = tmp_path_factory.mktemp("users")
    passwords, config = directory / "passwords.txt", directory / "broker.toml"
    assert tidewire("passwd", passwords, "bob", stdin="secret\nsecret\n").returncode == 0
    config.write_text(f'[access]\npassword_file = "{passwords.as_posix()}"\n')
    with Console("--memory", "--config", config) as console:
        yield console


def opened_by_bob(console: Console) -> Any:
    context = console._browser.new_context()
    context.request.post(console.url + "/log-in", form={"user": "bob", "password": "secret"})
    return console.open(context=context)


def test_the_way_out_stands_in_line_with_the_name_and_is_written_like_the_rest(console: Console) -> None:
    page = opened_by_bob(console)
    name, button = page.get_by_text("bob", exact=True), page.get_by_role("button", name="Log out")
    middles = [box["y"] + box["height"] / 2 for box in (name.bounding_box(), button.bounding_box())]
    assert abs(middles[0] - middles[1]) < 1
    assert button.inner_text() == "Log out"
    console.shot(page, "overview-users")
    page.context.close()


def test_users_who_are_no_operators_see_figures_but_no_names(console: Console) -> None:
    page = opened_by_bob(console)
    page.get_by_role("heading", name="Held now").wait_for()
    assert "-u bob" in page.get_by_role("group", name="Command").first.inner_text()
    assert page.get_by_role("heading", name="Listeners and bridges").count() == 0
    assert page.get_by_role("heading", name="Largest queues").count() == 0
    page.goto(console.url + "/overhead")
    page.get_by_role("heading", name="This broker's own traffic").wait_for()
    assert page.get_by_role("heading", name="By client").count() == 0
    assert page.get_by_role("heading", name="Budgets").count() == 0
    page.get_by_role("tab", name="Measured").click()
    page.get_by_text("Operators can measure here").wait_for()
    assert page.get_by_role("button", name="Measure").count() == 0
    page.goto(console.url + "/retained")
    page.get_by_role("button", name="Export").wait_for()
    assert page.get_by_role("button", name="Delete all that match").count() == 0
    page.context.close()
