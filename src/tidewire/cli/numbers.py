"""How is a number said to a person?"""

from __future__ import annotations


def grouped(number: float) -> str:
    """A whole number with its thousands apart: 1 234 567."""
    return f"{number:,.0f}".replace(",", " ")


def counted(number: int, noun: str) -> str:
    """So many of them: 1 message, 2 000 messages."""
    return f"{grouped(number)} {noun}{'' if number == 1 else 's'}"
