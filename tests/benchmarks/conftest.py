"""What a benchmark does to its own process ends with its test."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def all_cores() -> Iterator[None]:
    """The load generator keeps to one core: the tests that come after are to have all of them."""
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)
