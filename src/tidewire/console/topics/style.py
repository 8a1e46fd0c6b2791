"""How do the topics look? The style of the page, and the elements whose drawing is done in the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from nicegui import ui

STYLE: Final = """
.topic-page { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1rem; width: 100%; }
.topic-page > .q-card { height: max(26rem, calc(100vh - 13rem)); overflow: hidden; }
@media (min-width: 1000px) {
  .topic-page.choosing { grid-template-columns: minmax(0, 6fr) minmax(0, 5fr); }
}
@media (max-width: 999px) {
  .topic-page.choosing > .topic-list { display: none; }
}
.topic-field { flex: 1 1 12rem; }
.topic-tree { --step: 1.25rem; --columns: minmax(0, 5fr) minmax(0, 4fr) 6.5rem 5.5rem; position: relative;
  height: 100%; overflow: auto; overscroll-behavior: contain; outline-offset: -3px !important; border-radius: 12px; }
.topic-page.choosing .topic-tree { --columns: minmax(0, 5fr) minmax(0, 3fr) 5rem; }
.topic-page.choosing .topic-tree .topic-count { display: none; }
.topic-head, .topic-row { display: grid; grid-template-columns: var(--columns); align-items: center;
  column-gap: .75rem; padding: 0 1rem 0 .5rem; }
.topic-head { position: sticky; top: 0; z-index: 2; height: 36px; background: var(--card); color: var(--faint);
  font-size: .8rem; border-bottom: 1px solid var(--line); }
.topic-head > :first-child { padding-left: 1.5rem; }
.topic-head > :nth-child(n + 3) { text-align: right; }
.topic-space { position: relative; }
.topic-row { position: absolute; left: 0; right: 0; cursor: pointer; }
.topic-row:hover { background: color-mix(in srgb, var(--tide) 7%, transparent); }
.topic-row.chosen { background: color-mix(in srgb, var(--tide) 17%, transparent); }
.topic-tree:focus-visible .topic-row.here { box-shadow: inset 3px 0 var(--tide); }
.topic-name { padding-left: calc(var(--level) * var(--step)); display: flex; align-items: center; min-width: 0; }
.topic-twig { flex: none; width: 1.5rem; text-align: center; color: var(--faint); font-size: 1.2rem; line-height: 1;
  transition: transform .15s; }
.topic-twig.open { transform: rotate(90deg); }
.topic-twig.none { visibility: hidden; }
.topic-text { overflow: hidden; text-overflow: ellipsis; white-space: pre; }
.topic-text.empty { color: var(--faint); font-style: italic; }
.topic-topics { flex: none; margin-left: .5rem; padding: 0 .45rem; border-radius: 999px; font-size: .75rem;
  color: var(--faint); background: color-mix(in srgb, var(--faint) 12%, transparent); }
