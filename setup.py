"""Which modules does mypyc compile? Everything else about the package is in pyproject.toml.

TIDEWIRE_PURE says which form is built: "1" the uncompiled one; "0" the compiled one, or the build fails;
unset, the compiled one where a C compiler works and else the uncompiled one. The two are never mixed.
"""

import hashlib
import json
import os
import sys
import tempfile
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

from distutils.ccompiler import new_compiler  # isort: skip (setuptools provides it, once imported)
from distutils.sysconfig import customize_compiler, get_python_inc  # isort: skip

COMPILED = [
    *glob("src/tidewire/wire/*.py"),
    *glob("src/tidewire/engine/*.py"),
    *os.environ.get("TIDEWIRE_ALSO_COMPILE", "").split(),  # what tools/build.py adds, and no wheel contains
]

# Taken before they are compiled: a source that changes meanwhile is then stale, not taken for fresh.
SHA256 = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in COMPILED}

MYPY = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent"]
"""pip compiles where nothing else is installed; so what compiles here compiles there."""

PURE = os.environ.get("TIDEWIRE_PURE")
NO_COMPILER = (CCompilerError, ExecError, PlatformError, OSError)


def extensions() -> list[Extension]:
    """The modules as one mypyc group, so that calls between them are bound early."""
    if PURE == "1" or {"egg_info", "dist_info", "sdist"} & set(sys.argv):
        return []
    if PURE != "0" and not compiler_works():
        print("tidewire: no working C compiler with Python headers; installing uncompiled", file=sys.stderr)
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 (a pure build does not need it)

    try:
        return mypycify([*MYPY, *sorted(SHA256)], opt_level="3", group_name="tidewire")
    except SystemExit:  # of mypyc, which has told why
        if PURE == "0":
            raise
        print("tidewire: mypyc failed; installing uncompiled", file=sys.stderr)
        return []


def compiler_works() -> bool:
    compiler = new_compiler()
    customize_compiler(compiler)
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.c")
        probe.write_text("#include <Python.h>\nint main(void) { return 0; }\n")
        try:
            compiler.compile([str(probe)], output_dir=folder, include_dirs=[get_python_inc()])
        except NO_COMPILER:
            return False
    return True


class AllOrNothing(build_ext):
    """Build every extension, and record what from; or, where one fails, none."""

    def run(self) -> None:
        try:
            super().run()
        except NO_COMPILER as error:
            if PURE == "0":
                raise
            print(f"tidewire: the compiler failed ({error}); installing uncompiled", file=sys.stderr)
            for extension in self.extensions:
                Path(self.build_lib, self.get_ext_filename(extension.name)).unlink(missing_ok=True)
            self.extensions = []
        if self.extensions:
            built_from = {path.removeprefix("src/"): digest for path, digest in SHA256.items()}
            self.record().write_text(json.dumps(built_from, indent=0))

    def record(self) -> Path:
        """Where `tidewire._form.stale` looks for the hashes of the compiled sources."""
        return Path(self.get_ext_fullpath("tidewire.wire.__init__")).parents[1] / "_compiled_from.json"


setup(ext_modules=extensions(), cmdclass={"build_ext": AllOrNothing})
