"""Stores for tests: the file of a broker that is killed and comes back, with commits when the test says so."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from tidewire.engine.changes import Batch, Changes
from tidewire.engine.message import Message
from tidewire.engine.ports import Provenance, StoredSession
from tidewire.store.memory import MemoryStore
from tidewire.store.sqlite import StoreFile

EPOCH = 1_800_000_000.0
"""What makes seconds since 1970 of the time of a test."""


class FileStore(Changes):
    """Commits in the caller's thread."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        path.parent.mkdir(exist_ok=True)
        self.file = StoreFile(path, durability="relaxed")
        self.file._synchronous = "OFF"  # what is killed here is not the machine
        self.file.open()

    def load(self, now: float) -> tuple[list[StoredSession], list[tuple[Message, Provenance]]]:
        return self.restore(self.file.read(), EPOCH)

    def commit(self) -> int:
        """Until all is written, also what is under way. Returns the ticket for `Broker.committed`."""
        ticket = 0
        while (batch := self.take(EPOCH)) is not None:
            self.file.write(batch)
            self.committed()
            ticket = batch.ticket
        return ticket

    def killed(self) -> FileStore:
        """What the next life finds: the file as it is now, without any good-bye."""
        return type(self)(copy_of(self.file.path))


class PromptFileStore(FileStore):
    """Commits before anything is promised, so that everything told is safe at once."""

    def barrier(self) -> int:
        self.commit()
        return 0

    def barrier_of(self, message: Message) -> int:
        return self.barrier()

    def upcoming(self) -> int:
        return 0


class LastingMemoryStore(MemoryStore):
    """The reference model, used as a file is."""

    def killed(self) -> LastingMemoryStore:
        return self


def copy_of(path: Path) -> Path:
    """The database as a power cut would leave it, in a directory beside."""
    directory = Path(tempfile.mkdtemp(dir=path.parent.parent))
    for file in path.parent.glob(f"{path.name}*"):
        if not file.name.endswith("-shm"):  # of the living only
            shutil.copy(file, directory)
    return directory / path.name


def state_of(sessions: list[StoredSession], retained: list[tuple[Message, Provenance]]) -> dict[str, Any]:
    """Everything that a store gives back, to be compared."""
    return {
        "sessions": {session.client_identifier: _session_state(session) for session in sessions},
        "retained": {
            message.topic: (
                *_message_state(message),
                provenance.user_name,
                provenance.address,
                round(provenance.published_at, 3),
            )
            for message, provenance in retained
        },
    }


def _session_state(session: StoredSession) -> dict[str, Any]:
    return {
        "user_name": session.user_name,
        "expiry_interval": session.expiry_interval,
        "ends_at": round(session.ends_at, 3),
        "will": _message_state(session.will),
        "will_delay": session.will_delay,
        "will_at": round(session.will_at, 3),
        "subscriptions": dict(session.subscriptions),
        # Each in its order; how one stands to the other says nothing, for PUBREL does not wait for PUBLISH.
        "released": [identifier for identifier, message in session.inflight.items() if message is None],
        "inflight": [
            (identifier, _message_state(message))
            for identifier, message in session.inflight.items()
            if message is not None
        ],
        "queue": [_message_state(message) for message in session.queue],
        "received": set(session.received),
    }


def _message_state(message: Message | None) -> tuple[Any, ...]:
    if message is None:
        return ()
    content = (message.topic, message.payload, message.qos, message.retain, message.properties, message.identifiers)
    return (*content, round(message.expires_at, 3), message.publisher)


def batch_of(number: int = 1, **rows: Any) -> Batch:
    """A batch with these rows."""
    batch = Batch(number)
    for name, value in rows.items():
        assert hasattr(batch, name), name
        setattr(batch, name, value)
    return batch
