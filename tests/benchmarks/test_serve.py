"""Does the broker that all clients of `make bench` speak to understand its configuration?"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.clients.__main__ import serve
from tidewire.server.config import read_config


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_configuration_that_is_written_can_be_read(tmp_path: Path) -> None:
    command = serve(18830, tmp_path)
    assert read_config(Path(command[-1])).port == 18830
