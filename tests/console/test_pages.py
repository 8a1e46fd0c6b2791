"""Does somebody who has come to an address without a page find back?"""

from __future__ import annotations

import pytest

from tests.console.looking import Console


@pytest.mark.parametrize(("path", "dark", "phone"), [("/nonsense", False, False), ("/clients/nobody", True, True)])
def test_an_address_without_a_page_says_so_in_the_frame_and_leads_back(
    console: Console, path: str, dark: bool, phone: bool
) -> None:
    page = console.open(path, dark=dark, phone=phone)
    page.get_by_role("heading", name="Not found", level=1).wait_for()
    page.get_by_text(f"The console has nothing at {path}").wait_for()
    (complaint,) = console.taken_complaints()
    assert "404" in complaint
    console.check_accessibility(page)
    console.shot(page, f"not-found{'-dark' if dark else ''}{'-phone' if phone else ''}")
    page.get_by_role("link", name="To the Overview").click()
    page.get_by_role("heading", name="Overview", level=1).wait_for()
    page.context.close()


def test_a_program_that_asks_for_what_is_not_there_gets_a_line(console: Console) -> None:
    page = console.open()
    for headers, kind in (({"Accept": "*/*"}, "text/plain"), ({"Accept": "text/html"}, "text/html")):
        answer = page.context.request.get(f"{console.url}/nonsense", headers=headers)
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (404, kind)
    page.context.close()
