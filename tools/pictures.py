"""The pictures in README.md and docs/: what the tests saw in Chromium last. For after `make test`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
SEEN: Final = ROOT / "build" / "screenshots"
SHOWN: Final = ROOT / "docs" / "assets"
PICTURES: Final = {
    "newcomer-flow.png": "console-flow.png",
    "vehicle.png": "vehicle.png",
    "surf.png": "surf.png",
}
"""What a test calls it → what the pages call it."""


def main() -> None:
    missing = [name for name in PICTURES if not (SEEN / name).exists()]
    if missing:
        sys.exit(f"{SEEN} has no {', '.join(missing)}; run first: make test ARGS='tests/console tests/examples'")
    for seen, shown in PICTURES.items():
        shutil.copyfile(SEEN / seen, SHOWN / shown)


if __name__ == "__main__":
    main()
