"""A PostgreSQL database that several machines share. It may stall, restart or be down: then everyone is told soon.

Nothing is connected before the first use. While the session that stands for this process (`postgres_session.py`) has no
connection, every use is refused at once, so that nobody waits for a database that is known to be away.
"""

from __future__ import annotations

import logging
import re
import threading
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from emotape.errors import BadRequest
from emotape.store.postgres_connection import Impatient, configure, connect, conninfo_of, database_fault, give_up
from emotape.store.postgres_schema import prepare
from emotape.store.postgres_session import PostgresSession

try:
    import psycopg
    from psycopg.rows import dict_row
    from psycopg_pool import ConnectionPool
except ImportError as missing:
    raise BadRequest("postgres_not_installed") from missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from emotape.store.database import Rows

_FOR_A_PLACE: Final = 5.0  # seconds until one of our connections is free
_CONNECTIONS: Final = 8
_ALONE: Final = 0x656D6F74617065  # "emotape": the lock of transactions that must be alone
_CHANGE: Final = b"BEGIN"
_READ: Final = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_VALUE: Final = re.compile(r"\?|:(\w+)")


class PostgresConnection:
    """A connection within a transaction, for statements as `store/database.py` describes them."""

    lock = " FOR UPDATE"
    skip_locked = " FOR UPDATE SKIP LOCKED"

    def __init__(self, connection: Impatient) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = (), /) -> Rows:
        """Run a statement."""
        return self._connection.execute(_translated(statement), values, binary=True)

    def executemany(self, statement: str, values: Iterable[Sequence[Any] | Mapping[str, Any]], /) -> None:
        """Run a statement once for each of several values."""
        with self._connection.cursor() as cursor:
            cursor.executemany(_translated(statement), values)

    def alone(self) -> None:
        """Wait until no other transaction that called this is under way; keep others waiting until this one ends."""
        self.execute("SELECT pg_advisory_xact_lock(?)", (_ALONE,))


class PostgresDatabase:
    """The database at `url`; safe to use from any thread, and by any number of processes.

    Every use may raise NotReady "database_unreachable", which passes, and EngineFault "database_failed",
    "database_full" or "database_newer". Raises BadRequest "bad_database_url" or "postgres_not_installed".
    """

    def __init__(self, url: str) -> None:
        self._conninfo, self.place = conninfo_of(url)
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # what fails is raised, and told once
        self._preparing = threading.Lock()
        self._is_prepared = False
        self._pool = ConnectionPool(
            self._conninfo,
            connection_class=Impatient,
            kwargs={"autocommit": True, "row_factory": dict_row},
            configure=configure,
            min_size=0,
            max_size=_CONNECTIONS,
            open=False,
            timeout=_FOR_A_PLACE,
            reconnect_timeout=_FOR_A_PLACE,
            num_workers=1,
            name="emotape-postgres",
        )
        self.session = PostgresSession(lambda: connect(self._conninfo), self.place)

    @contextmanager
    def change(self) -> Iterator[PostgresConnection]:
        """Give a connection within a transaction: all of it is durable afterwards, or nothing."""
        self._prepare()
        with self._transaction(_CHANGE) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[PostgresConnection]:
        """Give a connection for reading one consistent state."""
        self._prepare()
        with self._transaction(_READ) as connection:
            yield connection

    def probe(self) -> None:
        """Connect once and change nothing, to see whether that works."""
        try:
            with connect(self._conninfo) as connection:
                connection.execute(b"SELECT 1")
        except psycopg.Error as error:
            raise database_fault(error, self.place) from error

    def shrink(self) -> None:
        """Do nothing: PostgreSQL uses the room of deleted rows again by itself."""

    def close(self) -> None:
        """End all connections."""
        self.session.leave()
        self._pool.close()

    def _prepare(self) -> None:
        """Wait until the database is known to answer, and see to the tables once."""
        self.session.check_reachable()
        if self._is_prepared:
            return
        with self._preparing:
            if not self._is_prepared:
                self._pool.open()
                with self._transaction(_CHANGE) as connection:
                    prepare(connection, self.place)
                self._is_prepared = True

    @contextmanager
    def _transaction(self, beginning: bytes) -> Iterator[PostgresConnection]:
        try:
            connection = self._begun(beginning)
            try:
                yield PostgresConnection(connection)
                connection.execute(b"COMMIT")
            except BaseException:
                give_up(connection)
                raise
            finally:
                self._pool.putconn(connection)
        except psycopg.Error as error:
            raise database_fault(error, self.place) from error

    def _begun(self, beginning: bytes) -> Impatient:
        """Return a connection within a transaction; those that broke while they lay idle are passed over."""
        for left in range(_CONNECTIONS, -1, -1):
            connection = self._pool.getconn()
            try:
                connection.execute(beginning)
            except BaseException as error:
                is_broken = connection.closed
                give_up(connection)
                self._pool.putconn(connection)
                if not (isinstance(error, psycopg.OperationalError) and is_broken and left):
                    raise
            else:
                return connection
        raise AssertionError  # the last try returns or raises


@lru_cache(maxsize=256)
def _translated(statement: str) -> bytes:
    """Return a statement with its values where psycopg looks for them."""
    return _VALUE.sub(lambda found: f"%({found[1]})s" if found[1] else "%s", statement).encode()
