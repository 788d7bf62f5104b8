"""API keys: made once, shown once, kept as hashes in one file.

A key is 256 random bits, so that its plain SHA-256 gives nothing away: there is no dictionary to try.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock

from emotape.delivery.api.quota import LOCAL, Caller
from emotape.errors import BadRequest, Denied, NotFound

if TYPE_CHECKING:
    from pathlib import Path

PREFIX: Final = "emo_"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Key:
    """What is kept of a key: its SHA-256, and what it may use a minute (None: no limit)."""

    name: str
    sha256: str
    created: str
    requests: float | None = None
    audio_seconds: float | None = None

    @property
    def caller(self) -> Caller:
        """Return who shows this key."""
        return Caller(self.name, self.requests, self.audio_seconds)


def default_keys_file() -> Path:
    """Return where this user's keys are kept, by the platform's custom."""
    import platformdirs

    return platformdirs.user_data_path("emotape", appauthor=False) / "keys.json"


class KeyRing:
    """The keys of one file. Changes of the file, such as a revoked key, count from the next request on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: tuple[Key, ...] = ()

    def known(self) -> tuple[Key, ...]:
        """Return the keys there are. Raises BadRequest ("keys_file_unusable")."""
        with self._lock:
            now = _state(self.path)
            if now != self._seen:
                self._keys = () if now is None else _read(self.path)
                self._seen = now
            return self._keys

    def caller(self, shown: str | None) -> Caller:
        """Return who shows a key. Raises Denied ("key_missing", "key_wrong")."""
        if not shown:
            raise Denied("key_missing")
        digest = _digest(shown)
        # Every key is compared, and each in constant time: how long it takes tells nothing.
        matching = [key for key in self.known() if hmac.compare_digest(key.sha256, digest)]
        if not matching:
            raise Denied("key_wrong")
        return matching[0].caller

    def create(self, name: str, requests: float | None = None, audio_seconds: float | None = None) -> str:
        """Make a key, keep its hash, and return it. Raises BadRequest ("key_name_bad", "key_name_taken")."""
        if not _NAME.fullmatch(name) or name == LOCAL.id:
            raise BadRequest("key_name_bad", name=name)
        shown = PREFIX + secrets.token_urlsafe(32)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        with _editing(self.path):
            keys = self.known()
            if any(key.name == name for key in keys):
                raise BadRequest("key_name_taken", name=name)
            _write(self.path, (*keys, Key(name, _digest(shown), created, requests, audio_seconds)))
        return shown

    def revoke(self, name: str) -> None:
        """Forget a key. Raises NotFound ("key_unknown")."""
        with _editing(self.path):
            keys = self.known()
            left = tuple(key for key in keys if key.name != name)
            if left == keys:
                raise NotFound("key_unknown", name=name)
            _write(self.path, left)


def _digest(shown: str) -> str:
    return hashlib.sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()


def _state(path: Path) -> tuple[int, int, int] | None:
    with suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
    return None


def _read(path: Path) -> tuple[Key, ...]:
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["keys"]
        return tuple(Key(**entry) for entry in entries)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadRequest("keys_file_unusable", path=path, reason=str(error) or type(error).__name__) from error


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    """Replace the file in one step, readable by its owner alone."""
    text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=1, ensure_ascii=False) + "\n"
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _editing(path: Path) -> FileLock:
    """Return the lock under which the file is changed; its folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadRequest("keys_file_unusable", path=path, reason=str(error)) from error
    return FileLock(path.with_suffix(".lock"))
