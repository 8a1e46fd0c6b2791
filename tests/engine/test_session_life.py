"""Is every row of the tables in docs/sessions.md so?

The tables are read from the page: what stands in a cell is what is checked. What a table names has its case here, and
the other way round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.engine.harness import Peer, World, integers
from tidewire.engine.ledger import SESSION_ENDED
from tidewire.engine.ports import Access, Principal
from tidewire.store.memory import MemoryStore
from tidewire.wire import properties as p
from tidewire.wire.packets import Connect, Disconnect, Will

PAGE: Final = Path(__file__).parents[2] / "docs" / "sessions.md"

CAP: Final = 50
N: Final = 30
M: Final = 20
"""The new expiry in DISCONNECT."""
AWAY: Final = 6
"""How long the broker is away."""
KEEP_ALIVE: Final = 10
SHORT_DELAY: Final = 10
LONG_DELAY: Final = 100
"""Longer than any session of these tests lives."""


def table(heading: str) -> list[list[str]]:
    """The rows below a heading of the page, without the one that names the columns."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


ASKED: Final = table("How long a session lives")
ENDED: Final = table("What ends the connection")
WAITING: Final = table("What happens to a session that waits")

OUTLIVES: Final = {"nothing": 0, "n": N, "the cap": CAP}


@dataclass(frozen=True)
class Form:
    """One way of asking for a session."""

    version: int
    clean_start: bool
    expiry: int | None

    def __str__(self) -> str:
        return f"version {self.version}, {int(self.clean_start)}, {self.expiry}"


FORMS: Final = {
    ("3.1, 3.1.1", "1", "–"): [Form(3, True, None), Form(4, True, None)],
    ("3.1, 3.1.1", "0", "–"): [Form(3, False, None), Form(4, False, None)],
    ("5.0", "0 or 1", "none, or 0"): [Form(5, clean, expiry) for clean in (False, True) for expiry in (None, 0)],
    ("5.0", "0 or 1", "n, at most the cap"): [Form(5, clean, n) for clean in (False, True) for n in (N, CAP)],
    ("5.0", "0 or 1", "more than the cap"): [
        Form(5, clean, expiry) for clean in (False, True) for expiry in (CAP + 1, 0xFFFF_FFFF)
    ],
}
"""How each row of the first table is asked for."""

ALL_FORMS: Final = [form for forms in FORMS.values() for form in forms]


def lives(form: Form) -> int:
    """The seconds that the session of such a client outlives its connection, by the table."""
    (row,) = (row for row in ASKED if form in FORMS[row[0], row[1], row[2]])
    return form.expiry or 0 if row[3] == "n" else OUTLIVES[row[3]]


class UserNames(Access):
    """Whoever brings a user name is that user."""

    def authenticate(self, packet: Connect, connection: object) -> tuple[int, Principal | None]:
        return 0, Principal(packet.user_name, packet.client_identifier)


class Scene:
    """alice, with a will, one message in flight and one that waits; and somebody who notes when wills are seen."""

    def __init__(self, form: Form, delay: int = 0) -> None:
        self.form = form
        self.store = MemoryStore()
        self.ended_at = self.happens_at = self.returned_at = 0.0
        """When the connection ended, what the row names happened, and the broker was there again."""
        self.ledgers: list[list[int]] = []
        self.wills: list[float] = []
        self.outlives = lives(form)
        self._open(1000.0)
        integers_of_will = integers(**({"will_delay_interval": delay} if delay else {}))
        will = Will(b"will", b"gone", properties=integers_of_will)
        self.peer = self.connect(form.clean_start, keep_alive=KEEP_ALIVE, will=will)
        self.peer.subscribe("a", qos=1)
        publisher = self.world.connect("publisher")
        for payload in (b"in flight", b"queued"):
            publisher.publish("a", payload, qos=1)
        assert [message.payload for message in self.peer.messages()] == [b"in flight"]
        self.back: Peer | None = None
        """The connection that came after."""

    def _open(self, now: float) -> None:
        self.world = World(UserNames(), now, self.store, session_expiry_maximum_s=CAP, inflight_maximum=1)
        self.ledgers.append(self.world.broker.ledger.counts)
        self._watcher = self.world.connect("watcher")
        self._watcher.subscribe("will")

    def connect(self, clean_start: bool, user_name: str = "alice", **fields: Any) -> Peer:
        """alice's client comes, as it always does."""
        form = self.form
        properties = integers(session_expiry_interval=form.expiry) if form.expiry is not None else integers()
        return self.world.connect(
            "alice", form.version, clean_start=clean_start, user_name=user_name, properties=properties, **fields
        )

    def come_back(self, clean_start: bool = False, user_name: str = "alice") -> None:
        self.back = self.connect(clean_start, user_name)
        self.look()

    def restart(self) -> None:
        """A new broker takes up what the old one has kept."""
        self.look()
        self._open(self.world.now + AWAY)
        self.returned_at = self.world.now

    def ended(self) -> None:
        """The connection ends now."""
        self.ended_at = self.happens_at = self.world.now
        self.look()

    def look(self) -> None:
        self.wills += [self.world.now for message in self._watcher.messages() if message.topic == b"will"]

    def wait_until(self, time: float) -> None:
        while self.world.now < time:
            self.world.advance(min(1.0, time - self.world.now))
            self.look()

    def has_session(self) -> bool:
        """Whether the session that alice had before is there."""
        session = self.world.broker.sessions.get("alice")
        return session is not None and session.subscriptions is not None

    def dropped(self) -> int:
        return sum(counts[SESSION_ENDED] for counts in self.ledgers)


