"""Does each statement have its test, and does docs/conformance.md say so?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_document_is_what_the_statements_and_tests_say() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "tools" / "conformance.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
