"""One broker and one browser for all pages; closing a page is the business of the test that opened it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.console.looking import Console


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """Without users: everybody is an operator."""
    with Console("--memory") as console:
        yield console


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest) -> Iterator[None]:
    """Neither the browser nor the broker's log may complain."""
    yield
    if "console" in request.fixturenames:
        request.getfixturevalue("console").check_quiet()
