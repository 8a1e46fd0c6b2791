"""What does the store's file look like, and how does an older one become the present one?

Times are seconds since 1970, 0 for none or never. A checksum is the CRC-32 of topic, payload and properties in turn:
SQLite has none of its own, so a disk that turns a bit in a payload would go unseen.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from tidewire.store.errors import StoreError

APPLICATION_ID: Final = 0x5457_4252
"""TWBR, in the file's header: `file` and other programs can tell what it is."""

MIGRATIONS: Final = [
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT);
    CREATE TABLE session (
        number INTEGER PRIMARY KEY,
        client_identifier TEXT NOT NULL UNIQUE,
        user_name TEXT,
        expiry_interval INTEGER NOT NULL,  -- seconds
        ends_at REAL NOT NULL,             -- 0 while (or when last seen) connected
        will_topic BLOB,                   -- NULL: no will
        will_payload BLOB,
        will_qos INTEGER,
        will_retain INTEGER,
        will_properties BLOB,              -- as MQTT 5.0 encodes them, here and below
        will_expiry REAL,                  -- seconds from its publication, below 0 for never
        will_delay INTEGER NOT NULL,       -- seconds
        will_at REAL NOT NULL
    );
    CREATE TABLE subscription (
        session INTEGER NOT NULL,
        topic_filter BLOB NOT NULL,
        qos INTEGER NOT NULL,
        no_local INTEGER NOT NULL,
        retain_as_published INTEGER NOT NULL,
        identifier INTEGER NOT NULL,       -- 0: none
        PRIMARY KEY (session, topic_filter)
    ) WITHOUT ROWID;
    CREATE TABLE message (
        number INTEGER PRIMARY KEY,
        topic BLOB NOT NULL,
        payload BLOB NOT NULL,
        properties BLOB NOT NULL,
        expires_at REAL NOT NULL,
        publisher TEXT NOT NULL,           -- client identifier
        checksum INTEGER NOT NULL
    );
    CREATE TABLE delivery (
        session INTEGER NOT NULL,
        position INTEGER NOT NULL,
        message INTEGER NOT NULL,          -- 0: PUBREL was sent, only that is left
        qos INTEGER NOT NULL,
        retain INTEGER NOT NULL,
        identifiers BLOB NOT NULL,         -- Subscription Identifiers as they travel
        packet_identifier INTEGER NOT NULL, -- 0: it waits
        PRIMARY KEY (session, position)
    ) WITHOUT ROWID;
    CREATE TABLE received (
        session INTEGER NOT NULL,
        packet_identifier INTEGER NOT NULL,
        PRIMARY KEY (session, packet_identifier)
    ) WITHOUT ROWID;
    CREATE TABLE retained (
        topic BLOB PRIMARY KEY NOT NULL,
        payload BLOB NOT NULL,
        qos INTEGER NOT NULL,
        properties BLOB NOT NULL,
        expires_at REAL NOT NULL,
        publisher TEXT NOT NULL,           -- client identifier
        user_name TEXT,
        address TEXT NOT NULL,
        published_at REAL NOT NULL,
        checksum INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE meter (
        kind TEXT NOT NULL,                -- total, client, branch, nobody, other clients, other branches
        period TEXT NOT NULL,              -- 2026-11-21 or 2026-11, UTC
        name TEXT NOT NULL,                -- client identifier, or the beginning of topics
        user_name TEXT,
        figures TEXT NOT NULL,             -- JSON, as store/meter_rows.py has it
        PRIMARY KEY (kind, period, name)
    ) WITHOUT ROWID;
    """,
]
"""How version 0, which is an empty file, becomes version 1, that one version 2, and so on."""

DANGLING: Final = """
    SELECT EXISTS (SELECT * FROM delivery WHERE session NOT IN (SELECT number FROM session))
        OR EXISTS (SELECT * FROM delivery WHERE message != 0 AND message NOT IN (SELECT number FROM message))
        OR EXISTS (SELECT * FROM subscription WHERE session NOT IN (SELECT number FROM session))
        OR EXISTS (SELECT * FROM received WHERE session NOT IN (SELECT number FROM session))
"""
"""Whether a row refers to one that is not there."""


def version_of(database: sqlite3.Connection, path: Path) -> int:
    """The version of the schema, 0 for an empty file.

    Raises StoreError if the file is another program's, or was written by a later version of this one.
    """
    version = pragma(database, "user_version")
    application_id = pragma(database, "application_id")
    if application_id == APPLICATION_ID:
        if version > len(MIGRATIONS):
            raise StoreError(f"the store {path} was written by a newer Tidewire: update this one")
        return version
    if application_id or version or pragma(database, "schema_version"):
        raise StoreError(
            f"{path} is the database of another program, not a store: choose another directory, --data DIR"
        )
    return 0


def migrate(database: sqlite3.Connection, version: int) -> None:
    """Bring the file to the present version, one step and one transaction after the other."""
    for step, script in enumerate(MIGRATIONS[version:], version + 1):
        try:
            database.executescript(
                f"""
                BEGIN IMMEDIATE;
                {script};
                PRAGMA application_id = {APPLICATION_ID};
                PRAGMA user_version = {step};
                COMMIT
                """
            )
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise


def pragma(database: sqlite3.Connection, name: str) -> int:
    """The value of one that is a number."""
    value: int = database.execute(f"PRAGMA {name}").fetchone()[0]
    return value
