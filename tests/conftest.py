"""No test runs against a form of Tidewire other than the one that was asked for, or against a stale one."""

import os
from typing import NoReturn

import pytest

from tidewire._form import form, stale

os.environ.setdefault("TIDEWIRE_DURABILITY", "memory")
"""Brokers that tests start keep nothing in their user's directory; --data says otherwise."""

pytest_plugins = ["pytester"]  # for the tests of our own plugin


def pytest_report_header() -> str:
    return f"tidewire: {form()}"


def pytest_sessionstart() -> None:
    asked = {"0": "compiled", "1": "pure"}.get(os.environ.get("TIDEWIRE_PURE", ""), form())
    if sources := stale():
        stop(f"compiled modules differ from their sources: {', '.join(sources)}. Run: make build")
    if form() != asked:
        stop(f"the {asked} form was asked for, but the {form()} one is loaded. Run: make clean build")


def stop(reason: str) -> NoReturn:
    pytest.exit(reason, returncode=2)
