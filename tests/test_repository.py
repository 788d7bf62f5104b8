"""What stands in the repository beside the code holds together: the lock, the scripts, the READMEs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import soundfile
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.zh.md")


def requirements() -> list[Requirement]:
    """Return every dependency of pyproject.toml, of all extras, except emotape itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != "emotape"]


def pins() -> dict[str, list[Requirement]]:
    """Return the lines of the lock by package."""
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: str(requirement.name))
def test_every_dependency_is_pinned_within_its_range_and_justified(requirement: Requirement) -> None:
    locked = pins()[canonicalize_name(requirement.name)]
    for pin in locked:
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert requirement.specifier.contains(exact.version)
    assert f"| {requirement.name} |" in (ROOT / "docs" / "dependencies.md").read_text()


def test_the_lock_names_no_place_to_fetch_from() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-", text, re.MULTILINE), "no options: a mirror is the user's own choice"


def test_the_lock_has_one_version_of_everything_for_each_python() -> None:
    for minor in (11, 12, 13):
        environment = {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.4"}
        for name, lines in pins().items():
            fitting = [pin for pin in lines if pin.marker is None or pin.marker.evaluate(environment)]
            assert len(fitting) <= 1, (name, minor)


@pytest.mark.parametrize("script", ["run.sh", "test.sh", ".ci/run", "scripts/lock.sh", "scripts/python.sh"])
def test_the_scripts_are_valid_and_can_be_run(script: str) -> None:
    path = ROOT / script
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert os.access(path, os.X_OK) or script.endswith("python.sh")


def blocks(readme: str, language: str) -> list[str]:
    """Return the code blocks of one language."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the recording that the READMEs speak of."""
    import emotape

    made = tmp_path_factory.mktemp("reader")
    samples, rate = soundfile.read(Path(emotape.__file__).parent / "samples" / "angry.opus")
    soundfile.write(made / "speech.wav", samples, rate)
    return made


def reader(folder: Path) -> dict[str, str]:
    """Return the environment of a reader who has set nothing and pulled nothing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EMOTAPE_")}
    return kept | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "PYTHONIOENCODING": "utf-8"}


@pytest.mark.slow
def test_the_python_example_runs(folder: Path) -> None:
    (example,) = blocks("README.md", "python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=folder,
        env=reader(folder),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\w+ 0\.\d+ \(Segment\(", done.stdout)


def commands() -> list[str]:
    """Return the lines of the README that call `emotape`."""
    lines = [line for block in blocks("README.md", "bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("emotape ")]


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_the_commands_of_the_readme_run(command: str, folder: Path) -> None:
    words = command.split("  #", maxsplit=1)[0].split()
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=reader(folder),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_both_readmes_show_the_same_code_and_the_same_parts() -> None:
    for language in ("bash", "python", "console"):
        english, chinese = ([re.sub(r"#.*", "", block) for block in blocks(readme, language)] for readme in READMES)
        assert english == chinese
    english, chinese = (
        re.findall(r"^#+", (ROOT / readme).read_text(encoding="utf-8"), re.MULTILINE) for readme in READMES
    )
    assert english == chinese


@pytest.mark.parametrize("document", [*READMES, *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_every_link_to_a_file_leads_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_licences_are_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    weights = (ROOT / "src" / "emotape" / "bundled" / "LICENSE.weights").read_text()
    for source in ("CC BY-SA 4.0", "EMO-DB", "EmoGator", "Asterisk", "Whisper"):
        assert source in weights


def test_the_scripts_need_bash_and_python_alone() -> None:
    assert shutil.which("bash")
    source = (ROOT / "scripts" / "environment.py").read_text()
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", source, re.MULTILINE))
    assert imported <= sys.stdlib_module_names
