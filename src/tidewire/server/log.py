"""The log: one line an event, `key=value`, for people and for machines; nothing per message."""

from __future__ import annotations

import codecs
import logging
import sys
from typing import Final

from tidewire.engine.ports import Events
from tidewire.engine.session import Session
from tidewire.wire.codes import ReasonCode

logger = logging.getLogger("tidewire")

WARNINGS_PER_SECOND: Final = 50
"""Of one kind: more than anybody reads, less than hurts."""

codecs.lookup("unicode_escape")  # loaded from a file, which may not be had later when connections hold them all


def set_up(level: str) -> None:
    """Log to standard error from this level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    handler.addFilter(FloodFilter())
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    # What no line of ours shows need not be found out for each: that takes longer than writing it.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logger.propagate = False


class FloodFilter(logging.Filter):
    """Lets through so many refusals, denials and hooks that raise in a second, and then says how many more there were.

    What strangers can cause by the thousand must not fill the disk or slow the others down. Drops are another matter:
    they are told once a burst anyway, and each is a promise to somebody.
    """

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._counts: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.msg
        if not kind.startswith(("refused", "denied", "hook")):
            return True
        second = int(record.created)
        if second != self._second:
            self._second = second
            held_back = sum(max(0, count - WARNINGS_PER_SECOND) for count in self._counts.values())
            self._counts.clear()
            if held_back:
                record.msg = f"{record.msg} (before it, {held_back} more warnings in one second were held back)"
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        return count <= WARNINGS_PER_SECOND


class LogEvents(Events):
    """Writes what the engine reports to the log."""

    def connected(self, session: Session, peer: str, resumed: bool) -> None:
        connection = session.connection
        if connection is not None and logger.isEnabledFor(logging.INFO):
            logger.info(
                "connected client=%s peer=%s user=%s version=%s keep_alive=%ds resumed=%s",
                quoted(session.client_identifier),
                peer,
                quoted(session.principal.user_name or "-"),
                version_name(connection.version),
                connection.keep_alive,
                "yes" if resumed else "no",
            )

    def disconnected(self, client_identifier: str, peer: str, reason_code: int, detail: str) -> None:
        if logger.isEnabledFor(logging.INFO):
            logger.info(
                "disconnected client=%s peer=%s reason=%s detail=%s",
                quoted(client_identifier),
                peer,
                _reason(reason_code),
                quoted(detail),
            )

    def refused(self, client_identifier: str, peer: str, reason_code: int, detail: str) -> None:
        logger.warning("refused peer=%s reason=%s detail=%s", peer, _reason(reason_code), quoted(detail))

    def denied(self, client_identifier: str, action: str, topic: bytes) -> None:
        logger.warning(
            "denied client=%s action=%s topic=%s", quoted(client_identifier), quoted(action), quoted(topic.decode())
        )

    def dropped(self, client_identifier: str, reason: str, messages: int) -> None:
        logger.warning("dropped client=%s reason=%s messages=%d", quoted(client_identifier), quoted(reason), messages)

    def fault(self, client_identifier: str, error: BaseException) -> None:
        logger.error("internal error client=%s", quoted(client_identifier), exc_info=error)


def version_name(version: int) -> str:
    """A protocol version as people write it."""
    return {3: "3.1", 4: "3.1.1"}.get(version, "5.0")


def quoted(text: str) -> str:
    """A value for a log line: quoted where it has spaces or anything that could forge a line."""
    if text and text.isascii() and text.isprintable() and not set(text) & set(' "='):
        return text
    return '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'


def _reason(reason_code: int) -> str:
    try:
        return ReasonCode(reason_code).name.lower()
    except ValueError:
        return f"0x{reason_code:02x}"
