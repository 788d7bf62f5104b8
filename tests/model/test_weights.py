"""Loading: every published nesting, only what inference needs, and nothing that would run code."""

from __future__ import annotations

import json
import pickle
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from emotape.audio.waveform import Waveform
from emotape.engine.runner import Clip, TorchRunner
from emotape.errors import ModelFault
from emotape.model.mapped import HALVES, SAFETENSORS
from emotape.model.weights import LoadedModel, convert, load, verify
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGE = GOLDEN / "large_like"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A model directory without weights."""
    made = tmp_path / "model"
    made.mkdir()
    for name in ("config.yaml", "tokens.txt"):
        shutil.copy(LARGE / name, made / name)
    return made


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return load_file(LARGE / SAFETENSORS)


def embedding(model: LoadedModel) -> np.ndarray:
    clip = Clip(Waveform(np.sin(np.arange(8_000) / 9).astype(np.float32)))
    return TorchRunner(model).run([clip])[0].embedding


def prefixed(prefix: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {prefix + name: value for name, value in state.items()}


LAYOUTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "bare": lambda state: state,
    "model": lambda state: {"model": state, "epoch": 3},
    "state_dict": lambda state: {"state_dict": state},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "nested twice": lambda state: {"model": {"state_dict": state}},
    "d2v_model.": prefixed("d2v_model."),
    "module.": prefixed("module."),
    "module.d2v_model. in model": lambda state: {"model": prefixed("module.d2v_model.")(state)},
    "with what training left": lambda state: {
        "model": state | {"modality_encoders.AUDIO.decoder.proj.weight": torch.ones(9), "_ema.x": torch.ones(9)},
        "optimizer": {"state": {}},
    },
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy pickle"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_nesting_and_prefix_loads_the_same(
    layout: str, legacy: bool, directory: Path, state: dict[str, torch.Tensor]
) -> None:
    """The official layouts, old and new, give the same network and the same digest as the safetensors."""
    wrapped = LAYOUTS[layout](state)
    torch.save(wrapped, directory / "model.pt", _use_new_zipfile_serialization=not legacy)
    loaded, wanted = load(directory), load(LARGE)
    assert loaded.digest == wanted.digest
    np.testing.assert_array_equal(embedding(loaded), embedding(wanted))


def test_conversion_keeps_what_inference_needs_and_loads_without_the_original(
    directory: Path, tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    """Once converted, a model is a directory of its own: smaller, with the same digest, verified, and equal."""
    torch.save({"model": state | {"decoder.ballast": torch.zeros(100_000)}}, directory / "model.pt")
    converted = tmp_path / "converted"
    made = convert(directory, converted)
    shutil.rmtree(directory)
    assert made.bytes == (converted / SAFETENSORS).stat().st_size < 400_000
    assert made.parameters == sum(values.numel() for values in state.values())
    assert made.digest == load(converted).digest == verify(converted).digest
    assert verify(converted).ok
    np.testing.assert_array_equal(embedding(load(converted)), embedding(load(LARGE)))


def test_the_reference_loads_our_files_by_name(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    """Converted weights keep the reference's names and shapes, so nothing is locked in."""
    convert(LARGE, tmp_path)
    converted = load_file(tmp_path / SAFETENSORS)
    assert {name: values.shape for name, values in converted.items()} == {
        name: values.shape for name, values in state.items()
    }


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    directory: Path, tmp_path: Path, legacy: bool
) -> None:
    """The bomb does go off under plain pickle, and does not here."""
    proof = tmp_path / "it-ran"
    pickle.loads(pickle.dumps(Bomb(proof)))  # noqa: S301 - this shows that the bomb is real
    assert proof.exists()
    proof.unlink()
    torch.save({"model": Bomb(proof)}, directory / "model.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelFault) as refusal:
        load(directory)
    assert refusal.value.code == "weights_hostile"
    assert not proof.exists()


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_a_truncated_file_is_a_clear_error(
    name: str, share: float, directory: Path, state: dict[str, torch.Tensor]
) -> None:
    """Wherever a download stopped, the error says that the file is damaged."""
    weights = directory / name
    if name.endswith(".pt"):
        torch.save({"model": state}, weights)
    else:
        save_file(state, weights)
    cut(weights, share)
    with pytest.raises(ModelFault) as fault:
        load(directory)
    assert fault.value.code == "weights_unreadable"
    assert str(weights) in str(fault.value)


def test_what_does_not_fit_is_named(directory: Path, state: dict[str, torch.Tensor]) -> None:
    """Missing, misshapen, non-numeric and unlabelled weights each have their own error."""
    faults = {
        "weights_incomplete": {name: values for name, values in state.items() if "blocks.1." not in name},
        "weights_mismatched": state | {"proj.weight": torch.zeros(4, 32)},
        "weights_not_finite": state | {"proj.bias": torch.full((9,), float("nan"))},
    }
    for code, changed in faults.items():
        save_file(changed, directory / SAFETENSORS)
        with pytest.raises(ModelFault) as fault:
            load(directory)
        assert fault.value.code == code
    save_file(state, directory / SAFETENSORS)
    (directory / "tokens.txt").unlink()
    with pytest.raises(ModelFault) as fault:
        load(directory)
    assert fault.value.code == "tokens_unreadable"


def test_a_pickle_that_holds_itself_is_refused(directory: Path) -> None:
    """Looking for the state dict comes to an end, however deep the nests go."""
    endless: dict[str, Any] = {}
    endless["model"] = endless
    torch.save(endless, directory / "model.pt")
    with pytest.raises(ModelFault) as fault:
        load(directory)
    assert fault.value.code == "weights_unreadable"


UNUSUAL: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sparse": torch.Tensor.to_sparse,
    "without values": lambda values: values.to("meta"),
    "8 bits": lambda values: values.to(torch.float8_e4m3fn),
    "integers": lambda values: values.to(torch.int32),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_a_tensor_of_another_kind_is_refused(kind: str, directory: Path, state: dict[str, torch.Tensor]) -> None:
    """A pickle may hold any kind of tensor; loading, verifying and converting want plain floating-point ones."""
    torch.save(state | {"proj.weight": UNUSUAL[kind](state["proj.weight"])}, directory / "model.pt")
    with pytest.raises(ModelFault) as fault:
        load(directory)
    assert fault.value.code == "weights_mismatched"
    assert not verify(directory).ok


@pytest.mark.parametrize("name", ["emotape.json", "labels.json"])
def test_a_note_deeper_than_can_be_read_is_a_clear_error(
    name: str, directory: Path, state: dict[str, torch.Tensor]
) -> None:
    """What a stranger wrote beside the weights ends in an error of ours, and never in one of the interpreter."""
    save_file(state, directory / SAFETENSORS)
    (directory / name).write_text("[" * 100_000)
    with pytest.raises(ModelFault) as fault:
        load(directory)
    assert fault.value.code in ("card_unreadable", "tokens_unreadable")
    assert not verify(directory).ok


@pytest.mark.parametrize("name", ["tokens.txt", "labels.json"])
def test_labels_that_would_steer_a_terminal_are_refused(
    name: str, directory: Path, state: dict[str, torch.Tensor]
) -> None:
    """Labels are printed as they are, so they hold nothing that a terminal obeys."""
    save_file(state, directory / SAFETENSORS)
    lines = (directory / "tokens.txt").read_text("utf-8").splitlines()
    first = "厌倦/weary\x1b[35m" if name == "tokens.txt" else "厌倦/weary"
    (directory / "tokens.txt").write_text("\n".join([first, *lines[1:]]), "utf-8")
    (directory / "labels.json").write_text(json.dumps({"weary": {"en": "Weary\x07" if name == "labels.json" else "W"}}))
    with pytest.raises(ModelFault) as fault:
        load(directory)
    assert fault.value.code == "tokens_unreadable"


def test_a_noted_temperature_that_is_no_number_is_refused(
    directory: Path, tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    """Nothing is multiplied by a word."""
    save_file(state, directory / SAFETENSORS)
    (directory / "emotape.json").write_text('{"temperature": "hot"}')
    with pytest.raises(ModelFault) as fault:
        convert(directory, tmp_path / "converted")
    assert fault.value.code == "card_unreadable"


@pytest.mark.parametrize("missing", ["config.yaml", "weights", "directory"])
def test_a_missing_part_says_what_a_model_directory_holds(missing: str, directory: Path) -> None:
    """No config, no weights or no directory: the error names the path and the command that gets a model."""
    if missing == "directory":
        shutil.rmtree(directory)
    elif missing == "config.yaml":
        (directory / "config.yaml").unlink()
    with pytest.raises(ModelFault) as fault:
        load(directory)
    assert fault.value.code == "model_missing"
    assert "emotape models pull" in str(fault.value)


def test_verify_finds_a_changed_value(tmp_path: Path) -> None:
    """One flipped bit of the weights changes the digest, and verify says so without raising."""
    convert(LARGE, tmp_path)
    weights = tmp_path / SAFETENSORS
    _spoiled(weights)
    verification = verify(tmp_path)
    assert not verification.ok
    assert verification.digest != verification.expected
    cut(weights, 0.5)
    assert not verify(tmp_path).ok


def test_the_digest_changes_exactly_when_the_content_does(directory: Path, state: dict[str, torch.Tensor]) -> None:
    """Labels, dims, values and dtype count; the file format and where it lies do not."""
    save_file(state, directory / SAFETENSORS)
    same = load(directory).digest
    assert same == load(LARGE).digest
    save_file({name: values.half() for name, values in state.items()}, directory / SAFETENSORS)
    assert load(directory).digest != same
    save_file(state, directory / SAFETENSORS)
    tokens = (directory / "tokens.txt").read_text(encoding="utf-8").splitlines()
    (directory / "tokens.txt").write_text("\n".join([*tokens[1::-1], *tokens[2:]]), encoding="utf-8")
    assert load(directory).digest != same


def test_a_note_is_trusted_only_for_the_weights_it_was_made_of(tmp_path: Path) -> None:
    """Replacing the weights without the note does not keep the old digest."""
    convert(LARGE, tmp_path)
    noted = json.loads((tmp_path / "emotape.json").read_text())["digest"]
    assert load(tmp_path).digest == noted
    changed = {name: values * 2 for name, values in load_file(tmp_path / SAFETENSORS).items()}
    save_file(changed | {"ballast": torch.zeros(3)}, tmp_path / SAFETENSORS)
    assert load(tmp_path).digest != noted


@pytest.fixture
def with_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A converted model that has its weights in halves as well, as a large one does."""
    monkeypatch.setattr("emotape.model.weights.LARGE", 0)
    convert(LARGE, tmp_path)
    return tmp_path


def _dtype(model: LoadedModel) -> torch.dtype:
    dtype: torch.dtype = model.encoder.state_dict()["blocks.0.qkv.weight"].dtype
    return dtype


def _spoiled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def test_weights_in_halves_are_the_weights_rounded(with_halves: Path) -> None:
    """Half the file, the same digest, and in bf16 the same results to the last bit."""
    whole, smaller = (with_halves / name for name in (SAFETENSORS, HALVES))
    assert smaller.stat().st_size < 0.7 * whole.stat().st_size
    results = []
    for rounded in (None, torch.bfloat16):
        model = load(with_halves, None, rounded=rounded)
        assert model.digest == load(LARGE).digest
        assert _dtype(model) == (rounded or torch.float32)
        clip = Clip(Waveform(np.sin(np.arange(8_000) / 9).astype(np.float32)))
        results += TorchRunner(model, arithmetic="bfloat16").run([clip])
    np.testing.assert_array_equal(results[0].embedding, results[1].embedding)
    np.testing.assert_array_equal(results[0].logits, results[1].logits)


def test_halves_are_read_only_for_an_arithmetic_that_rounds_so_anyway(with_halves: Path) -> None:
    """In fp32 and fp16 the weights are those of the whole file, exactly."""
    for rounded in (None, torch.float32, torch.float16):
        model = load(with_halves, None, rounded=rounded)
        np.testing.assert_array_equal(embedding(model), embedding(load(LARGE)))


def test_halves_of_other_weights_are_left_alone(with_halves: Path, state: dict[str, torch.Tensor]) -> None:
    """Weights that were replaced do not get the halves of those before them; a damaged file is as good as none."""
    save_file({name: values * 2 for name, values in state.items()}, with_halves / SAFETENSORS)
    assert _dtype(load(with_halves, None, rounded=torch.bfloat16)) == torch.float32
    convert(LARGE, with_halves)
    cut(with_halves / HALVES, 0.001)
    assert _dtype(load(with_halves, None, rounded=torch.bfloat16)) == torch.float32


def test_verify_finds_a_changed_value_in_halves(with_halves: Path) -> None:
    """The smaller file is checked against the weights, as it decides scores as well."""
    assert verify(with_halves).ok
    _spoiled(with_halves / HALVES)
    assert not verify(with_halves).ok


def test_a_small_model_is_kept_once(tmp_path: Path) -> None:
    """Halves are for networks that are faster for them."""
    convert(LARGE, tmp_path)
    assert not (tmp_path / HALVES).exists()


def test_an_embedding_only_model_has_no_labels() -> None:
    """Without a classifier there are embeddings, and nothing that pretends to be a score."""
    model = load(GOLDEN / "embedding_only")
    assert model.labels == ()
    clip = Clip(Waveform(np.ones(4_000, np.float32)))
    assert TorchRunner(model).run([clip])[0].logits is None