# -- what can end a connection: by the first column of the second table


def say_good_bye(reason_code: int, expiry: int | None = None) -> Callable[[Scene], None]:
    def end(scene: Scene) -> None:
        properties = integers(session_expiry_interval=expiry) if expiry is not None else integers()
        scene.peer.send(Disconnect(reason_code, properties))

    return end


def keep_silent(scene: Scene) -> None:
    while not scene.peer.is_closed:
        scene.world.advance(0.25)
    scene.ended()


def break_the_protocol(scene: Scene) -> None:
    scene.peer.send(Connect("alice", scene.form.version))


def stop_the_broker(scene: Scene) -> None:
    scene.world.broker.shut_down(scene.world.now)
    scene.restart()


def lose_the_link(scene: Scene) -> None:
    scene.peer.lose()


ENDINGS: Final[dict[str, Callable[[Scene], None]]] = {
    "DISCONNECT 0x00": say_good_bye(0x00),
    "DISCONNECT 0x04": say_good_bye(0x04),
    "DISCONNECT 0x00, new expiry m": say_good_bye(0x00, M),
    "DISCONNECT 0x04, new expiry m": say_good_bye(0x04, M),
    "DISCONNECT 0x00, new expiry 0": say_good_bye(0x00, 0),
    "DISCONNECT 0x04, new expiry 0": say_good_bye(0x04, 0),
    "lost link": lose_the_link,
    "keep-alive time-out": keep_silent,
    "protocol error": break_the_protocol,
    "taken over, Clean Start 0": lambda scene: scene.come_back(False),
    "taken over, Clean Start 1": lambda scene: scene.come_back(True),
    "other user": lambda scene: scene.come_back(False, "mallory"),
    "broker stopped": stop_the_broker,
    "broker killed": Scene.restart,
}


# -- what can happen to a session that waits: by the first column of the third table


def outlive(scene: Scene) -> None:
    scene.happens_at = scene.ended_at + scene.outlives
    scene.wait_until(scene.happens_at + 1)


def restart_after(scene: Scene, seconds: float, end: Callable[[Scene], None] = Scene.restart) -> None:
    """The broker goes so long after the link was lost, and returns."""
    scene.wait_until(scene.ended_at + seconds)
    end(scene)


def meet_after(scene: Scene, seconds: float) -> None:
    """The same, and the client is back before the broker has looked at its clock."""
    restart_after(scene, seconds)
    scene.come_back()


HAPPENINGS: Final[dict[str, Callable[[Scene], None]]] = {
    "its client returns, Clean Start 0": lambda scene: scene.come_back(False),
    "its client returns, Clean Start 1": lambda scene: scene.come_back(True),
    "another user comes": lambda scene: scene.come_back(False, "mallory"),
    "the will delay is over": lambda scene: scene.wait_until(scene.ended_at + SHORT_DELAY),
    "its time is over": outlive,
    "the broker is stopped, and returns": lambda scene: restart_after(scene, 1, stop_the_broker),
    "the broker is killed, and returns": lambda scene: restart_after(scene, 1),
    "the will delay is over before the broker returns": lambda scene: meet_after(scene, SHORT_DELAY - AWAY / 2),
    "its time is over before the broker returns": lambda scene: meet_after(scene, scene.outlives - AWAY / 2),
}


# -- what a cell says, and whether it is so


def ends(scene: Scene) -> None:
    assert not scene.has_session()
    if scene.back is not None:
        assert not scene.back.connack.session_present
    stored = scene.store.sessions.get("alice")
    is_will_only = stored is not None and stored.will is not None and not stored.expiry_interval
    assert stored is None or is_will_only or scene.back is not None  # whose session that is


def ends_with_protocol_error(scene: Scene) -> None:
    (goodbye,) = scene.peer.take()
    assert isinstance(goodbye, Disconnect) and goodbye.reason_code == 0x82
    ends(scene)


