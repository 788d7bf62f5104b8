"""What a store of jobs stands on: one folder of this machine, or a PostgreSQL that several machines share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotape.store.database import storage_fault
from emotape.store.jobs.chunks import ChunkUploads
from emotape.store.jobs.member import LocalMember
from emotape.store.jobs.uploads import FolderUploads
from emotape.store.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.store.database import Database
    from emotape.store.jobs.member import Member
    from emotape.store.jobs.uploads import Uploads

FILE: Final = "emotape.sqlite3"


@dataclass(frozen=True)
class Backing:
    """A database, this process's place among those that share it, and where recordings lie."""

    database: Database
    member: Member
    uploads: Uploads


def in_folder(folder: Path) -> Backing:
    """Return a folder's backing. Raises EngineFault "jobs_store_unusable", "jobs_store_newer" or "jobs_disk_full"."""
    database = SqliteDatabase(folder / FILE)
    try:
        member = LocalMember(folder)
        return Backing(database, member, FolderUploads(folder, member, database))
    except OSError as error:
        database.close()
        raise storage_fault(error, folder) from error


def in_postgres(url: str) -> Backing:
    """Return a shared database's backing; it is connected to when it is first used.

    Raises BadRequest "bad_database_url" or "postgres_not_installed".
    """
    from emotape.store.postgres import PostgresDatabase

    database = PostgresDatabase(url)
    return Backing(database, database.session, ChunkUploads(database))
