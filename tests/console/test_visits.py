"""Does a visit last as long as it should, and is its secret one?"""

from __future__ import annotations

from tidewire.console.visits import VISIT_S, VISITS, Visits
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
    visit.pages["a"] = lambda: closed.append("a")
    visit.pages["b"] = lambda: (visit.pages.pop("b"), closed.append("b"))[1]
    clock.now += VISIT_S - 1
    visits.sweep()
    assert visits.find(secret) is visit and not closed
    clock.now += 1
    visits.sweep()
    assert closed == ["a", "b"]
    assert visits.find(secret) is visits.find(later) is None


def test_one_visit_too_many_ends_the_oldest() -> None:
    visits = Visits()
    secrets = [visits.begin(None) for _ in range(VISITS + 1)]
    assert [number for number, secret in enumerate(secrets) if visits.find(secret) is None] == [0]