def goes_on(scene: Scene) -> None:
    assert scene.has_session()
    assert scene.back is not None
    assert scene.back.connack.session_present == (scene.form.version > 3)
    scene.wait_until(scene.ended_at + 2 * CAP)
    assert scene.has_session()
    assert scene.world.broker.sessions["alice"].will is None


def lives_for(seconds: int | None, after_return: bool = False) -> Callable[[Scene], None]:
    """None: what its connection was granted."""

    def check(scene: Scene) -> None:
        end = scene.returned_at if after_return else scene.ended_at
        end += scene.outlives if seconds is None else seconds
        if scene.back is not None:  # its client is there again, and has a session for as long as it stays
            assert scene.has_session()
            return
        scene.wait_until(end - 1)
        assert scene.has_session()
        scene.wait_until(end + 1)
        assert not scene.has_session()
        assert "alice" not in scene.store.sessions

    return check


SESSION: Final[dict[str, Callable[[Scene], None]]] = {
    "ends": ends,
    "ends (0x82)": ends_with_protocol_error,
    "goes on": goes_on,
    "lives n s": lives_for(None),
    "lives m s": lives_for(M),
    "lives n s after the return": lives_for(None, after_return=True),
}


def seen(scene: Scene, at: float) -> None:
    """The will is seen once, at that time or within the second after."""
    scene.wait_until(at + 2 * CAP)
    assert len(scene.wills) == 1
    assert at <= scene.wills[0] <= at + 1


def never(scene: Scene, delay: int) -> None:
    scene.wait_until(scene.world.now + LONG_DELAY + CAP)
    assert not scene.wills


def session_end(scene: Scene) -> float:
    """Of a session that lives on: another test shows that it is the right time."""
    return scene.world.broker.sessions["alice"].ends_at


WILL: Final[dict[str, Callable[[Scene, int], None]]] = {
    "never": never,
    "at once": lambda scene, delay: seen(scene, scene.happens_at),
    "after its delay": lambda scene, delay: seen(scene, min(scene.ended_at + delay, session_end(scene))),
    "at the return": lambda scene, delay: seen(scene, scene.returned_at),
    "its delay after the return": lambda scene, delay: seen(scene, min(scene.returned_at + delay, session_end(scene))),
}
"""Of a scene and its will delay."""


def drops(scene: Scene) -> None:
    assert scene.dropped() == 2
    finds(scene, [])


def gone(scene: Scene) -> None:
    assert scene.dropped() == 0
    finds(scene, [])


def waits(scene: Scene) -> None:
    assert scene.dropped() == 0
    finds(scene, [(b"in flight", True), (b"queued", False)])


def finds(scene: Scene, messages: list[tuple[bytes, bool]]) -> None:
    """What alice's client is sent when it is back: payload, and whether it is a repetition."""
    if scene.back is None:
        scene.come_back()
    assert scene.back is not None
    assert [(message.payload, message.dup) for message in scene.back.settle()] == messages


QUEUE: Final[dict[str, Callable[[Scene], None]]] = {"dropped": drops, "gone": gone, "waits": waits, "is sent": waits}


# -- the tests


def cases(rows: list[list[str]], column: int, least_version: int = 3) -> list[Any]:
    """(row, form) of every row, for every client that it is about. The third table is about sessions that live on."""
    found: list[Any] = []
    for row in rows:
        outlives = row[1] if rows is ENDED else "n"
        version = 5 if row[0].startswith("DISCONNECT") and row[0] != "DISCONNECT 0x00" else least_version
        for form in ALL_FORMS:
            if bool(lives(form)) == (outlives == "n") and form.version >= version:
                found.append(pytest.param(row, form, id=f"{row[0]}, {outlives}: {form}"))
    return found


def said(row: list[str], column: int) -> str:
    return row[column]


def after(row: list[str], form: Form, delay: int = 0) -> Scene:
    """What ended the connection, by a row of the second table, has come to pass."""
    scene = Scene(form, delay)
    scene.ended()
    ENDINGS[row[0]](scene)
    scene.look()
    assert scene.peer.is_closed or row[0] in ("lost link", "broker killed")
    return scene


def happened(row: list[str], form: Form, delay: int = 0) -> Scene:
    """alice's link was lost, and what a row of the third table names has come to pass."""
    scene = Scene(form, delay)
    lose_the_link(scene)
    scene.ended()
    HAPPENINGS[row[0]](scene)
    return scene


def test_the_page_and_this_file_have_the_same_rows() -> None:
    assert [tuple(row[:3]) for row in ASKED] == list(FORMS)
    assert list(dict.fromkeys(row[0] for row in ENDED)) == list(ENDINGS)
    assert [row[0] for row in WAITING] == list(HAPPENINGS)
    both = [(row[0], row[1]) for row in ENDED]
    for ending in ENDINGS:
        wanted = ["n"] if ending.endswith(("new expiry 0", "0x04, new expiry m")) else ["nothing", "n"]
        assert [outlives for name, outlives in both if name == ending] == wanted


