"""Which model a name means, and what is listed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.store.checkpoint import official_files

from emotape.errors import ModelFault
from emotape.model.weights import convert, load, verify
from emotape.store.catalogue import BUNDLED_FOLDER, KNOWN, bundled_model, find_known, list_models, resolve
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.store.catalogue import Listing


def lay(directory: Path, seed: int = 0) -> Path:
    """Put an official download into `directory`."""
    directory.mkdir(parents=True)
    for name, content in official_files(seed).items():
        (directory / name).write_bytes(content)
    return directory


def listed(folder: Path) -> dict[str, Listing]:
    return {listing.name: listing for listing in list_models(folder)}


def test_the_bundled_model_is_whole_experimental_and_the_default_of_an_empty_folder(folder: Path) -> None:
    entry = resolve(None, folder)
    assert entry == bundled_model() == resolve(entry.name, folder)
    assert entry.experimental
    assert entry.origin == "bundled"
    verdict = verify(entry.path)
    assert verdict.ok
    assert verdict.expected == verdict.digest == entry.digest


def test_the_large_model_is_the_default_where_it_is_present(folder: Path, tmp_path: Path) -> None:
    convert(lay(tmp_path / "download"), folder / "plus-large")
    entry = resolve(None, folder)
    assert (entry.name, entry.path, entry.experimental) == ("plus-large", folder / "plus-large", False)
    assert listed(folder)["plus-large"].default
    assert not listed(folder)[bundled_model().name].default


@pytest.mark.parametrize("model", [None, "plus-large", "mine", "FOLDER"])
def test_a_folder_that_may_not_be_entered_is_named(model: str | None, tmp_path: Path) -> None:
    """It is no missing model. Nothing is closed to root; a name that is too long is refused to everybody."""
    closed = tmp_path / ("x" * 300)
    with pytest.raises(ModelFault) as caught:
        resolve(closed if model == "FOLDER" else model, closed)
    assert caught.value.code == "model_folder_closed"
    assert f"{closed} " in caught.value.text().message


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_a_published_model_is_found_by_its_name_and_by_its_hub_ids(known: object, folder: Path) -> None:
    assert known in KNOWN
    found = {find_known(name) for name in (known.name, known.huggingface, known.modelscope)}
    assert found == {known}
    with pytest.raises(ModelFault, match="model_not_pulled") as caught:
        resolve(known.modelscope, folder)
    for language in ("en", "zh"):
        assert f"emotape models pull {known.name}" in caught.value.text(language).cure


def test_a_folder_in_the_models_folder_is_found_by_its_name(folder: Path, tmp_path: Path) -> None:
    convert(lay(tmp_path / "download"), folder / "call-centre")
    assert resolve("call-centre", folder).path == folder / "call-centre"
    assert listed(folder)["call-centre"].state == "installed"


@pytest.mark.parametrize("converted", [False, True])
def test_a_path_means_the_directory_whether_official_or_converted(converted: bool, tmp_path: Path) -> None:
    directory = lay(tmp_path / "download")
    if converted:
        convert(directory, tmp_path / "converted")
        directory = tmp_path / "converted"
    for named in (directory, str(directory)):
        entry = resolve(named)
        assert (entry.path, entry.origin) == (directory, "folder")
        assert load(entry.path).labels


def test_a_name_counts_before_a_folder_of_that_name_here(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(lay(tmp_path / "download"), folder / "plus-large")
    lay(tmp_path / "here" / "plus-large", seed=1)
    monkeypatch.chdir(tmp_path / "here")
    assert resolve("plus-large", folder).path == folder / "plus-large"
    assert resolve("./plus-large", folder).path == tmp_path / "here" / "plus-large"


@pytest.mark.parametrize("named", ["plus-gigantic", "", "~nobody", "..", "no/such/folder", Path("no-such-folder")])
def test_what_is_not_there_is_said_to_be_missing(named: str | Path, folder: Path) -> None:
    with pytest.raises(ModelFault) as caught:
        resolve(named, folder)
    assert caught.value.code in ("model_not_found", "model_missing")
    assert "emotape models pull plus-large" in caught.value.text().cure


def test_the_list_holds_what_is_here_and_what_can_be_pulled(folder: Path, tmp_path: Path) -> None:
    convert(lay(tmp_path / "download"), folder / "plus-base")
    (folder / ".partial" / "plus-seed-0123").mkdir(parents=True)
    (folder / ".partial" / "plus-seed-0123" / "config.yaml").write_text("")
    states = {name: listing.state for name, listing in listed(folder).items()}
    assert states == {
        bundled_model().name: "bundled",
        "plus-base": "installed",
        "plus-large": "available",
        "plus-seed": "available",
        "base": "available",
    }
    on_disk = sum(path.stat().st_size for path in (folder / "plus-base").iterdir())
    assert listed(folder)["plus-base"].bytes == on_disk


def test_every_listed_model_says_what_it_is_in_both_languages(folder: Path) -> None:
    for listing in list_models(folder):
        assert listing.summary("en")
        assert listing.summary("zh") != listing.summary("en")
    assert interface_text("catalogue_base", "zh")


def test_a_damaged_note_keeps_no_model_from_being_listed(folder: Path, tmp_path: Path) -> None:
    convert(lay(tmp_path / "download"), folder / "plus-large")
    (folder / "plus-large" / "emotape.json").write_text("{")
    assert resolve(None, folder).digest is None
    assert listed(folder)["plus-large"].state == "installed"


def test_replacing_the_bundled_model_is_replacing_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match="bundled_model_unclear"):
        bundled_model(tmp_path)
    convert(lay(tmp_path / "download"), tmp_path / "bundled" / "better-v1")
    entry = bundled_model(tmp_path / "bundled")
    assert (entry.name, entry.experimental) == ("better-v1", False)
    shutil.copytree(BUNDLED_FOLDER / bundled_model().name, tmp_path / "bundled" / "starter")
    with pytest.raises(ModelFault, match="bundled_model_unclear"):
        bundled_model(tmp_path / "bundled")


def test_the_bundled_note_is_what_verification_compares_with() -> None:
    note = json.loads((bundled_model().path / "emotape.json").read_text(encoding="utf-8"))
    assert note["bytes"] == (bundled_model().path / "model.safetensors").stat().st_size


@pytest.mark.parametrize("page", ["models.md", "models.zh.md"])
def test_the_documentation_names_every_model_and_its_hub_ids(page: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    for known in KNOWN:
        for name in (known.name, known.huggingface, known.modelscope):
            assert f"`{name}`" in text
    assert f"`{bundled_model().name}`" in text
