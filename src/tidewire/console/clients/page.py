"""Which clients are there, what waits for them and what have they lost? A page of them; each leads to its detail."""

from __future__ import annotations

from typing import Any, Final

from nicegui import ui

from tidewire.console import charts
from tidewire.console.clients.detail import show_client
from tidewire.console.clients.pace import paced
from tidewire.console.clients.words import detail_address, protocol, session, when
from tidewire.console.look import Look
from tidewire.console.words import number, size
from tidewire.server.admin import AdminFault
from tidewire.server.admin_types import ClientInfo

PAGE_ROWS: Final = 50
"""Of one page: what a person looks through, and what a browser redraws every second."""

PAGES_BACK: Final = 1_000
"""That can be gone back to; then the first page is where to begin again."""

SHOWN_S: Final = 1.0
HINTED_S: Final = 3.0
"""Between two looks for those who stand out: a rate of drops needs its while."""

SEARCH_CHARACTERS: Final = 200

ORDERS: Final = {
    "name": "Name",
    "active": "Last active",
    "queue": "Largest queue",
    "inflight": "Most in flight",
    "dropped": "Most dropped",
    "subscriptions": "Most subscriptions",
}

STYLE: Final = """
.dot { display: inline-block; width: .6rem; height: .6rem; border-radius: 50%; flex: none; background: var(--faint);
  opacity: .5; }
.dot.here { background: var(--good); opacity: 1; }
.who { display: flex; align-items: center; gap: .6rem; }
.who a, .who a + div { display: block; max-width: 18rem; overflow: hidden; text-overflow: ellipsis; }
.lost { color: var(--bad); font-weight: 600; }
.meter { position: relative; display: inline-block; min-width: 6.5rem; padding: .1rem .4rem; border-radius: 5px;
  overflow: hidden; vertical-align: middle; }
.meter i { position: absolute; inset: 0 auto 0 0; background: color-mix(in srgb, var(--tide) 24%, transparent); }
.meter span { position: relative; }
@media (max-width: 700px) { .tide-table .spare { display: none; } .who a, .who a + div { max-width: 9.5rem; }
  .meter { min-width: 3rem; } .tide-table th, .tide-table td { padding: .45rem .35rem !important; } }
"""

_COLUMNS: Final[list[dict[str, Any]]] = [
    {"name": "client", "label": "Client"},
    {"name": "address", "label": "Address", "classes": "spare", "headerClasses": "spare"},
    {"name": "protocol", "label": "Protocol", "classes": "spare", "headerClasses": "spare"},
    {"name": "since", "label": "Since", "classes": "spare", "headerClasses": "spare"},
    {**charts.figures("subscriptions")[0], "label": "Sub-\nscriptions", "classes": "spare", "headerClasses": "spare"},
    {**charts.figures("queue")[0], "label": "Queue"},
    {**charts.figures("inflight")[0], "label": "In\nflight", "classes": "spare", "headerClasses": "spare"},
    {**charts.figures("dropped")[0], "label": "Dropped"},
]

# Vue writes all of it as text; `href` always begins with our own path.
_CLIENT_CELL: Final = """
<q-td :props="props"><div class="who"><span class="dot" :class="{ here: props.row.here }" role="img"
  :aria-label="props.row.here ? 'connected' : 'away'"></span>
  <div><a class="link mono" :href="props.row.href">{{ props.row.client }}</a>
  <div class="faint small">{{ props.row.about }}</div></div></div></q-td>"""
_QUEUE_CELL: Final = """
<q-td :props="props"><span class="meter"><i :style="{ width: props.row.share + '%' }"></i>
  <span>{{ props.row.queue }}<span class="spare">{{ props.row.bytes }}</span></span></span></q-td>"""
_DROPPED_CELL: Final = """
<q-td :props="props"><span :class="{ lost: props.row.dropped !== '0' }">{{ props.row.dropped }}</span></q-td>"""


def build(look: Look) -> None:
    """The page; `?client=` in its address opens that client's detail."""
    charts.add_style()
    ui.add_css(STYLE)
    client = ui.context.client.request.query_params.get("client", "")
    if client:
        show_client(look, client)
        return
    hints = _Hints(look)
    clients = _List(look)
    paced(HINTED_S, hints.show)
    paced(SHOWN_S, clients.show)


