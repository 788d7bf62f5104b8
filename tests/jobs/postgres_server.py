"""A real PostgreSQL that tests start, stop, stall and kill: of this session alone, on a port of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from tests.store.redis_server import free_port

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable

_TUNING: Final = ("fsync=off", "max_connections=100", "shared_buffers=32MB", "listen_addresses=127.0.0.1")
_TABLES: Final = ("jobs", "uploads", "history")


def binary(name: str) -> str | None:
    """Return where a program of PostgreSQL lies: on the path, or where Debian puts it."""
    beside = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *beside)))


needs_postgres = pytest.mark.skipif(binary("initdb") is None, reason="postgresql is not installed")


class PostgresServer:
    """One server with one database; it refuses to run as root, so that root lends it another user."""

    def __init__(self, folder: Path) -> None:
        self._data, self._log = folder / "data", folder / "postgres.log"
        self._user = _user()
        if self._user is not None:
            shutil.chown(folder, self._user)
            folder.chmod(0o755)
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._guard = self._watched(folder)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Start, and wait until it answers."""
        words = " ".join(f"-c {each}" for each in (*_TUNING, f"port={self.port}", "unix_socket_directories=''"))
        self._run("pg_ctl", "start", "-D", str(self._data), "-l", str(self._log), "-o", words, "-w")

    def stop(self, mode: str = "fast") -> None:
        """Stop in one of its modes; "immediate" is a crash."""
        if self.is_up:
            self._run("pg_ctl", "stop", "-D", str(self._data), "-m", mode, "-w")

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return (self._data / "postmaster.pid").exists()

    def close(self) -> None:
        """End it, however it is."""
        self._guard.communicate()

    def stall(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        postmaster = int((self._data / "postmaster.pid").read_text("ascii").splitlines()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text("ascii").split()
        for process in (postmaster, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def ask(self, statement: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement on a connection of its own; return its rows."""
        options = "-c search_path=emotape"
        with psycopg.connect(self.url, autocommit=True, options=options) as connection:
            cursor = connection.execute(statement.encode(), tuple(values))
            return cursor.fetchall() if cursor.description else []

    def cut(self, member: str) -> None:
        """End the session that stands for a process, as the server does when the process or the way to it is gone."""
        lock = "locktype = 'advisory' AND classid = %s AND objid = %s"
        key = divmod(int(member, 16), 2**32)
        self.ask(f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE {lock}", key)  # noqa: S608
        while self.ask(f"SELECT 1 FROM pg_locks WHERE {lock}", key):  # noqa: S608 - the test's own time limit ends this
            pass

    def clear(self) -> None:
        """Empty all tables, and begin to count anew."""
        if self.ask("SELECT to_regclass('emotape.jobs') IS NOT NULL")[0][0]:
            self.ask(f"TRUNCATE {', '.join(_TABLES)} RESTART IDENTITY CASCADE")

    def _watched(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start what ends the server when this process closes the pipe, or is killed."""
        stop = f'cat; "{binary("pg_ctl")}" stop -D "{self._data}" -m immediate; rm -rf "{folder}/"*'
        nothing = subprocess.DEVNULL
        words = ["sh", "-c", stop]
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=nothing,
            stderr=nothing,
            user=self._user,
            cwd="/",
            start_new_session=True,
        )

    def _run(self, program: str, *words: str) -> None:
        found = binary(program)
        assert found is not None
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - a server keeps what its starter gave it
            subprocess.run([found, *words], check=True, user=self._user, stdout=nothing, stderr=nothing, cwd="/")


def _user() -> str | None:
    """Return whom to run as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return None
