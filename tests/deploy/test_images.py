"""The images: a linter has nothing to say, and they are made of what is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from emotape.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = ("Dockerfile.cpu", "Dockerfile.gpu")


def instructions(name: str) -> list[tuple[str, str]]:
    """Return a Dockerfile's instructions and their arguments, continued lines joined."""
    text = (ROOT / "deploy" / "docker" / name).read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line]


def arguments(name: str, instruction: str) -> list[str]:
    return [rest for word, rest in instructions(name) if word == instruction]


def environment(name: str) -> dict[str, str]:
    (text,) = arguments(name, "ENV")
    return dict(part.split("=", 1) for part in shlex.split(text))


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_has_nothing_to_say(name: str) -> None:
    linter = Path(sys.executable).parent / "hadolint"
    ran = subprocess.run([linter, ROOT / "deploy" / "docker" / name], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_at_most_one_rule_is_ignored_and_the_line_above_says_why(name: str) -> None:
    text = (ROOT / "deploy" / "docker" / name).read_text("utf-8")
    ignored = re.findall(r"^# [^\n]+\n# hadolint ignore=(\S+)$", text, re.MULTILINE)
    assert len(ignored) == text.count("hadolint ignore")
    assert ignored == ([] if name == "Dockerfile.cpu" else ["DL3008"])


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_is_there_and_the_builder_is_sent_it(name: str) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    sources = [part for rest in arguments(name, "COPY") if "--from" not in rest for part in rest.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert source.split("/")[0] in sent


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_package_comes_at_the_version_of_the_lock(name: str) -> None:
    installs = [
        part for rest in arguments(name, "RUN") for part in rest.split("&&") if " install " in part and "pip" in part
    ]
    assert installs
    for command in installs:
        assert "--no-cache-dir" in command
        assert "--constraint requirements.lock" in command or "--no-deps" in command
    (extras,) = {found for command in installs for found in re.findall(r"\.\[(.+?)\]", command)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"cluster", "otel"} <= set(extras.split(",")) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_base_is_a_full_version_and_one_that_a_builder_may_hold_by_its_digest(name: str) -> None:
    bases = {rest.split()[0] for rest in arguments(name, "FROM")}
    assert bases == {"${PYTHON_IMAGE}", "dependencies"}
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+", arguments(name, "ARG")[0])


@pytest.mark.parametrize("name", DOCKERFILES)
def test_it_runs_as_nobody_special_and_gets_its_signals(name: str) -> None:
    assert arguments(name, "USER") == ["10001:10001"]
    assert arguments(name, "ENTRYPOINT") == ['["emotape"]'], "no shell stands between a signal and emotape"
    assert arguments(name, "CMD") == ['["serve"]']
    (check,) = arguments(name, "HEALTHCHECK")
    assert "/readyz" in check
    assert str(Settings.model_fields["port"].default) in check
    assert arguments(name, "EXPOSE") == [str(Settings.model_fields["port"].default)]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_its_settings_exist_and_models_lie_outside(name: str) -> None:
    given = {
        key.removeprefix(PREFIX).lower(): value for key, value in environment(name).items() if key.startswith(PREFIX)
    }
    assert set(given) <= set(Settings.model_fields)
    (volumes,) = arguments(name, "VOLUME")
    assert f'"{given["models_folder"]}"' in volumes
    assert f'"{environment(name)["HOME"]}"' in volumes


def test_no_compiler_stays_in_the_image_for_processors() -> None:
    last = max(at for at, (word, _) in enumerate(instructions("Dockerfile.cpu")) if word == "FROM")
    final = [rest for _, rest in instructions("Dockerfile.cpu")[last:]]
    assert not any("apt-get" in rest or "gcc" in rest for rest in final)


def test_the_two_differ_only_in_torch_the_card_and_the_compiler() -> None:
    cpu, gpu = (dict.fromkeys(instructions(name)) for name in DOCKERFILES)
    unlike = {
        word for word, _ in [*(line for line in cpu if line not in gpu), *(line for line in gpu if line not in cpu)]
    }
    assert unlike <= {"ARG", "SHELL", "RUN", "COPY", "LABEL", "ENV"}
    same = {"USER", "ENTRYPOINT", "CMD", "HEALTHCHECK", "VOLUME", "WORKDIR", "EXPOSE", "STOPSIGNAL", "FROM"}
    assert not unlike & same
