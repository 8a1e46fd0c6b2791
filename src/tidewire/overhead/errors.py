"""What can go wrong when an exchange is measured."""

from __future__ import annotations


class MeasurementError(Exception):
    """An exchange could not be measured here; the text says why in one line."""