def test_the_page_says_nothing_that_is_not_checked_and_the_other_way_round() -> None:
    rows = [row[2:] for row in ENDED] + [[row[1], row[2], row[2], row[3]] for row in WAITING]
    for vocabulary, words in (
        (SESSION, {said(row, 0) for row in rows}),
        (WILL, {said(row, column) for row in rows for column in (1, 2)}),
        (QUEUE, {said(row, 3) for row in rows}),
    ):
        assert words == set(vocabulary)


@pytest.mark.parametrize(
    ("row", "form"),
    [pytest.param(row, form, id=f"{form}") for row in ASKED for form in FORMS[row[0], row[1], row[2]]],
)
def test_a_session_lives_as_long_as_its_row_says_and_connack_names_what_was_not_asked(
    row: list[str], form: Form
) -> None:
    scene = Scene(form)
    named = scene.peer.connack.properties.integers.get(p.SESSION_EXPIRY_INTERVAL)
    assert named == (None if row[4] == "nothing" else OUTLIVES[row[4]])
    lose_the_link(scene)
    scene.ended()
    assert scene.has_session() == bool(lives(form))
    if lives(form):
        SESSION["lives n s"](scene)


def test_with_a_cap_of_0_no_session_outlives_its_connection() -> None:
    world = World(session_expiry_maximum_s=0)
    for form in ALL_FORMS:
        properties = integers(session_expiry_interval=form.expiry) if form.expiry is not None else integers()
        peer = world.connect("alice", form.version, clean_start=form.clean_start, properties=properties)
        assert peer.connack.properties.integers.get(p.SESSION_EXPIRY_INTERVAL) == (0 if form.expiry else None)
        peer.lose()
        assert not world.broker.sessions


@pytest.mark.parametrize(("row", "form"), cases(ENDED, 2))
def test_a_session_ends_or_lives_on_by_what_ended_its_connection(row: list[str], form: Form) -> None:
    SESSION[said(row, 2)](after(row, form))


@pytest.mark.parametrize(("row", "form"), cases(ENDED, 3))
def test_a_will_is_published_by_what_ended_its_connection(row: list[str], form: Form) -> None:
    WILL[said(row, 3)](after(row, form), 0)


@pytest.mark.parametrize("delay", [SHORT_DELAY, LONG_DELAY])
@pytest.mark.parametrize(("row", "form"), cases(ENDED, 4, least_version=5))
def test_a_will_with_a_delay_is_published_by_what_ended_its_connection(row: list[str], form: Form, delay: int) -> None:
    WILL[said(row, 4)](after(row, form, delay), delay)


@pytest.mark.parametrize(("row", "form"), cases(ENDED, 5))
def test_a_queue_is_dropped_or_waits_by_what_ended_the_connection(row: list[str], form: Form) -> None:
    QUEUE[said(row, 5)](after(row, form))


@pytest.mark.parametrize(("row", "form"), cases(WAITING, 1))
def test_a_session_that_waits_ends_or_lives_on_by_what_happens(row: list[str], form: Form) -> None:
    SESSION[said(row, 1)](happened(row, form))


@pytest.mark.parametrize(("row", "form"), cases(WAITING, 2, least_version=5))
def test_a_will_that_waits_for_its_delay_is_published_by_what_happens(row: list[str], form: Form) -> None:
    delay = LONG_DELAY if "its time is over" in row[0] else SHORT_DELAY
    WILL[said(row, 2)](happened(row, form, delay), delay)


@pytest.mark.parametrize(("row", "form"), cases(WAITING, 3))
def test_a_queue_that_waits_is_dropped_or_sent_by_what_happens(row: list[str], form: Form) -> None:
    QUEUE[said(row, 3)](happened(row, form))


def test_a_session_that_goes_on_has_the_expiry_and_the_will_of_the_new_connect() -> None:
    scene = Scene(Form(5, False, N), SHORT_DELAY)
    lose_the_link(scene)
    properties = integers(session_expiry_interval=M)
    will = Will(b"will", b"new")
    again = scene.world.connect("alice", 5, clean_start=False, user_name="alice", properties=properties, will=will)
    assert again.connack.session_present
    again.lose()
    scene.ended()
    assert scene.wills == [scene.ended_at]
    lives_for(M)(scene)
    seen(scene, scene.ended_at)


def test_a_new_expiry_in_disconnect_is_cut_to_the_cap_as_well() -> None:
    scene = Scene(Form(5, True, N))
    scene.ended()
    say_good_bye(0x00, CAP + 1)(scene)
    lives_for(CAP)(scene)
