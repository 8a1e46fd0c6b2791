"""Which form of Tidewire is loaded, compiled or pure, and does it match its sources?

The modules of `wire` and `engine` are compiled as one group. The build records the hash of every source it
compiled in `_compiled_from.json`; hashes, because a checkout changes contents and may not advance a time.
"""

import hashlib
import json
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

COMPILED_PACKAGES = ("wire", "engine")

_ROOT = Path(__file__).parent.parent


def form() -> str:
    """`"compiled"` when `wire` or `engine` is loaded from a compiled module, else `"pure"`."""
    specs = [find_spec(f"tidewire.{package}") for package in COMPILED_PACKAGES]
    origins = [spec.origin for spec in specs if spec and spec.origin]
    return "compiled" if any(origin.endswith(tuple(EXTENSION_SUFFIXES)) for origin in origins) else "pure"


def stale() -> list[str]:
    """The sources that differ from what their compiled modules were built from; empty in the pure form.

    A source that was never compiled, or was deleted since, differs too: the two forms must not mix.
    """
    return [] if form() == "pure" else stale_below(_ROOT)


def stale_below(root: Path) -> list[str]:
    """`stale`, for the tree in the directory `root` that holds the package."""
    record = root / "tidewire" / "_compiled_from.json"
    built_from: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    sources = set(built_from)
    for package in COMPILED_PACKAGES:
        sources.update(path.relative_to(root).as_posix() for path in root.glob(f"tidewire/{package}/*.py"))
    return sorted(source for source in sources if not _is_fresh(root / source, built_from.get(source)))


def _is_fresh(source: Path, built_from: str | None) -> bool:
    compiled = any(source.with_suffix(suffix).exists() for suffix in EXTENSION_SUFFIXES)
    return compiled and source.exists() and hashlib.sha256(source.read_bytes()).hexdigest() == built_from
