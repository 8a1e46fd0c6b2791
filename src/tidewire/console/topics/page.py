"""What is published, and what is it worth now? The tree of topics with its last values, and one of them in detail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from nicegui import ui

from tidewire.console.handing_over import hand_over
from tidewire.console.look import Look
from tidewire.console.one_at_a_time import OneAtATime
from tidewire.console.payloads import preview
from tidewire.console.topics.detail import TopicDetail
from tidewire.console.topics.export import KINDS, exported
from tidewire.console.topics.style import STYLE, TopicRows, menu_item
from tidewire.console.topics.tree import Node, TopicTree
from tidewire.console.words import number, rate
from tidewire.server.admin import AdminFault
from tidewire.server.admin_topics import TAKEN_AT_ONCE, TopicFeed
from tidewire.server.admin_types import TopicChanges, TopicSeen

LOOK_S: Final = 0.1
"""Between two looks at what has come."""

DRAWN_EVERY: Final = 5
"""Looks between two drawings of the rows: twice a second is as fast as anybody reads a list."""

TAKEN_EVERY: Final = 2
"""Looks between two takes while there is more than one take brings: five a second keep the page below 5 % of a core."""

LAG_TOLD_S: Final = 2.0
"""How late a row may be before it is said."""

WINDOW_ROWS: Final = 120
"""That a browser gets at once, however many there are."""

BEYOND_ROWS: Final = 12
"""Above and below what is seen, so that scrolling does not show a gap."""

FIRST_ROWS: Final = 24
"""The list unfolds by itself up to so many rows, about what is seen without scrolling, until somebody folds it."""

NAME_CHARACTERS: Final = 200
"""Of a level of a topic, in its row."""

SHARE_LOOKS: Final = 20
"""Looks that the share of what was looked at is averaged over: two seconds."""

FILTERS: Final = {"#": "Everything, but for $SYS", "$SYS/#": "What the broker says of itself"}


def build(look: Look) -> None:
    """The page."""
    ui.add_css(STYLE)
    Topics(look)


class Topics:
    """One page, as long as it is open."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._filter = ""
        self._paused = False
        self._looks = 0
        self._backlog = False
        """The last take did not bring all that had changed."""
        self._lag = 0.0
        """Seconds until a topic has its turn, then."""
        self._touched = False
        """Somebody has folded or unfolded something."""
        self._share = 1.0
        self._per_second = 0.0
        self._chosen: Node | None = None
        self._cursor: Node | None = None
        self._place = 0
        self._moved = 0
        self._first, self._count = 0, 30
        self._stamps: dict[int, tuple[int, bool]] = {}
        """Number of a shown node → its messages, and whether they have come while it was shown."""
        self._seen: list[str] = []
        """Topics of the rows that are shown: their values come first."""
        self._search = 0
        self._exporting = OneAtATime()
        self._feed: TopicFeed | None = None
        self._changes: TopicChanges | None = None
        self._tree = TopicTree(time.monotonic())
        self._build()
        if not self._watch("#"):
            self._tell()
        ui.timer(LOOK_S, self._tick)
        ui.context.client.on_delete(self._close)

    # -- built once

    def _build(self) -> None:
        with ui.card().classes("w-full p-3 gap-2"):
            with ui.row().classes("w-full items-center gap-3"):
                self._filter_field = self._field("Topic filter", "#").classes("topic-filter")
                self._filter_field.on("keydown.enter", self._change_filter).on("blur", self._change_filter)
                usual = 'flat round dense color=primary aria-label="Usual filters"'
                with self._filter_field.add_slot("append"), ui.button(icon="expand_more").props(usual), ui.menu():
                    for topic_filter, words in FILTERS.items():
                        menu_item(f"{topic_filter}  –  {words}", partial(self._set_filter, topic_filter))
                self._text = self._field("Topic contains").on_value_change(self._run_search)
                self._in_payload = self._field("Value contains").on_value_change(self._run_search)
                for field in (self._text, self._in_payload):
                    field.props("clearable debounce=250")
                self._pause = ui.button("Pause", icon="pause", on_click=self._turn_pause)
                self._pause.props("flat no-caps color=primary")
                with ui.button("Export", icon="download").props("flat no-caps color=primary") as export, ui.menu():
                    for kind in KINDS:
                        menu_item(f"Topics as {kind.upper()}", partial(self._export_topics, kind))
                self._exporting.shown_by(export)
            with ui.row().classes("w-full items-center gap-x-5 gap-y-1 text-sm min-h-6"):
                self._told = ui.label().classes("figure faint")
                self._sampled = ui.label().classes("figure")
        with ui.element("div").classes("topic-page") as self._page:
            with ui.card().classes("topic-list p-0 gap-0"):
                self._rows = TopicRows().classes("w-full h-full")
                self._rows.on("look", self._looked)
                self._rows.on("pick", lambda event: self._pick(event.args))
                self._rows.on("turn", lambda event: self._turn(event.args))
                self._rows.on("key", lambda event: self._press(str(event.args)))
                self._empty = ui.label().classes("topic-empty faint")
            self._detail = TopicDetail(self._look, self._export, self._leave)
            self._exporting.shown_by(self._detail.export)
            self._detail.card.set_visibility(False)

    def _field(self, label: str, value: str = "") -> ui.input:
        return ui.input(label, value=value).props("outlined dense").classes("topic-field")

    # -- the feed

    def _watch(self, topic_filter: str) -> bool:
        """Begin anew with this filter. False: it cannot be, and the page stays as it was."""
        try:
            feed = self._look.admin.watch_topics(topic_filter, self._look.viewer)
        except AdminFault as fault:
            ui.notify(str(fault), type="negative")
            return False
        if self._feed is not None:
            self._feed.close()
        self._feed, self._filter = feed, topic_filter
        self._tree = TopicTree(time.monotonic())
        self._cursor, self._first, self._looks, self._share, self._per_second = None, 0, 0, 1.0, 0.0
        self._stamps, self._changes, self._backlog = {}, None, False
        self._touched = False
        self._search += 1
        list(self._tree.search(self._text.value or "", self._in_payload.value or ""))
        self._leave()
        return True

    def _close(self) -> None:
        self._detail.close()
        if self._feed is not None:
            self._feed.close()

    def _tick(self) -> None:
        if self._paused or self._feed is None:
            return
        self._looks += 1
        draws = self._looks % DRAWN_EVERY == 0
        if draws or (self._backlog and self._looks % TAKEN_EVERY == 0):
            self._take(self._feed.take(self._seen))
        self._detail.take()
        if draws:
            if not self._touched and self._tree.rows < FIRST_ROWS:
                self._tree.unfold_some(FIRST_ROWS)
            self._draw()
            if self._chosen is not None:
                self._detail.refresh()

    def _take(self, changes: TopicChanges) -> None:
        now = time.monotonic()
        before, self._changes = self._changes, changes
        came = changes.messages - (before.messages if before is not None else 0)
        unseen = changes.unseen - (before.unseen if before is not None else 0)
        looks = TAKEN_EVERY if self._backlog else DRAWN_EVERY
        weight = min(1.0, looks / SHARE_LOOKS)
        if came > 0:
            self._share += (max(0.0, 1 - unseen / came) - self._share) * weight
        self._per_second += (changes.rate - self._per_second) * weight
        scale = 1 / max(self._share, 0.001)
        self._backlog = len(changes.topics) == TAKEN_AT_ONCE
        lag = self._tree.age(changes.topics[-1].topic, now) if self._backlog else 0.0
        self._lag = self._lag + (lag - self._lag) / 10 if lag else 0.0
        self._tree.add(changes.topics, scale, now)

    # -- drawn

    def _draw(self) -> None:
        """The rows that are seen, and what is said of all."""
        tree, now = self._tree, time.monotonic()
        first = max(0, min(self._first - BEYOND_ROWS, tree.rows - 1))
        nodes = tree.window(first, min(self._count + 2 * BEYOND_ROWS, WINDOW_ROWS))
        self._stamps = {node.number: self._stamp(node) for node in nodes}
        self._seen = [node.seen.topic for node in nodes if node.seen is not None]
        self._rows.show(
            rows=[self._row(node, now) for node in nodes],
            first=first,
            total=tree.rows,
            chosen=self._chosen.number if self._chosen is not None else -1,
            cursor=self._cursor.number if self._cursor is not None else -1,
            place=self._place,
            moved=self._moved,
        )
        self._tell()

    def _stamp(self, node: Node) -> tuple[int, bool]:
        messages = node.seen.messages if node.seen is not None else 0
        known = self._stamps.get(node.number)
        if known is None:
            return messages, False
        return known if known[0] == messages else (messages, True)

    def _row(self, node: Node, now: float) -> dict[str, Any]:
        seen = node.seen
        stamp, fresh = self._stamps[node.number]
        per_second = self._tree.rate(node, now)
        return {
            "id": node.number,
            "name": node.name[:NAME_CHARACTERS] or "(empty)",
            "empty": not node.name,
            "level": node.depth,
            "twig": (2 if self._tree.is_open(node) else 1) if node.branches else 0,
            "topics": number(node.topics) if node.branches else "",
            "value": preview(seen.payload, seen.payload_bytes, seen.topic) if seen is not None else "",
            "retained": seen is not None and seen.retain,
            "stamp": stamp,
            "fresh": fresh,
            "count": number(node.count) if node.count else "",
            "rate": rate(per_second) if per_second >= 0.05 else "–",
            "still": per_second < 0.05,
        }

    def _tell(self) -> None:
        tree, changes = self._tree, self._changes
        topics = f"{number(tree.topics)} topic{'' if tree.topics == 1 else 's'}"
        if tree.searching:
            topics = f"{number(tree.matches)} of {topics}"
        if tree.full or (changes is not None and changes.topics_full):
            topics += ", and there are more: their messages are counted only"
        messages = changes.messages if changes is not None else 0
        self._told.text = f"{topics}  ·  {number(messages)} messages  ·  {rate(self._per_second)} a second"
        self._sampled.text = "Paused" if self._paused else self._sampling()
        if tree.rows:
            empty = ""
        elif self._feed is None:
            empty = "Give a topic filter that you may subscribe to."
        elif tree.searching and tree.topics:
            empty = "No topic has both." if self._text.value and self._in_payload.value else "No topic has that."
        else:
            empty = f"Nothing has been published to {self._filter} yet."
        self._empty.text = empty
        self._empty.set_visibility(bool(empty))

    def _sampling(self) -> str:
        """What is not known for sure, in words; empty where everything is."""
        told = []
        if self._share < 0.995:
            told.append(f"{max(self._share, 0.01) * 100:.0f} % of the messages were looked at, the rest is estimated")
        if self._lag > LAG_TOLD_S:
            told.append(f"each topic about every {self._lag:.0f} s")
        return ", ".join(told)

    # -- what somebody does

    def _set_filter(self, topic_filter: str) -> None:
        self._filter_field.value = topic_filter
        self._change_filter()

    def _change_filter(self) -> None:
        wanted = (self._filter_field.value or "").strip()
        if wanted != self._filter and not self._watch(wanted):
            self._filter_field.value = self._filter or wanted

    async def _run_search(self) -> None:
        self._search += 1
        mine = self._search
        for _ in self._tree.search(self._text.value or "", self._in_payload.value or ""):
            await asyncio.sleep(0)
            if mine != self._search:
                return
        self._draw()

    def _turn_pause(self) -> None:
        self._paused = not self._paused
        self._pause.text = "Resume" if self._paused else "Pause"
        self._pause.icon = "play_arrow" if self._paused else "pause"
        self._draw()

    def _looked(self, event: Any) -> None:
        first, count = int(event.args["first"]), int(event.args["count"])
        self._first, self._count = max(0, first), max(1, min(count, WINDOW_ROWS))
        self._draw()

    def _pick(self, wanted: Any) -> None:
        node = self._tree.find(int(wanted))
        if node is None:
            return
        self._move(node, reveal=False)
        if node.seen is None:
            self._fold(node, not self._tree.is_open(node))
        else:
            self._chosen = node
            self._detail.show(node.seen)
            self._detail.card.set_visibility(True)
            self._page.classes("choosing")
        self._draw()

    def _turn(self, wanted: Any) -> None:
        node = self._tree.find(int(wanted))
        if node is not None:
            self._fold(node, not self._tree.is_open(node))
            self._draw()

    def _fold(self, node: Node, unfold: bool) -> None:
        self._touched = True
        self._tree.fold(node, unfold)

    def _press(self, key: str) -> None:
        """Move about in the list, as in any tree."""
        tree, node = self._tree, self._cursor
        row = tree.row_of(node) if node is not None else -1
        if not tree.rows:
            return
        if node is None or row < 0:
            self._move_to(self._first)
        elif key in ("Enter", " "):
            self._pick(node.number)
            return
        elif key == "ArrowRight" and node.branches and not tree.is_open(node):
            self._fold(node, True)
        elif key == "ArrowLeft" and tree.is_open(node):
            self._fold(node, False)
        elif key == "ArrowLeft":
            self._move(node.parent if node.parent is not None and node.depth else node)
        else:
            page = max(1, self._count - 2)
            steps = {"ArrowUp": -1, "ArrowDown": 1, "ArrowRight": 1 if tree.is_open(node) else 0, "PageUp": -page,
                     "PageDown": page, "Home": -row, "End": tree.rows - 1 - row}  # fmt: skip
            self._move_to(row + steps.get(key, 0))
        self._draw()

    def _move_to(self, row: int) -> None:
        found = self._tree.window(max(0, min(row, self._tree.rows - 1)), 1)
        if found:
            self._move(found[0])

    def _move(self, node: Node, *, reveal: bool = True) -> None:
        self._cursor = node
        self._place = max(0, self._tree.row_of(node))
        self._moved += reveal

    def _leave(self) -> None:
        self._chosen = None
        self._detail.close()
        self._detail.card.set_visibility(False)
        self._page.classes(remove="choosing")

    async def _export_topics(self, kind: str) -> None:
        await self._export("topics", self._tree.all_matching(), self._tree.matches, kind)

    async def _export(self, name: str, values: Iterable[TopicSeen], count: int, kind: str) -> None:
        async def export() -> None:
            data, written, whole = await exported(values, kind)
            if not whole:
                ui.notify(
                    f"The file holds the first {number(written)} of {number(count)} values: it would be too long."
                )
            await hand_over(data, f"{name}.{kind}", KINDS[kind])

        await self._exporting.do(export)
