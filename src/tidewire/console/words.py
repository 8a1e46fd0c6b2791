"""How do sizes, rates and times look to a person?"""

from __future__ import annotations

from datetime import datetime

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(count: float) -> str:
    """Bytes: `999 B`, `1.4 kB`, `23 MB`."""
    for unit in _UNITS:
        if abs(count) < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.1f} {unit}" if unit != "B" and abs(count) < 99.95 else f"{count:.0f} {unit}"


def number(count: float) -> str:
    """Whole, with its thousands apart."""
    return f"{count:,.0f}".replace(",", " ")


def rate(count: float) -> str:
    """A second: `0`, `0.3`, `12`, `50 000`."""
    return f"{count:.1f}" if 0.05 <= count < 9.95 else number(count)


def duration(seconds: float) -> str:
    """`42 s`, `7 min 3 s`, `5 h 12 min`, `3 d 4 h`."""
    whole = int(seconds)
    for unit, length, below, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // part} {below}"
    return f"{whole} s"


def clock(at: float) -> str:
    """Time of day of seconds since 1970, to the millisecond."""
    return datetime.fromtimestamp(at).strftime("%H:%M:%S.%f")[:-3]


def day(at: float) -> str:
    """Date and time of day."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")
