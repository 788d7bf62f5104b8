"""The tables in PostgreSQL's words, in a schema of their own, and the chunks of recordings beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from emotape.errors import EngineFault
from emotape.store.schema import STEPS, statements

if TYPE_CHECKING:
    from emotape.store.database import Connection

SCHEMA: Final = "emotape"
_TYPES: Final = (
    ("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    ("INTEGER", "BIGINT"),
    ("REAL", "DOUBLE PRECISION"),
    ("BLOB", "BYTEA"),
)
_FIRST: Final = """
CREATE TABLE uploads (
    folder   TEXT PRIMARY KEY,
    accepted BOOLEAN NOT NULL DEFAULT FALSE,
    uploaded DOUBLE PRECISION NOT NULL DEFAULT EXTRACT(EPOCH FROM clock_timestamp())
);
CREATE TABLE chunks (
    folder TEXT NOT NULL REFERENCES uploads (folder) ON DELETE CASCADE,
    place  INTEGER NOT NULL,
    part   INTEGER NOT NULL,
    data   BYTEA NOT NULL,
    PRIMARY KEY (folder, place, part)
);
ALTER TABLE chunks ALTER COLUMN data SET STORAGE EXTERNAL;
"""
"""Recordings are compressed already, so that trying again would only cost time."""


def prepare(connection: Connection, place: str) -> None:
    """Make the tables, or bring them up to date. Raises EngineFault "database_newer"."""
    connection.alone()
    if connection.execute("SELECT to_regnamespace(?) IS NULL AS missing", (SCHEMA,)).fetchone()["missing"]:
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
    connection.execute("CREATE TABLE IF NOT EXISTS versions (version INTEGER PRIMARY KEY)")
    found = connection.execute("SELECT COALESCE(MAX(version), 0) AS version FROM versions").fetchone()["version"]
    if found > len(STEPS):
        raise EngineFault("database_newer", place=place, version=found, known=len(STEPS))
    for version, step in enumerate(STEPS[found:], found + 1):
        for statement in statements(_translated(step)):
            connection.execute(statement)
        connection.execute("INSERT INTO versions (version) VALUES (?)", (version,))
    if not found:
        for statement in statements(_FIRST):
            connection.execute(statement)


def _translated(step: str) -> str:
    for ours, theirs in _TYPES:
        step = step.replace(ours, theirs)
    return step