class _Hints:
    """Who stands out: the largest queue, and who loses messages."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._lost: dict[str, int] = {}
        with ui.element("div").classes("grid grid-cols-1 md:grid-cols-2 gap-4 w-full"):
            with charts.section("Largest queue"):
                self._queue, self._queue_told = _hint()
            with charts.section("Lost the most"):
                self._loser, self._loser_told = _hint()

    def show(self) -> None:
        admin = self._look.admin
        largest = next(iter(admin.clients(order="queue", limit=1)), None)
        if largest is None or not largest.queue_messages:
            _tell(self._queue, None)
            charts.show(self._queue_told, "No client has a message waiting.")
        else:
            _tell(self._queue, largest)
            charts.show(self._queue_told, f"{number(largest.queue_messages)} messages, {size(largest.queue_bytes)}")
        losers = [info for info in admin.clients(order="dropped", limit=PAGE_ROWS) if info.dropped]
        now = {info.client_identifier: info.dropped for info in losers}
        losing = [info for info in losers if info.dropped > self._lost.get(info.client_identifier, info.dropped)]
        self._lost = now
        if not losers:
            _tell(self._loser, None)
            charts.show(self._loser_told, "Nobody has lost a message.")
        else:
            _tell(self._loser, losers[0])
            more = f"; {number(len(losing))} losing now" if losing else ""
            charts.show(self._loser_told, f"{number(losers[0].dropped)} messages dropped{more}")
        self._loser_told.classes(add="lost" if losing else "faint", remove="faint" if losing else "lost")


def _hint() -> tuple[ui.link, ui.label]:
    with ui.row().classes("items-baseline gap-x-4 gap-y-0 min-h-[1.6rem]"):
        link = ui.link("", "/clients").classes("link mono break-all")
        return link, ui.label().classes("faint figure")


def _tell(link: ui.link, info: ClientInfo | None) -> None:
    link.set_visibility(info is not None)
    if info is not None and link.text != info.client_identifier:
        link.set_text(info.client_identifier)
        link.props["href"] = detail_address(info.client_identifier)


class _List:
    """A page of the clients."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._starts: list[str] = [""]
        """After which client the pages so far begin."""
        self._last = ""
        with charts.section("Clients"):
            with ui.row().classes("w-full items-center gap-3"):
                self._search = ui.input("Identifier, user or address", on_change=self._begin)
                self._search.props(f"outlined dense clearable debounce=250 maxlength={SEARCH_CHARACTERS}")
                self._search.classes("grow min-w-[12rem] max-w-lg")
                self._order = ui.select(ORDERS, value="name", label="Order", on_change=self._begin)
                self._order.props("outlined dense options-dense").classes("w-52")
            self._told = ui.label().classes("faint small figure").props("role=status")
            self._table = charts.table("Clients", _COLUMNS)
            self._table.add_slot("body-cell-client", _CLIENT_CELL)
            self._table.add_slot("body-cell-queue", _QUEUE_CELL)
            self._table.add_slot("body-cell-dropped", _DROPPED_CELL)
            with ui.row().classes("w-full justify-end gap-2"):
                self._back = ui.button("Back", icon="chevron_left", on_click=self._go_back, color=None)
                self._back.props("flat no-caps").classes("in-tide")
                self._next = ui.button("Next", on_click=self._go_on, color=None)
                self._next.props("flat no-caps icon-right=chevron_right").classes("in-tide")

    def show(self) -> None:
        """The page that was come to, as it is now."""
        try:
            found = self._look.admin.clients(
                str(self._search.value or ""), self._starts[-1], PAGE_ROWS + 1, str(self._order.value)
            )
        except AdminFault as fault:  # the client that this page began after is gone
            ui.notify(str(fault), type="warning")
            self._starts = [""]
            return
        is_last = len(found) <= PAGE_ROWS
        found = found[:PAGE_ROWS]
        self._last = found[-1].client_identifier if found else ""
        charts.show_rows(self._table, rows(found))
        self._table.set_visibility(bool(found))
        self._back.set_enabled(len(self._starts) > 1)
        self._next.set_enabled(not is_last)
        for button in (self._back, self._next):
            button.set_visibility(len(self._starts) > 1 or not is_last)
        charts.show(self._told, self._words(len(found), is_last))

    def _words(self, count: int, is_last: bool) -> str:
        page = len(self._starts)
        if not count:
            return "No client matches this." if self._search.value else "There is no client yet."
        if page == 1 and is_last:
            return "One client" if count == 1 else f"{count} clients"
        return f"Page {page}: {count} clients{'' if is_last else ', and there are more'}"

    def _begin(self) -> None:
        self._starts = [""]
        self.show()

    def _go_on(self) -> None:
        if self._last and len(self._starts) < PAGES_BACK:
            self._starts.append(self._last)
            self.show()

    def _go_back(self) -> None:
        if len(self._starts) > 1:
            self._starts.pop()
            self.show()


def rows(infos: list[ClientInfo]) -> list[dict[str, Any]]:
    """Clients as the table shows them; the longest bar is the largest queue among them."""
    largest = max((info.queue_bytes for info in infos), default=0) or 1
    return [
        {
            "id": info.client_identifier,
            "client": info.client_identifier,
            "href": detail_address(info.client_identifier),
            "here": info.connected,
            "about": info.user or (session(info) if info.connected else "away"),
            "address": info.address,
            "protocol": protocol(info),
            "since": when(info.since),
            "subscriptions": number(info.subscriptions),
            "queue": number(info.queue_messages),
            "bytes": f" · {size(info.queue_bytes)}" if info.queue_messages else "",
            "share": round(100 * info.queue_bytes / largest),
            "inflight": number(info.inflight),
            "dropped": number(info.dropped),
        }
        for info in infos
    ]
