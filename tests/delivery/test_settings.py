"""Settings: one declaration, four places to set them, an order among these, and no mistake in silence."""

from __future__ import annotations

import errno
import tomllib
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emotape import settings as module
from emotape.delivery.cli import app
from emotape.errors import BadRequest
from emotape.settings import Settings, documentation, read_settings, recognizer_options, variable

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, with a user's configuration folder beside it, and no variables."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for key in Settings.model_fields:
        monkeypatch.delenv(variable(key), raising=False)
    return tmp_path


def write_user_file(text: str) -> None:
    user = module.settings_files()[1]
    user.parent.mkdir(parents=True, exist_ok=True)
    user.write_text(text, "utf-8")


def test_flag_beats_environment_beats_folder_beats_user_beats_default(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [read_settings().port]
    write_user_file("port = 1")
    found.append(read_settings().port)
    Path("emotape.toml").write_text("port = 2", "utf-8")
    found.append(read_settings().port)
    monkeypatch.setenv("EMOTAPE_PORT", "3")
    found.append(read_settings().port)
    found.append(read_settings(port=4).port)
    assert found == [7860, 1, 2, 3, 4]


def test_a_flag_that_was_not_given_overrides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTAPE_MODEL", "plus-base")
    assert read_settings(model=None).model == "plus-base"


def test_an_unknown_key_is_refused_with_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("emotape.toml").write_text('langauge = "zh"', "utf-8")
    with pytest.raises(BadRequest, match=r"langauge.*emotape\.toml.*Did you mean language"):
        read_settings()
    Path("emotape.toml").unlink()
    monkeypatch.setenv("EMOTAPE_DEVISE", "cpu")
    with pytest.raises(BadRequest, match=r"devise.*Did you mean device"):
        read_settings()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", "70000"),
        ("language", "fr"),
        ("threads", "0"),
        ("max_bytes", "all"),
        ("dtype", "f8"),
        ("offload", "-1"),
        ("offload", "all"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, key: str, value: str) -> None:
    monkeypatch.setenv(variable(key), value)
    with pytest.raises(BadRequest) as caught:
        read_settings()
    assert caught.value.code == "bad_setting"
    assert value in caught.value.text("zh").message
    assert variable(key) in caught.value.text("zh").cure


@pytest.mark.parametrize("key", Settings.model_fields)
def test_what_is_wrong_with_a_value_is_said_in_both_languages(key: str) -> None:
    """No kind of value that TOML has, in no field, is answered in pydantic's English alone."""
    refused = []
    for value in ("", "x", -1, 10**9, 1.5, 10**30, "9" * 5000, float("inf"), True, [1], {"a": 1}, date.min):
        try:
            read_settings(**{key: value})
        except BadRequest as error:
            refused.append(error)
    assert refused
    assert {error.code for error in refused} == {"bad_setting"}
    assert all(error.text("en").cause.startswith("It must be ") for error in refused)
    assert all(error.text("zh").cause.startswith("该值") for error in refused)


@pytest.mark.parametrize(
    ("key", "value", "cause"),
    [
        ("port", "70000", "该值不得大于 65535。"),
        ("keep_hours", "-1", "该值不得小于 0。"),
        ("max_bytes", "0", "该值必须大于 0。"),
        ("language", "fr", "该值只能是：en, zh。"),
        ("dtype", "f8", "该值只能是：auto, float32, bfloat16, float16, float8, int8。"),
        ("threads", "two", "该值必须是整数。"),
    ],
)
def test_the_cause_names_the_bound_or_the_choices(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, cause: str
) -> None:
    monkeypatch.setenv(variable(key), value)
    with pytest.raises(BadRequest) as caught:
        read_settings()
    assert caught.value.text("zh").cause == cause


def test_where_an_unknown_variable_stands_is_said_in_the_users_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTAPE_DEVISE", "cpu")
    with pytest.raises(BadRequest) as caught:
        read_settings()
    assert "环境变量" in caught.value.text("zh").message


def test_a_file_that_cannot_be_opened_is_not_told_to_be_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is closed to root, so that the system refuses is put on."""
    Path("emotape.toml").write_text("port = 1", "utf-8")

    def refusing(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refusing)
    with pytest.raises(BadRequest, match=r"\[unreadable\] emotape\.toml .*Permission denied"):
        read_settings()


def test_a_file_that_is_not_toml_is_refused_by_name() -> None:
    Path("emotape.toml").write_text("port: 1", "utf-8")
    with pytest.raises(BadRequest, match=r"bad_settings_file.*emotape\.toml"):
        read_settings()


def test_settings_cannot_be_changed_once_read() -> None:
    settings = read_settings()
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "port", 1)  # noqa: B010 - the type checker refuses the plain way


def test_paths_may_begin_with_a_tilde(places: Path) -> None:
    assert read_settings(models_folder="~/models").models_folder == places / "models"


def test_every_limit_and_engine_setting_reaches_the_recognizer() -> None:
    chosen = read_settings(
        device="cpu", dtype="bfloat16", threads=3, queue_seconds=9.0, max_bytes=5, max_seconds=6.0, max_channels=7,
        offload=2,
    )  # fmt: skip
    options = recognizer_options(chosen)
    assert (options.decode.bytes, options.decode.seconds, options.decode.channels) == (5, 6.0, 7)
    engine = options.engine
    assert (engine.device, engine.dtype, engine.compute_threads, engine.queue_seconds) == ("cpu", "bfloat16", 3, 9.0)
    assert engine.offload == 2


def test_the_document_is_the_declaration() -> None:
    assert DOCUMENT.read_text("utf-8") == documentation(), "write emotape.settings.documentation() to docs/settings.md"


def test_the_command_prints_settings_that_read_back_as_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTAPE_MODEL", 'a "quoted" name')
    monkeypatch.setenv("EMOTAPE_KEEP_HOURS", "1.5")
    printed = CliRunner().invoke(app, ["settings"]).stdout
    monkeypatch.delenv("EMOTAPE_MODEL")
    monkeypatch.delenv("EMOTAPE_KEEP_HOURS")
    assert tomllib.loads(printed)["model"] == 'a "quoted" name'
    Path("emotape.toml").write_text(printed, "utf-8")
    assert read_settings().keep_hours == 1.5
