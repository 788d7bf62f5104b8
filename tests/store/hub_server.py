"""A local server that speaks both hubs' protocols, as their client libraries use them.

Hugging Face (huggingface_hub 2.4)
    GET /api/models/{repository}/revision/{revision}?blobs=true  sizes, Git names, SHA-256 of LFS files
    GET /{repository}/resolve/{revision}/{file}                  the file, or for LFS a redirect to a CDN
    an unknown repository is answered with 401 and `X-Error-Code: RepoNotFound`
ModelScope (modelscope_hub 0.5)
    GET /api/v1/models/{repository}/repo/files?Revision=…        sizes and SHA-256
    GET /api/v1/models/{repository}/repo?Revision=…&FilePath=…   the file, or for LFS a redirect to a CDN
    GET /api/v1/repos/internalAccelerationInfo                   whether the client is in the same data centre
both
    GET /cdn/{sha256}                                            honours `Range: bytes=N-` and `bytes=N-M`
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
_LFS: Final = (".pt", ".bin")


@dataclass(frozen=True)
class Request:
    """What a client asked for; the header names are in lower case."""

    path: str
    headers: Mapping[str, str]


@dataclass
class Trouble:
    """What the server does wrong.

    `status` answers everything with that status. `cut_after` breaks the connection after that many bytes of
    an LFS file, and every later request for it is answered with status 503 until the trouble is over.
    `announced` replaces the SHA-256 of LFS files in the listings, `sizes` their size. Without `ranges` the
    CDN always sends the whole file. With `endless` it goes on sending until nobody reads any more.
    """

    status: int | None = None
    cut_after: int | None = None
    announced: str | None = None
    sizes: int | None = None
    ranges: bool = True
    endless: bool = False
    was_cut: bool = False


@dataclass
class LocalHub:
    """A hub on 127.0.0.1 with one repository under any name of `repositories`; a context manager."""

    files: dict[str, bytes]
    repositories: tuple[str, ...] = ("emotion2vec/emotion2vec_plus_large", "iic/emotion2vec_plus_large")
    trouble: Trouble = field(default_factory=Trouble)
    requests: list[Request] = field(default_factory=list)
    gate: threading.Event | None = None  # downloads wait for it

    def __enter__(self) -> Self:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The endpoint to give to a client."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def asked(self, part: str) -> list[Request]:
        """Return the requests whose path contains `part`."""
        return [request for request in self.requests if part in request.path]


def sha256(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def git_name(content: bytes) -> str:
    """Return the name that Git gives a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Stay silent."""

    def _answer(self, *, body: bool) -> None:
        self._body = body
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.path, headers))
        url = urlsplit(self.path)
        query = {name.lower(): values[0] for name, values in parse_qs(url.query).items()}
        if self.hub.trouble.status is not None:
            return self._json({"error": "trouble"}, self.hub.trouble.status)
        for pattern, answer in _ROUTES:
            match = re.fullmatch(pattern, unquote(url.path))
            if match and match.groupdict().get("repository") in (None, *self.hub.repositories):
                return answer(self, **(query | match.groupdict()))
        if url.path.startswith("/api/v1/"):
            return self._json({"Code": 10010205001, "Message": "record not found", "Success": False}, 404)
        return self._json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})

    # Hugging Face

    def _huggingface_info(self, repository: str, **_: str) -> None:
        siblings = [
            {"rfilename": name, "size": self._size(name), "blobId": git_name(content)}
            | (
                {"lfs": {"sha256": self._announced(name), "size": self._size(name), "pointerSize": 135}}
                if _is_lfs(name)
                else {}
            )
            for name, content in self.hub.files.items()
        ]
        self._json({"id": repository, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings})

    def _huggingface_file(self, file: str, **_: str) -> None:
        commit = {"X-Repo-Commit": COMMIT}
        if _is_lfs(file):
            linked = {"X-Linked-Etag": f'"{self._announced(file)}"', "X-Linked-Size": str(self._size(file))}
            xet = {"X-Xet-Hash": "0" * 64, "Link": f'<{self.hub.url}/api/xet>; rel="xet-auth"'}
            return self._redirect_to_cdn(file, commit | linked | xet)
        return self._small(file, commit | {"ETag": f'"{git_name(self.hub.files.get(file, b""))}"'})

    # ModelScope

    def _modelscope_files(self, **_: str) -> None:
        files = [
            {
                "Path": name,
                "Name": name,
                "Type": "blob",
                "Size": self._size(name),
                "Sha256": self._announced(name) if _is_lfs(name) else sha256(content),
                "IsLFS": _is_lfs(name),
                "Revision": COMMIT,
            }
            for name, content in self.hub.files.items()
        ]
        self._json({"Code": 200, "Success": True, "Data": {"Files": files}})

    def _modelscope_file(self, filepath: str, **_: str) -> None:
        if _is_lfs(filepath):
            return self._redirect_to_cdn(filepath, {})
        return self._small(filepath, {})

    def _modelscope_region(self, **_: str) -> None:
        self._json({"Code": 200, "Success": True, "Data": {"InternalRegionQueryAddress": ""}})

    # both

    def _cdn(self, digest: str, **_: str) -> None:
        if self.hub.gate is not None:
            self.hub.gate.wait()
        trouble = self.hub.trouble
        if trouble.was_cut:
            return self._json({"error": "Service Unavailable"}, 503)
        if trouble.endless:
            return self._never_end()
        content = next(content for content in self.hub.files.values() if sha256(content) == digest)
        asked = self.headers.get("Range") if trouble.ranges else None
        first, last = _byte_range(asked, len(content))
        part = content[first : last + 1]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if trouble.cut_after is not None:
            trouble.was_cut = True
            part = part[: trouble.cut_after]
            self.close_connection = True
        self._write(part)
        return None

    def _never_end(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            while True:
                self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    def _small(self, file: str, headers: dict[str, str]) -> None:
        if file not in self.hub.files:
            return self._json({"error": "Entry not found"}, 404)
        content = self.hub.files[file]
        self.send_response(200)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        return self._write(content)

    def _redirect_to_cdn(self, file: str, headers: dict[str, str]) -> None:
        self.send_response(302)
        location = f"{self.hub.url}/cdn/{sha256(self.hub.files[file])}"
        for name, value in (headers | {"Location": location, "Content-Length": "0"}).items():
            self.send_header(name, value)
        self.end_headers()

    def _json(self, content: object, status: int = 200, more: Mapping[str, str] | None = None) -> None:
        encoded = json.dumps(content).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(encoded)), **(more or {})}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._write(encoded)

    def _write(self, content: bytes) -> None:
        if self._body:
            self.wfile.write(content)

    def _announced(self, name: str) -> str:
        return self.hub.trouble.announced or sha256(self.hub.files[name])

    def _size(self, name: str) -> int:
        wrong = self.hub.trouble.sizes
        return wrong if wrong is not None and _is_lfs(name) else len(self.hub.files[name])


_REPOSITORY: Final = r"(?P<repository>[^/]+/[^/]+)"
_ROUTES: Final = (
    (rf"/api/models/{_REPOSITORY}/revision/(?P<revision>.+)", _Handler._huggingface_info),
    (rf"/{_REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", _Handler._huggingface_file),
    (rf"/api/v1/models/{_REPOSITORY}/repo/files", _Handler._modelscope_files),
    (rf"/api/v1/models/{_REPOSITORY}/repo", _Handler._modelscope_file),
    (r"/api/v1/repos/internalAccelerationInfo", _Handler._modelscope_region),
    (r"/cdn/(?P<digest>[0-9a-f]{64})", _Handler._cdn),
)


def _is_lfs(name: str) -> bool:
    return name.endswith(_LFS)


def _byte_range(header: str | None, length: int) -> tuple[int, int]:
    """Return the first and the last byte of a Range header; the whole without one."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", header or "bytes=0-")
    if match is None:
        raise ValueError(header)
    return int(match[1]), min(int(match[2] or length - 1), length - 1)
