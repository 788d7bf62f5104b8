"""The tables of jobs and history, in SQLite's words; store/postgres.py has them in its own.

The schema has a number: how many of `STEPS` have been taken.
"""

from __future__ import annotations

from typing import Final

_FIRST: Final = """
CREATE TABLE jobs (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    caller      TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    options     TEXT NOT NULL,
    key         TEXT,
    fingerprint TEXT NOT NULL,
    folder      TEXT NOT NULL UNIQUE,
    bytes       INTEGER NOT NULL,
    answers     INTEGER NOT NULL DEFAULT 0,
    callback    TEXT,
    created     REAL NOT NULL,
    started     REAL,
    finished    REAL,
    served      INTEGER NOT NULL DEFAULT 0,
    UNIQUE (caller, key)
);
CREATE INDEX jobs_of_caller ON jobs (caller, number);
CREATE INDEX jobs_finished ON jobs (finished) WHERE finished IS NOT NULL;
CREATE INDEX jobs_in_turn ON jobs (served, number);

CREATE TABLE files (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    job      INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    place    INTEGER NOT NULL,
    name     TEXT NOT NULL,
    bytes    INTEGER NOT NULL,
    state    TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    attempts INTEGER NOT NULL DEFAULT 0,
    owner    TEXT,
    started  REAL,
    finished REAL,
    UNIQUE (job, place),
    CHECK ((owner IS NOT NULL) = (state = 'running')),
    CHECK ((finished IS NOT NULL) = (state IN ('done', 'failed', 'cancelled')))
);
CREATE INDEX files_queued ON files (job, place) WHERE state = 'queued';
CREATE INDEX files_open ON files (job) WHERE finished IS NULL;
CREATE INDEX files_held ON files (owner) WHERE owner IS NOT NULL;

CREATE TABLE results (
    file   INTEGER PRIMARY KEY REFERENCES files (number) ON DELETE CASCADE,
    answer BLOB,
    error  TEXT,
    CHECK ((answer IS NULL) <> (error IS NULL))
);

CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job    INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    kind   TEXT NOT NULL,
    facts  TEXT NOT NULL,
    time   REAL NOT NULL
);
CREATE INDEX events_of_job ON events (job, number);

CREATE TABLE callbacks (
    id       TEXT PRIMARY KEY,
    job      INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    url      TEXT NOT NULL,
    body     TEXT NOT NULL,
    state    TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'given_up')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due      REAL NOT NULL,
    problem  TEXT
);
CREATE INDEX callbacks_due ON callbacks (due) WHERE state = 'waiting';

CREATE TABLE history (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL,
    time        REAL NOT NULL,
    caller      TEXT NOT NULL,
    file        TEXT NOT NULL,
    seconds     REAL NOT NULL,
    emotion     TEXT,
    confidence  REAL NOT NULL,
    granularity TEXT NOT NULL,
    model       TEXT NOT NULL
);
CREATE INDEX history_of_caller ON history (caller, number);
CREATE INDEX history_time ON history (time);
"""

_SHARED: Final = """
ALTER TABLE callbacks ADD COLUMN owner TEXT;
CREATE INDEX callbacks_held ON callbacks (owner) WHERE owner IS NOT NULL;
CREATE INDEX callbacks_of_job ON callbacks (job);
DROP INDEX jobs_in_turn;
CREATE INDEX jobs_in_turn ON jobs (served, number) WHERE finished IS NULL;
"""
"""Calls are made by one process of several; and what has ended is not looked through for what comes next."""

_UNCERTAIN: Final = """
ALTER TABLE history ADD COLUMN uncertain BOOLEAN;
"""
"""Lines of the history say whether the model was sure; nobody knows that of older ones."""

STEPS: Final = (_FIRST, _SHARED, _UNCERTAIN)
"""What leads from each version of the schema to the next; only ever added to."""


def statements(step: str) -> list[str]:
    """Return the statements of a step."""
    return [statement for part in step.split(";\n") if (statement := part.strip())]
