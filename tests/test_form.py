"""Tests of tidewire._form, and of the stop that tests/conftest.py makes of it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import tidewire
from tidewire._form import form, stale, stale_below

SOURCES = ("tidewire/wire/__init__.py", "tidewire/engine/__init__.py", "tidewire/engine/session.py")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package of three modules as the build leaves it; the compiled ones are empty, and never loaded."""
    package = tmp_path / "tidewire"
    package.mkdir()
    for name in ("__init__.py", "_form.py", "pytest_plugin.py"):  # the last one is an entry point
        shutil.copy(Path(tidewire.__file__).with_name(name), package)
    for name in SOURCES:
        source = tmp_path / name
        source.parent.mkdir(exist_ok=True)
        source.write_text(f"# {name}\n")
        source.with_suffix(EXTENSION_SUFFIXES[0]).touch()
    hashes = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in SOURCES}
    (package / "_compiled_from.json").write_text(json.dumps(hashes))
    return tmp_path


def test_the_loaded_form_is_the_one_of_the_modules_that_are_loaded() -> None:
    from tidewire import wire  # noqa: PLC0415

    assert form() == ("pure" if str(wire.__file__).endswith(".py") else "compiled")
    assert stale() == []


def test_a_tree_as_built_is_not_stale(tree: Path) -> None:
    assert stale_below(tree) == []


def test_a_touched_source_with_the_same_content_is_not_stale(tree: Path) -> None:
    os.utime(tree / SOURCES[2], (2_000_000_000, 2_000_000_000))
    assert stale_below(tree) == []


def test_a_changed_source_is_stale_though_its_time_is_older(tree: Path) -> None:
    (tree / SOURCES[2]).write_text("changed = True\n")
    os.utime(tree / SOURCES[2], (0, 0))
    assert stale_below(tree) == [SOURCES[2]]


def test_a_new_source_is_stale(tree: Path) -> None:
    (tree / "tidewire/wire/topics.py").touch()
    assert stale_below(tree) == ["tidewire/wire/topics.py"]


def test_a_deleted_source_is_stale(tree: Path) -> None:
    (tree / SOURCES[2]).unlink()
    assert stale_below(tree) == [SOURCES[2]]


def test_a_missing_compiled_module_is_stale(tree: Path) -> None:
    (tree / SOURCES[2]).with_suffix(EXTENSION_SUFFIXES[0]).unlink()
    assert stale_below(tree) == [SOURCES[2]]


def test_compiled_modules_without_a_record_are_stale(tree: Path) -> None:
    (tree / "tidewire/_compiled_from.json").unlink()
    assert stale_below(tree) == sorted(SOURCES)


def test_a_stale_module_stops_the_run_and_names_the_mend(tree: Path) -> None:
    (tree / SOURCES[2]).write_text("changed = True\n")
    run = pytest_in(tree)
    assert run.returncode == 2
    assert f"compiled modules differ from their sources: {SOURCES[2]}. Run: make build" in run.stdout


def test_a_form_that_was_not_asked_for_stops_the_run(tree: Path) -> None:
    run = pytest_in(tree)
    assert run.returncode == 2
    assert "the pure form was asked for, but the compiled one is loaded. Run: make clean build" in run.stdout


def pytest_in(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run one passing test under our conftest.py, with the package of `tree` and the pure form asked for."""
    shutil.copy(Path(__file__).with_name("conftest.py"), tree)
    (tree / "test_one.py").write_text("def test_one(): pass\n")
    (tree / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tree)],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "TIDEWIRE_PURE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
