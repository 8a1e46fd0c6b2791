"""Does a visit last as long as it should, and is its secret one?"""

from __future__ import annotations

from tidewire.console.visits import PAGES, VISIT_S, VISITS, VISITS_PER_USER, Visits
from tidewire.server.admin_types import Viewer


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_visit_is_found_by_its_secret_until_it_ends() -> None:
    visits = Visits(Clock())
    ann, bob = visits.begin(Viewer("ann"), "ann"), visits.begin(None, "bob")
    assert len({ann, bob, visits.begin(None)}) == 3
    found = visits.find(ann)
    assert found is not None and (found.viewer, found.name) == (Viewer("ann"), "ann")
    assert visits.find(ann[:-1]) is visits.find("") is None
    visits.end(ann)
    visits.end("unknown")
    assert visits.find(ann) is None
    assert visits.find(bob) is not None


def test_a_visit_ends_after_a_working_day() -> None:
    clock = Clock()
    visits = Visits(clock)
    secret = visits.begin(None)
    later = visits.begin(None)
    closed: list[str] = []
    visit = visits.find(secret)
    assert visit is not None
    visit.opened("a", lambda: closed.append("a"))
    visit.opened("b", lambda: closed.append("b"))
    clock.now += VISIT_S - 1
    visits.sweep()
    assert visits.find(secret) is visit and not closed
    clock.now += 1
    visits.sweep()
    assert closed == ["a", "b"]
    assert visits.find(secret) is visits.find(later) is None


def test_one_visit_too_many_ends_the_oldest() -> None:
    visits = Visits()
    secrets = [visits.begin(None, f"user{number}") for number in range(VISITS + 1)]
    assert [number for number, secret in enumerate(secrets) if visits.find(secret) is None] == [0]


def test_a_user_who_logs_in_too_often_ends_their_own_visits() -> None:
    visits = Visits()
    ann = visits.begin(None, "ann")
    bobs = [visits.begin(None, "bob") for _ in range(VISITS_PER_USER + 2)]
    assert visits.find(ann) is not None
    assert [number for number, secret in enumerate(bobs) if visits.find(secret) is None] == [0, 1]


def test_a_visit_ends_with_the_proof_of_who_it_is() -> None:
    clock = Clock()
    visits = Visits(clock)
    soon, later = (visits.begin(Viewer("ann"), "ann", clock.now + after) for after in (60, 10 * VISIT_S))
    clock.now += 60
    assert visits.find(soon) is None and visits.find(later) is not None
    clock.now += VISIT_S
    assert visits.find(later) is None


def test_other_rules_end_all_visits_and_close_their_pages() -> None:
    rules = [object()]
    visits = Visits(Clock(), lambda: rules[0])
    secret, shared = visits.begin(None), visits.shared(None)
    closed: list[str] = []
    for name, visit in (("own", visits.find(secret)), ("shared", shared)):
        assert visit is not None
        visit.opened(name, lambda name=name: closed.append(name))  # type: ignore[misc]
    visits.sweep()
    assert visits.find(secret) is not None and visits.shared(None) is shared and not closed
    rules[0] = object()
    visits.sweep()
    assert closed == ["own", "shared"]
    assert visits.find(secret) is None and visits.shared(None) is not shared


def test_one_page_too_many_closes_the_oldest_and_none_opens_after_the_end() -> None:
    visits = Visits()
    secret = visits.begin(None)
    visit = visits.find(secret)
    assert visit is not None
    closed: list[int] = []
    for page in [*range(PAGES), 0, PAGES]:  # somebody comes back to the first
        visit.opened(page, lambda page=page: closed.append(page))  # type: ignore[misc]
    assert closed == [1]
    visits.end(secret)
    visit.opened(99, lambda: closed.append(99))
    assert closed == [1, *range(2, PAGES), 0, PAGES, 99]
