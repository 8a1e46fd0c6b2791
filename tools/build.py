"""Build the compiled form into build/compiled, unless what lies there is up to date.

`src` stays free of compiled modules. build/compiled holds links to the sources with the compiled modules
beside them, and a .pth file puts it ahead of `src` for all programs of this environment, except where
TIDEWIRE_PURE=1.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "build" / "compiled"
FRESH = ROOT / "build" / "compiling"

COMPILED = ("tidewire/wire", "tidewire/engine")
ALSO_COMPILED = ("benchmarks/load",)  # where it exists: compiled with the rest, but in no wheel


def main() -> None:
    if os.environ.get("TIDEWIRE_PURE") != "1":
        BUILT.parent.mkdir(exist_ok=True)
        with (BUILT.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one build at a time
            build()


def build() -> None:
    key = key_of_sources()
    if not (BUILT / "key").exists() or (BUILT / "key").read_text() != key:
        shutil.rmtree(FRESH, ignore_errors=True)
        compile_sources()
        shutil.rmtree(BUILT, ignore_errors=True)
        if not (FRESH / "tidewire" / "_compiled_from.json").exists():
            return  # no compiler, and setup.py has said so
        FRESH.rename(BUILT)
        (BUILT / "key").write_text(key)
    link(ROOT / "src" / "tidewire", BUILT / "tidewire")
    if (BUILT / "benchmarks").exists():
        link(ROOT / "benchmarks", BUILT / "benchmarks")
    select()


def key_of_sources() -> str:
    """All that a compiled module depends on, as one hash."""
    key = hashlib.sha256(f"{sys.version} {version('mypy')} {version('setuptools')}".encode())
    for path in [ROOT / "setup.py", *sources("src", COMPILED), *sources(".", ALSO_COMPILED)]:
        key.update(f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return key.hexdigest()


def sources(below: str, packages: tuple[str, ...]) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / below / package).glob("*.py"))


def compile_sources() -> None:
    also = " ".join(str(path.relative_to(ROOT)) for path in sources(".", ALSO_COMPILED))
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", str(FRESH)]
    print("tidewire: compiling; this takes minutes, once (TIDEWIRE_PURE=1 does without)", file=sys.stderr)
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"TIDEWIRE_ALSO_COMPILE": also}, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def link(source: Path, target: Path) -> None:
    """Link what `source` holds into `target`; enter the directories that hold compiled modules."""
    for old in target.iterdir():
        if old.is_symlink() and not old.exists():
            old.unlink()
    for path in source.iterdir():
        beside = target / path.name
        if path.name == "__pycache__" or beside.is_symlink():
            continue
        if beside.is_dir():
            link(path, beside)
        else:
            beside.symlink_to(os.path.relpath(path, target))


def select() -> None:
    """Put build/compiled ahead of `src`: the file's name sorts before that of the editable install."""
    line = f"import os, sys; os.environ.get('TIDEWIRE_PURE') == '1' or sys.path.append({str(BUILT)!r})\n"
    Path(sysconfig.get_path("purelib"), "0_tidewire_compiled.pth").write_text(line)


main()
