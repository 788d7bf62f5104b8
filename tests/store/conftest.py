"""Both hubs on this machine, and clients that give up soon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.store.checkpoint import official_files
from tests.store.hub_server import LocalHub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def checkpoint() -> dict[str, bytes]:
    """Give a small random checkpoint in the official layout, 3 MB of which only training needs."""
    return official_files(ballast=750_000)


@pytest.fixture
def hub(checkpoint: dict[str, bytes]) -> Iterator[LocalHub]:
    with LocalHub(dict(checkpoint)) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def isolated_clients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this machine's proxies, tokens and home from the clients, and make them impatient."""
    from huggingface_hub import constants
    from modelscope_hub import _download, _legacy_api

    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home" / ".modelscope"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)  # so that less than 10 MB can be continued
    monkeypatch.setattr(_legacy_api, "REPO_TREE_PAGE_MAX_ATTEMPTS", 1)
    monkeypatch.setattr(_download, "DOWNLOAD_RETRY_TIMES", 0)
