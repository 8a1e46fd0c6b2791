"""Mosquitto's clients and ours side by side: the same flags, the same broker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.process import PATIENCE_S

installed = pytest.mark.skipif(
    not all(map(shutil.which, ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr"))),
    reason="mosquitto_pub, _sub and _rr are not installed; on Debian: apt install mosquitto-clients",
)

OURS: Final = (sys.executable, "-m", "tidewire")


class Clients:
    """Runs commands against one broker, with no configuration of whoever runs the tests."""

    def __init__(self, port: int, directory: Path) -> None:
        self.port = str(port)
        self._environment = {**os.environ, "XDG_CONFIG_HOME": str(directory), "TZ": "BST-1"}

    def mosquitto(self, name: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """mosquitto_pub, _sub or _rr."""
        return self._run([f"mosquitto_{name}"], arguments, stdin)

    def tidewire(self, name: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """tidewire pub, sub or rr."""
        return self._run([*OURS, name], arguments, stdin)

    def both(self, name: str, *arguments: str, stdin: bytes = b"") -> tuple[tuple[int, bytes], tuple[int, bytes]]:
        """Status and standard output of either, run at the same time."""
        plain = ["--plain"] if name != "pub" else []
        with ThreadPoolExecutor() as pool:
            theirs = pool.submit(self.mosquitto, name, *arguments, stdin=stdin)
            ours = self.tidewire(name, *arguments, *plain, stdin=stdin)
        return (theirs.result().returncode, theirs.result().stdout), (ours.returncode, ours.stdout)

    def publish(self, *arguments: str, stdin: bytes = b"") -> None:
        """With mosquitto_pub."""
        self.mosquitto("pub", *arguments, stdin=stdin).check_returncode()

    def _run(self, program: list[str], arguments: tuple[str, ...], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*program, "-h", "127.0.0.1", "-p", self.port, *arguments],
            input=stdin,
            capture_output=True,
            timeout=PATIENCE_S,
            env=self._environment,
            check=False,
        )
