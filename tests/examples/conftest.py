"""A reader's copy of the examples, on a machine where nothing was set and nothing was pulled."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder that stands for the reader's own, where Jupyter, too, keeps what it writes."""
    folder = tmp_path_factory.mktemp("home")
    places = {name: str(folder / name) for name in ("XDG_DATA_HOME", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR")}
    with pytest.MonkeyPatch.context() as patch:
        for name, place in {**places, "IPYTHONDIR": str(folder / "ipython"), "JUPYTER_PLATFORM_DIRS": "1"}.items():
            patch.setenv(name, place)
        yield folder


@pytest.fixture(scope="module")
def desk(home: Path) -> Path:
    """Return a copy of the examples to work in."""
    left = shutil.ignore_patterns("outputs", ".*")
    return Path(shutil.copytree(EXAMPLES, home / "examples", ignore=left))


@pytest.fixture(scope="module")
def settings(home: Path) -> dict[str, str]:
    """Return the environment of the reader, who knows neither pytest nor our settings."""
    foreign = ("EMOTAPE_", "PYTEST_", "MPLBACKEND")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
