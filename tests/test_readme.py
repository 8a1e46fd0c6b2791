"""Does README.md show the figures that `make bench` wrote?"""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parent.parent / "tools" / "readme_table.py"


def test_the_figures_in_the_readme_are_those_of_the_results() -> None:
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
