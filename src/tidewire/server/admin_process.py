"""What does the broker's process take of the machine?"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path


def cpu_s() -> float:
    """Seconds of a core since the process began, all its threads together."""
    return time.process_time()


def resident_bytes() -> int:
    """Memory that the process holds in RAM; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with suppress(ImportError):
        import resource  # noqa: PLC0415 (Windows has none)

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: bytes, and the most there were
    return 0
