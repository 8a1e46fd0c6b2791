"""Does a newcomer see their own message in the tree, its chart and its QoS flow, by what stands on the page alone?"""

from __future__ import annotations

import re
import shlex

from tests.console.looking import Console
from tests.process import tidewire


def test_a_newcomer_sees_the_message_its_chart_and_its_flow(console: Console) -> None:
    page = console.open()
    navigation = page.get_by_role("navigation", name="Pages")
    command = shlex.split(page.get_by_role("group", name="Command").inner_text())[1:]
    assert tidewire(*command).returncode == 0
    page.get_by_role("link", name="Watch the packets of newcomer").click()
    page.get_by_role("heading", name="newcomer").wait_for()
    page.get_by_text("Nothing yet").wait_for()
    assert tidewire(*command).returncode == 0
    for packet in ("CONNECT", "PUBLISH", "PUBREC", "PUBREL", "PUBCOMP"):
        page.get_by_role("option", name=re.compile(packet)).last.wait_for()
    console.shot(page, "newcomer-flow")
    navigation.get_by_role("link", name="Topics").click()
    page.get_by_role("row").filter(has_text="room").get_by_text("degrees").click()
    page.get_by_role("heading", name="hello/room").wait_for()
    page.get_by_role("button", name="degrees: 20.5").click()
    page.get_by_role("img", name="The chosen numbers over time").wait_for()
    console.shot(page, "newcomer-chart")
    page.context.close()
