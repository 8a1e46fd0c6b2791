"""Hashes that cost next to nothing, for tests about something else than their cost."""

from __future__ import annotations

import pytest

from tidewire.access import hashes, scram


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """New passwords are hashed in no time."""
    monkeypatch.setattr(hashes, "PBKDF2_ITERATIONS", 10)
    monkeypatch.setattr(hashes, "ARGON2_MEMORY_KIB", 64)
    monkeypatch.setattr(hashes, "ARGON2_PASSES", 1)
    monkeypatch.setattr(scram, "ITERATIONS", 4096)
