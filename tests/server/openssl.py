"""The `openssl` command, for what only another implementation can say or make."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.process import PATIENCE_S


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end; a test that needs it is skipped where it is not."""
    command = shutil.which("openssl")
    if command is None:
        pytest.skip("the openssl command is not installed")
    return subprocess.run(
        [command, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