.topic-value { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-size: .875rem;
  font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
.topic-pin { display: inline-block; line-height: 1.3; vertical-align: 1px; margin-right: .4rem; padding: 0 .3rem;
  border-radius: 4px; font-size: .7rem; color: var(--tide); border: 1px solid currentColor; }
.topic-row .figure { text-align: right; }
.topic-rate.still { color: var(--faint); }
.topic-row .fresh { border-radius: 4px; animation: topic-fresh 1.6s ease-out; }
@keyframes topic-fresh { from { background: color-mix(in srgb, var(--tide) 22%, transparent); } }
@media (max-width: 599px) {
  .topic-page > .q-card { height: max(24rem, calc(100vh - 20.5rem)); }
  .topic-field { flex-basis: 9rem; }
  .topic-filter { flex-basis: 100%; }
  .topic-tree, .topic-page.choosing .topic-tree { --columns: minmax(0, 1fr) auto; --step: .8rem; }
  .topic-head > :nth-child(2), .topic-head > :nth-child(3), .topic-row .topic-count { display: none; }
  .topic-row { grid-template-rows: auto auto; align-content: center; row-gap: 0; }
  .topic-row .topic-rate { grid-row: 1; grid-column: 2; }
  .topic-row .topic-value { grid-row: 2; grid-column: 1 / 3; color: var(--faint);
    padding-left: calc(var(--level) * var(--step) + 1.5rem); }
  .topic-row .topic-value:empty { display: none; }
}
.topic-lines { width: 100%; overflow: auto; max-height: 26rem; padding: .6rem .8rem; border-radius: 8px;
  font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .85rem; line-height: 1.65;
  background: color-mix(in srgb, var(--ground) 60%, var(--card)); border: 1px solid var(--line); }
.topic-line { white-space: pre; width: max-content; min-width: 100%; }
.topic-lines.wrapping .topic-line { white-space: pre-wrap; overflow-wrap: anywhere; width: auto; }
.topic-label { color: var(--faint); }
.topic-line .mark { color: var(--faint); }
.topic-line .word { font-style: italic; }
.topic-line .number { color: var(--tide); font-variant-numeric: tabular-nums; }
.topic-act { font: inherit; color: inherit; padding: 0 .25rem; margin: 0 -.25rem; border: 0; border-radius: 4px;
  background: none; cursor: pointer; text-align: left; white-space: inherit; }
.topic-act.number { padding: 0; margin: 0; text-decoration: underline dotted; text-underline-offset: 3px; }
.topic-act:hover { background: color-mix(in srgb, var(--tide) 14%, transparent); }
.topic-act.number[aria-pressed=true] { background: var(--tide); color: var(--card); text-decoration: none;
  box-shadow: 0 0 0 .15rem var(--tide); }
.topic-act[aria-pressed=true] { background: color-mix(in srgb, var(--tide) 24%, transparent); }
.topic-line.gone { background: color-mix(in srgb, #d0402f 16%, transparent); }
.topic-line.come { background: color-mix(in srgb, #1f9d5a 18%, transparent); }
@media (max-width: 999px) {
  .topic-page > .q-card.topic-detail { height: auto; overflow: visible; }
}
.topic-facts { display: flex; flex-wrap: wrap; gap: .6rem 1.75rem; }
.topic-fact { display: flex; flex-direction: column; min-width: 4.5rem; }
.topic-fact > :first-child { font-size: .75rem; color: var(--faint); }
.topic-detail h2 { font-size: 1rem; font-weight: 600; line-height: 1.5; margin: 0; }
.topic-scroll { display: flex; flex-direction: column; gap: .9rem; width: 100%; height: 100%; padding: 1rem;
  overflow: hidden auto; }
.topic-scroll > * { flex: none; max-width: 100%; }
.topic-list { position: relative; }
.topic-empty { position: absolute; top: 45%; left: 0; right: 0; padding: 0 1rem; text-align: center; }
.topic-past { max-height: 13rem; }
.topic-past .topic-line { display: flex; width: auto; min-width: 0; }
.topic-past .topic-act { min-width: 0; overflow: hidden; text-overflow: ellipsis; }
.topic-title { font-family: ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; font-weight: 600;
  max-height: 6rem; overflow: auto; }
.topic-detail img { max-width: 100%; max-height: 24rem; object-fit: contain; align-self: flex-start; border-radius: 8px;
  background: repeating-conic-gradient(#8883 0 25%, transparent 0 50%) 0 0 / 16px 16px; }
"""


class TopicRows(ui.element, component="topic_rows.js"):
    """The window of the tree. Events: "look" (first, count), "pick" and "turn" (a row's id), "key"."""

    def __init__(self) -> None:
        super().__init__()
        self.props.update(label="Topics", rows=[], first=0, total=0, chosen=-1, cursor=-1, place=0, moved=0)

    def show(self, **properties: Any) -> None:
        """Set what it shows; nothing is sent where nothing is different."""
        put(self, properties)


class TopicLines(ui.element, component="topic_lines.js"):
    """Lines of text. Event: "pick" (what the line that was pressed has as `act`)."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self.props.update(label=label, lines=[])

    def show(self, lines: list[dict[str, Any]]) -> None:
        """The lines: each may have `label`, `value`, `tail`, `kind`, `tone`, `indent`, `act`, `on`, `hint`, `told`."""
        put(self, {"lines": lines})


def menu_item(text: str, on_click: Callable[[], Any]) -> None:
    """An entry of a menu, which says that it is one."""
    ui.menu_item(text, on_click).props("role=menuitem")


def put(element: ui.element, properties: dict[str, Any]) -> None:
    """Set properties of an element; it is sent only if one of them is different."""
    props = element.props
    if any(props.get(name) != value for name, value in properties.items()):
        with props.suspend_updates():
            props.update(properties)
        element.update()
