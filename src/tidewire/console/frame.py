"""What stands around every page? The header, the way to the others, and light or dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from nicegui import ui

from tidewire.console.look import Look
from tidewire.console.visits import Visit

if TYPE_CHECKING:
    from tidewire.console.pages import Page

STYLE: Final = """
:root { --tide: #0b6e8f; --ground: #eef3f6; --card: #ffffff; --text: #10212c; --faint: #4d6472; --line: #d3dee5; }
.body--dark { --tide: #4cc3e6; --ground: #0d161d; --card: #16232d; --text: #e6eff4; --faint: #9fb4c1; --line: #2b3b47; }
body { background: var(--ground) !important; color: var(--text); }
.q-header { background: var(--card) !important; color: var(--text) !important; border-bottom: 1px solid var(--line); }
.q-drawer { background: var(--card) !important; }
.q-card { background: var(--card); color: var(--text); border-radius: 12px; box-shadow: none;
  border: 1px solid var(--line); }
.body--dark { --q-primary: #4cc3e6 !important; --q-negative: #ff9c8f !important; --q-positive: #6fd39b !important;
  --q-warning: #e8b84a !important; }
@layer overrides { /* earlier than Quasar's important ones, and so stronger */
  .body--dark .q-btn.bg-primary, .body--dark .q-btn.bg-negative, .body--dark .q-btn.bg-positive {
    color: #0d161d !important;
  }
}
.faint { color: var(--faint); }
.figure { font-variant-numeric: tabular-nums; }
.mono { font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
.log-out { padding: .25rem .5rem; border: 0; border-radius: 8px; background: none; color: var(--tide); font: inherit;
  font-weight: 600; cursor: pointer; }
.log-out:hover { text-decoration: underline; }
nav a { display: flex; align-items: center; gap: .8rem; padding: .6rem .9rem; border-radius: 8px; color: var(--text);
  text-decoration: none; }
nav a:hover { background: color-mix(in srgb, var(--tide) 12%, transparent); }
nav a[aria-current] { background: color-mix(in srgb, var(--tide) 18%, transparent); font-weight: 600; }
:focus-visible { outline: 3px solid var(--tide); outline-offset: 1px; }
@media (prefers-reduced-motion: reduce) { * { transition: none !important; animation: none !important; } }
"""

LOG_OUT: Final = """
<form method="post" action="/log-out" class="flex"><button class="log-out">Log out</button></form>"""

_DARKNESS: Final = {
    None: ("brightness_auto", "as the browser"),
    False: ("light_mode", "light"),
    True: ("dark_mode", "dark"),
}


@contextmanager
def frame(page: Page, pages: Sequence[Page], look: Look, visit: Visit) -> Iterator[None]:
    """Around the content of a page, which is a column in Quasar's main landmark."""
    ui.colors(primary="#0b6e8f", secondary="#3c5a6b", accent="#c2410c", positive="#1a7f4b", negative="#b3261e",
              warning="#9a6700", info="#0b6e8f", dark="#16232d", dark_page="#0d161d")  # fmt: skip
    ui.add_css(STYLE)
    dark = ui.dark_mode(look.dark)
    drawer = ui.left_drawer(value=False, bordered=True)
    drawer.props('width=220 breakpoint=900 show-if-above aria-label="Pages"')
    with drawer, ui.element("nav").props('aria-label="Pages"').classes("w-full flex flex-col gap-1"):
        for each in pages:
            link = ui.link(target=each.path).mark(f"to-{each.name}")
            if each is page:
                link.props("aria-current=page")
            with link:
                ui.icon(each.icon, size="sm").props("aria-hidden=true")
                ui.label(each.title)
    with ui.header().classes("items-center gap-2 px-3 py-2"):
        ui.button(icon="menu", on_click=drawer.toggle).props('flat round color=primary aria-label="Pages"')
        ui.label("Tidewire").classes("text-lg font-bold")
        ui.label(page.title).classes("faint").props("role=heading aria-level=1")
        ui.space()
        _darkness(dark, visit)
        if look.name:
            ui.label(look.name).classes("faint")
            ui.html(LOG_OUT, sanitize=False)
    content = ui.element("div").classes("w-full max-w-7xl mx-auto flex flex-col gap-4")
    ui.skip_link("To the content", target=content)
    with content:
        yield


def _darkness(dark: ui.dark_mode, visit: Visit) -> None:
    """A button that goes round through as the browser, light and dark."""
    order: list[bool | None] = [None, False, True]

    def show() -> None:
        icon, words = _DARKNESS[visit.dark]
        button.props(f'icon={icon} aria-label="Colours: {words}; press for the next"')

    def turn() -> None:
        visit.dark = order[(order.index(visit.dark) + 1) % 3]
        dark.value = visit.dark
        show()

    button = ui.button(on_click=turn).props("flat round color=primary")
    show()
