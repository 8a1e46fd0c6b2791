"""Has every colour that a page names its value, in the light and in the dark?"""

from __future__ import annotations

import re
from pathlib import Path

import tidewire.console

SOURCES = "".join(
    path.read_text(encoding="utf-8")
    for path in Path(tidewire.console.__path__[0]).rglob("*")
    if path.suffix in (".py", ".js")
)


def test_every_variable_that_a_style_uses_is_defined() -> None:
    used = set(re.findall(r"var\((--[\w-]+)\)", SOURCES))
    defined = set(re.findall(r"(--[\w-]+)['\"]?\s*:", SOURCES))
    assert "--good" in used
    assert used <= defined, sorted(used - defined)


def test_every_colour_of_the_light_page_has_one_for_the_dark_page() -> None:
    names = [
        {name for block in re.findall(rule, SOURCES) for name in re.findall(r"(--[\w-]+):", block)}
        for rule in (r":root \{([^}]*)\}", r"\.body--dark \{([^}]*)\}")
    ]
    assert "--good" in names[0]
    assert names[0] <= names[1], sorted(names[0] - names[1])
