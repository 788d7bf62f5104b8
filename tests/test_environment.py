"""scripts/environment.py on a project of its own: it builds once, mends what is broken, and says what is missing.

The project brings its own build backend, so that pip needs no package index.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="run.sh and test.sh are for POSIX systems"),
]

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "emotape"
version = "1"
"""
BACKEND = """
import pathlib
import zipfile


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    here = pathlib.Path(__file__).parent
    with (here / "builds.log").open("a") as log:
        log.write("built\\n")
    name = "emotape-1-py3-none-any.whl"
    metadata = "Metadata-Version: 2.1\\nName: emotape\\nVersion: 1\\nProvides-Extra: serve\\nProvides-Extra: dev\\n"
    files = {
        "emotape_editable.pth": str(here),
        "emotape-1.dist-info/METADATA": metadata + (here / "needs.txt").read_text(),
        "emotape-1.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "emotape-1.dist-info/entry_points.txt": "[console_scripts]\\nemotape = emotape_command:main\\n",
    }
    record = "".join(f"{path},,\\n" for path in files)
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr("emotape-1.dist-info/RECORD", record + "emotape-1.dist-info/RECORD,,\\n")
    return name
"""
COMMAND = """
import os
import re
import sys


def main():
    print(sys.argv[1:], sorted(name for name in os.environ if name.startswith("EMOTAPE_")))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("run.sh", "scripts/environment.py", "scripts/python.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "requirements.lock").write_text("torch==2.13.0\n")
    (tmp_path / "backend.py").write_text(BACKEND)
    (tmp_path / "emotape_command.py").write_text(COMMAND)
    (tmp_path / "needs.txt").write_text("")
    return tmp_path


def start(project: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EMOTAPE_", "PYTHON"))}
    return subprocess.Popen(
        [*command],
        cwd=project,
        env=kept | {"EMOTAPE_PYTHON": sys.executable, "EMOTAPE_TORCH_INDEX": ""} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def build(project: Path, *extras: str, **environment: str) -> tuple[int, str]:
    process = start(project, sys.executable, "scripts/environment.py", *extras, **environment)
    _, said = process.communicate()
    return process.returncode, said


def builds(project: Path) -> int:
    return (project / "builds.log").read_text().count("built")


def test_two_runs_at_once_build_one_environment_and_a_later_run_nothing(project: Path) -> None:
    both = [start(project, "bash", "run.sh", "--port", "8000", EMOTAPE_TORCH_INDEX="") for _ in range(2)]
    for process in both:
        printed, said = process.communicate()
        assert process.returncode == 0, said
        assert printed == "['serve', '--port', '8000'] []\n"
    printed, said = start(project, "bash", "run.sh").communicate()
    assert printed == "['serve'] []\n"
    assert said == ""
    assert builds(project) == 1


@pytest.mark.parametrize("locale", ["C", "zh_CN.nowhere"])
def test_a_checkout_under_a_chinese_name_with_a_space_starts_in_any_locale(
    project: Path, tmp_path_factory: pytest.TempPathFactory, locale: str
) -> None:
    moved = tmp_path_factory.mktemp("reader") / "情感 识别"
    shutil.copytree(project, moved)
    for _ in range(2):  # built, and found
        printed, said = start(moved, "bash", "run.sh", LC_ALL=locale, EMOTAPE_TORCH_INDEX="").communicate()
        assert printed == "['serve'] []\n", said


def test_what_is_missing_is_added_and_what_broke_off_is_built_anew(project: Path) -> None:
    assert build(project, "serve")[0] == 0
    leftover = project / ".venv" / "leftover"
    leftover.touch()
    assert build(project, "dev")[0] == 0
    assert leftover.exists(), "an added extra needs no new environment"
    assert build(project, "serve")[0] == 0
    assert builds(project) == 2, "[dev] holds [serve]"
    (project / ".venv" / "emotape-stamp.json").unlink()  # as when pip was killed
    status, said = build(project, "serve")
    assert status == 0
    assert not leftover.exists()
    assert "重新创建" in said


def test_the_environment_is_built_anew_exactly_when_what_it_was_made_from_changes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = runpy.run_path(str(project / "scripts" / "environment.py"))
    before = module["fingerprint"](project)
    assert module["fingerprint"](project) == before
    (project / "README.md").write_text("changed")
    assert module["fingerprint"](project) == before
    with (project / "requirements.lock").open("a") as lock:
        lock.write("numpy==2.4.6\n")
    locked = module["fingerprint"](project)
    monkeypatch.setenv("EMOTAPE_TORCH_INDEX", "https://example.org/simple")
    assert len({before, locked, module["fingerprint"](project)}) == 3


@pytest.mark.parametrize(
    ("platform", "driver", "index", "expected"),
    [
        ("linux", False, None, ["--extra-index-url", "PROCESSOR_BUILDS"]),
        ("linux", True, None, []),
        ("darwin", False, None, []),
        ("linux", False, "https://example.org/simple", ["--index-url", "https://example.org/simple"]),
        ("linux", False, "", []),
    ],
)
def test_pytorch_comes_without_what_cards_need_where_there_is_none(
    project: Path, monkeypatch: pytest.MonkeyPatch, platform: str, driver: bool, index: str | None, expected: list[str]
) -> None:
    source = runpy.run_path(str(project / "scripts" / "environment.py"))["torch_source"]
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setitem(
        source.__globals__, "DRIVERS", (str(project / "nowhere"), str(project / ("run.sh" if driver else "none")))
    )
    monkeypatch.setitem(source.__globals__, "PROCESSOR_BUILDS", "PROCESSOR_BUILDS")
    monkeypatch.delenv("EMOTAPE_TORCH_INDEX", raising=False)
    if index is not None:
        monkeypatch.setenv("EMOTAPE_TORCH_INDEX", index)
    assert source() == expected


@pytest.mark.parametrize("is_reachable", [True, False])
def test_builds_for_processors_are_taken_where_they_can_be_reached(
    project: Path, tmp_path_factory: pytest.TempPathFactory, is_reachable: bool
) -> None:
    """They win over the same version without a suffix; where they cannot be reached, that one is taken."""
    usual, special = tmp_path_factory.mktemp("usual"), tmp_path_factory.mktemp("special") / "torch"
    special.mkdir()
    write_torch(usual, "2.13.0")
    write_torch(special, "2.13.0+cpu")
    script = project / "scripts" / "environment.py"
    place = special.parent.as_uri() if is_reachable else "http://127.0.0.1:9/simple"
    text = script.read_text(encoding="utf-8").replace("https://download.pytorch.org/whl/cpu", place)
    script.write_text(re.sub(r"DRIVERS = .*", "DRIVERS = ()", text), encoding="utf-8")
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PIP_INDEX_URL": project.as_uri()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EMOTAPE_", "PIP_"))}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=kept | pip | {"PIP_FIND_LINKS": str(usual)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (found,) = (project / ".venv").glob("lib/python*/site-packages/torch-*.dist-info")
    assert found.name == ("torch-2.13.0+cpu.dist-info" if is_reachable else "torch-2.13.0.dist-info")


def write_torch(folder: Path, version: str) -> None:
    """Write a wheel of that name, with nothing in it, and a page of an index that names it."""
    wheel, inside = folder / f"torch-{version}-py3-none-any.whl", f"torch-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr(f"{inside}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        packed.writestr(f"{inside}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{inside}/RECORD", "")
    (folder / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">{wheel.name}</a>')


def test_an_index_that_cannot_be_reached_is_called_so(project: Path) -> None:
    (project / "needs.txt").write_text("Requires-Dist: a-package-that-nobody-has\n")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    status, said = build(project, "serve", **nowhere, PIP_EXTRA_INDEX_URL="", PIP_FIND_LINKS="")
    assert status == 1
    assert "cannot be reached" in said, said
    assert "无法连接" in said
    assert "Traceback" not in said


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="no place that is closed to root, too")
def test_a_checkout_that_cannot_be_written_is_called_so(project: Path) -> None:
    (project / ".venv.lock").symlink_to("/sys/kernel/emotape")
    status, said = build(project, "serve")
    assert status == 1
    assert "cannot be written" in said, said
    assert "无法写入" in said
    assert "Traceback" not in said


def test_another_failure_of_pip_shows_its_words(project: Path) -> None:
    (project / "backend.py").write_text("raise RuntimeError('no space in the tent')\n")
    status, said = build(project, "serve")
    assert status == 1
    assert "no space in the tent" in said
    assert "安装失败" in said


def test_a_python_that_is_too_old_is_refused_in_both_languages(project: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for name in ("python3", "python"):
        (old / name).write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
        (old / name).chmod(0o755)
    bash = shutil.which("bash") or "bash"
    dirname = shutil.which("dirname")
    assert dirname is not None
    (old / "dirname").symlink_to(dirname)
    process = start(project, bash, "run.sh", EMOTAPE_PYTHON="", PATH=str(old))
    _, said = process.communicate()
    assert process.returncode == 1
    assert "needs Python 3.11" in said
    assert "需要 Python 3.11" in said
    assert "3.9.2" in said
