"""The configuration: what is printed works, and what makes no sense is told before anything is deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from emotape.delivery.cluster.config import checked, config_text, read_config, sizes_for
from emotape.delivery.cluster.options import choice
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from pathlib import Path


@given(st.integers(1, 4096), st.integers(0, 512))
def test_no_more_is_shared_out_than_there_is(cpus: int, gpus: int) -> None:
    sizes = sizes_for(cpus, gpus)
    least = sizes.ingress_cpus + sizes.decoder_cpus + sizes.engine_cpus
    used = sizes.ingress_cpus + sizes.decoders * sizes.decoder_cpus + sizes.engines * sizes.engine_cpus
    assert min(sizes.engines, sizes.decoders) >= 1
    assert sizes.engines * sizes.engine_gpus == gpus
    if gpus <= cpus / 2:  # a machine has more cores than cards
        assert used <= max(cpus, least)


@settings(max_examples=10)
@given(st.integers(1, 256), st.integers(0, 8))
def test_what_is_printed_is_what_ray_serve_and_emotape_take(cpus: int, gpus: int) -> None:
    text = config_text(cpus, gpus, "127.0.0.1", 7860)
    document = checked(yaml.safe_load(text))
    assert {part["name"] for part in document["applications"][0]["deployments"]} == {"Ingress", "Decoding", "Engine"}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return a printed configuration with one entry changed."""
    document: dict[str, Any] = yaml.safe_load(config_text(4, 0, "127.0.0.1", 7860))
    *above, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    place: Any = document
    for part in above:
        place = place[part]
    place[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("applications.0.import_path", "emotape.other:app", "applications"),
        ("applications.0.args.modles", ["plus-large"], "args.modles"),
        ("applications.0.args.attempts", 0, "args.attempts"),
        ("applications.0.args.settings.quee_seconds", 5, "args.settings.quee_seconds"),
        ("applications.0.args.settings.host", "::", "args.settings.host"),
        ("applications.0.deployments.0.num_replicas", 2, "args.page"),
        ("applications.0.deployments.0.num_replicas", -1, "applications.0.deployments.0.num_replicas"),
        ("http_options.port", "here", "http_options.port"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_place(path: str, value: Any, place: str) -> None:
    with pytest.raises(BadRequest) as error:
        checked(changed(path, value))
    assert error.value.code == "cluster_config"
    assert str(error.value.facts["place"]).startswith(place)
    assert all(vars(error.value.text(language)).values() for language in ("en", "zh"))


def test_a_bad_setting_is_told_as_everywhere() -> None:
    with pytest.raises(BadRequest, match="bad_setting"):
        checked(changed("applications.0.args.settings.max_files", "many"))


@pytest.mark.parametrize("content", ["a: [", "\x00", "- a list"])
def test_a_file_that_is_no_configuration_is_told(content: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(content)
    with pytest.raises(BadRequest, match="cluster_config"):
        read_config(path)
    with pytest.raises(BadRequest, match="cluster_config_unreadable"):
        read_config(tmp_path / "none.yaml")


def test_a_model_is_chosen_among_those_that_are_served() -> None:
    assert choice("", "starter", ("plus-large",)) == choice("starter", "starter", ()) == ""
    assert choice("plus-large", "starter", ("plus-large",)) == "plus-large"
    with pytest.raises(BadRequest, match="cluster_model_unknown"):
        choice("/etc", "starter", ("plus-large",))
