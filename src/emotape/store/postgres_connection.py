"""Connections to PostgreSQL: how they are made, how long they wait, and what their failures mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from emotape.errors import BadRequest, EngineFault, NotReady
from emotape.store.postgres_schema import SCHEMA

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg.pq import TransactionStatus
    from psycopg.rows import dict_row
    from psycopg.types.string import StrDumperUnknown
except ImportError as missing:
    raise BadRequest("postgres_not_installed") from missing

if TYPE_CHECKING:
    from psycopg.abc import Buffer, PQGen

    from emotape.errors import EmotapeError

PATIENCE: Final = 10.0
"""Seconds for an answer."""
COME_AGAIN: Final = 5.0
"""Seconds after which a database that is away may be back."""
_STATEMENT: Final = "8s"  # within `PATIENCE`, so that the server gives up first where it still can
_LOCK: Final = "5s"
_CONNECT: Final = 3  # seconds
_PASSING: Final = ("08", "25006", "40", "53300", "55P03", "57")
"""SQLSTATEs that another time may mend: connections, a replica that is no leader, conflicts, cancelled, shut down."""
_FULL: Final = ("53100", "53200", "54")


class Impatient(psycopg.Connection[dict[str, Any]]):
    """A connection that waits `patience` seconds for an answer, also when the server has stopped in its tracks."""

    patience = PATIENCE

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Run what talks to the server."""
        return super().wait(gen, interval, self.patience if timeout is None else timeout)


class _Text(StrDumperUnknown):
    """Text as PostgreSQL can hold it: not with a NUL, nor with half of a surrogate pair."""

    def dump(self, obj: str) -> Buffer | None:
        """Return the bytes of a text."""
        return obj.replace("\0", "\ufffd").encode("utf-8", "replace")


def connect(conninfo: str) -> Impatient:
    """Return a connection on which every statement is a transaction, unless one begins."""
    connection = Impatient.connect(conninfo, autocommit=True, row_factory=dict_row)
    configure(connection)
    return connection


def configure(connection: Impatient) -> None:
    """Have a connection take any text."""
    connection.adapters.register_dumper(str, _Text)


def database_fault(error: psycopg.Error, place: str) -> EmotapeError:
    """Return what a failure of the database means."""
    reason = " ".join(str(error).split()) or type(error).__name__
    state = error.sqlstate or ""
    if state.startswith(_FULL):
        return EngineFault("database_full", place=place, reason=reason)
    if state.startswith(_PASSING) or (not state and isinstance(error, psycopg.OperationalError)):
        return NotReady("database_unreachable", retry_after=COME_AGAIN, place=place, reason=reason)
    return EngineFault("database_failed", place=place, reason=reason)


def give_up(connection: Impatient) -> None:
    """End a transaction that failed; a connection in the middle of something is of no more use."""
    status = connection.pgconn.transaction_status
    if status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        try:
            connection.execute(b"ROLLBACK")
        except psycopg.Error:
            connection.close()
    elif status != TransactionStatus.IDLE:
        connection.close()


def conninfo_of(url: str) -> tuple[str, str]:
    """Return what to connect with, and what people call the place: never with a password.

    Raises BadRequest "bad_database_url".
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        given = None
    if given is None or not url.startswith(("postgresql://", "postgres://")):
        raise BadRequest("bad_database_url")  # what the parser says may hold the password
    own = f"-c search_path={SCHEMA} -c statement_timeout={_STATEMENT} -c lock_timeout={_LOCK}"
    own += " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    defaults: dict[str, Any] = {
        "connect_timeout": _CONNECT,
        "application_name": "emotape",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": int(1000 * PATIENCE),
    }
    options = f"{given.get('options') or ''} {own}".strip()
    conninfo = make_conninfo("", **{**defaults, **given, "options": options})
    host, port = given.get("host") or "localhost", given.get("port") or 5432
    return conninfo, f"{host}:{port}/{given.get('dbname') or ''}".rstrip("/")
