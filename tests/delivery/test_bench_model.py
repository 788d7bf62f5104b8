"""Benchmarks, the models they run: random ones that either implementation loads, and official copies of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from emotape.delivery.bench import random_model, speech
from emotape.delivery.bench.peers import PEER, PeersOptions, measure, recognizer_of
from emotape.delivery.bench.random_model import SIZES, Size, write_random_model
from emotape.delivery.bench.reference import relative_error, require
from emotape.delivery.bench.subject import Choice, subject
from emotape.errors import BadRequest
from emotape.model.dims import read_dims
from emotape.model.labels import OFFICIAL_KEYS
from emotape.store.catalogue import bundled_model

if TYPE_CHECKING:
    from pathlib import Path

TINY = Size(embed_dim=32, heads=4, prenet=1, depth=2, channels=16)


def test_the_large_size_is_the_official_one(tmp_path: Path) -> None:
    """162 M parameters are what inference with Emotion2Vec+ Large needs; nothing is allocated to count them."""
    counted = sum(int(np.prod(shape)) for _, shape in random_model._shapes(SIZES["large"]))
    assert round(counted / 1e6, 1) == 162.1
    write_random_model(tmp_path, TINY)
    dims = read_dims(tmp_path / "config.yaml", classes=9)
    assert (dims.stride, dims.field, dims.position_reach, dims.blocks) == (320, 400, 9, 3)


def test_random_weights_load_and_answer_and_are_always_the_same(tmp_path: Path) -> None:
    answers = []
    for name in ("one", "two"):
        write_random_model(tmp_path / name, TINY)
        with recognizer_of(tmp_path / name, "float32", 1) as recognizer:
            answers.append(recognizer.recognize(speech.clip(0.5), embedding=True))
    assert answers[0].emotion in OFFICIAL_KEYS
    assert np.array_equal(answers[0].embedding, answers[1].embedding)  # type: ignore[arg-type]


def test_the_official_copy_has_the_weights_of_the_model() -> None:
    """The reference gets what emotape runs, in float32 and under the names that it knows."""
    from safetensors.torch import load_file

    with subject(Choice(bundled_model().path), official=True) as model:
        assert not model.random
        assert model.official is not None
        copied = torch.load(model.official / "model.pt", weights_only=True)["model"]
        kept = load_file(model.directory / "model.safetensors")
        assert copied.keys() == kept.keys()
        assert all(torch.equal(copied[name], values.float()) for name, values in kept.items())
    assert not model.official.exists()


def test_only_published_sizes_have_random_weights() -> None:
    with pytest.raises(BadRequest, match="bench_random_size"), subject(Choice(random="huge"), official=False):
        raise AssertionError


def test_a_missing_peer_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "funasr", None)
    with pytest.raises(BadRequest, match="bench_peer_missing"):
        require("funasr")


def test_an_error_is_relative_to_the_length_of_what_was_wanted() -> None:
    wanted = np.array([3.0, 4.0], np.float32)
    assert relative_error(wanted, wanted) == 0
    assert relative_error(wanted + np.float32(0.5), wanted) == pytest.approx(0.5 * 2**0.5 / 5)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_both_sides_say_the_same_of_the_same_clips() -> None:
    """Whatever the speed, the benchmark compares equals: the reference's AutoModel on our copy agrees with emotape."""
    pytest.importorskip("funasr")
    lines: list[str] = []
    options = PeersOptions(Choice(bundled_model().path), seconds=(1.0,), threads=(1,), dtypes=("float32",), runs=2)
    found = measure(options, lines.append)
    reference, ours = found.tables[0].rows
    assert reference["side"] == PEER
    assert isinstance(ours["error"], float)
    assert ours["error"] < 1e-5
    assert ours["same label"] == "2/2"
    assert len(lines) == 1
