"""Exported graphs on ONNX Runtime: what they say, what they say of themselves, and what is left when they cannot be."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import soundfile
from typer.testing import CliRunner

import emotape
from emotape.audio.decode import decode
from emotape.audio.waveform import Waveform
from emotape.delivery.cli import app
from emotape.delivery.graph.check import BOUNDS, apart, check
from emotape.delivery.graph.eight_bits import quantized
from emotape.delivery.graph.runner import GraphRunner
from emotape.delivery.graph.writing import GraphOptions, write_checked
from emotape.engine.result import join_windows
from emotape.engine.runner import Clip, TorchRunner
from emotape.errors import BadRequest, EngineFault
from emotape.model.weights import load
from emotape.store.catalogue import bundled_model
from tests.conftest import AUDIO, GOLDEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.onnx import ONNXProgram

    from emotape.delivery.graph.writing import Exported
    from emotape.model.weights import LoadedModel

ROOT = Path(__file__).parents[2]
LENGTHS = (400, 719, 720, 721, 16_000, 63_999)


@pytest.fixture(scope="module")
def speech() -> Waveform:
    return decode(AUDIO / "jfk.flac").waveforms[0]


def strays(path: Path, model: Path, clips: list[Waveform]) -> float:
    """Return how far a graph strays from the engine in float32, over all outputs and clips."""
    exact = load(model)
    asked = [Clip(clip, frame_embeddings=True) for clip in clips]
    pairs = zip(GraphRunner(path, exact.dims).run(asked), TorchRunner(exact).run(asked), strict=True)
    return max(apart(found, wanted) for found, wanted in pairs)


def test_in_float32_every_output_is_the_engines_at_any_length(said: dict[str, Any], speech: Waveform) -> None:
    clips = [speech.part(0, samples) for samples in (*LENGTHS, len(speech))]
    assert strays(Path(said["files"][0]), GOLDEN / "large_like", clips) < 1e-4
    assert said["agreement"]["outputs"] < 1e-4


def test_in_float16_it_stays_within_its_bound(halves: Exported, speech: Waveform) -> None:
    clips = [speech.part(0, samples) for samples in LENGTHS]
    assert 1e-6 < strays(halves.files[0], GOLDEN / "base_like", clips) < BOUNDS["float16"]


def test_a_network_without_a_head_gives_embeddings_alone(
    headless: tuple[ONNXProgram, LoadedModel], speech: Waveform, tmp_path: Path
) -> None:
    made = write_checked(*headless, GraphOptions(tmp_path / "embedding.onnx", opset=18))
    runner = GraphRunner(made.files[0], headless[1].dims)
    assert runner.outputs == ("embedding", "frame_embeddings")
    assert json.loads(runner.metadata["labels"]) == []
    assert strays(made.files[0], GOLDEN / "embedding_only", [speech.part(0, 20_000)]) < 1e-4


def test_in_int8_the_labels_are_the_engines_on_real_speech_and_the_file_is_a_quarter(bundled: Path) -> None:
    model = load(bundled_model().path)
    graph, engine = GraphRunner(bundled, model.dims), TorchRunner(model)
    clips = [Clip(decode(path).waveforms[0]) for path in sorted(AUDIO.iterdir())]
    for found, wanted in zip(graph.run(clips), engine.run(clips), strict=True):
        ours, theirs = (join_windows([one], [1.0], model.labels).probabilities for one in (found, wanted))
        assert ours.argmax() == theirs.argmax()
        assert np.abs(ours - theirs).max() < 0.03
    weights = sum(parameter.numel() for parameter in model.encoder.parameters())
    assert bundled.stat().st_size < 1.3 * weights


def test_scores_are_the_softmax_of_logits_without_unused_labels(halves: Exported, speech: Waveform) -> None:
    import onnxruntime  # type: ignore[import-untyped]

    session = onnxruntime.InferenceSession(halves.files[0], providers=["CPUExecutionProvider"])
    logits, scores, frames = session.run(["logits", "scores", "frame_logits"], {"samples": speech.samples})
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    named = [place for place, label in enumerate(labels) if label is not None]
    powers = np.exp(logits[named])
    np.testing.assert_allclose(scores[named], powers / powers.sum(), rtol=1e-4)
    assert len(named) == len(labels) - 1
    assert scores.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(frames.mean(0), logits, atol=1e-5)  # the head is linear


def test_a_graph_says_what_it_takes_to_use_it(said: dict[str, Any]) -> None:
    model = load(GOLDEN / "large_like")
    graph = onnx.load(said["files"][0])
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(facts["labels"]) == [label.key for label in model.labels if label]
    assert (facts["digest"], facts["emotape"]) == (model.digest, emotape.__version__)
    assert (facts["sample_rate"], facts["stride"], facts["field"], facts["dtype"]) == ("16000", "320", "400", "float32")
    assert "layer norm" in facts["normalization"]
    assert facts["license"]
    (samples,) = graph.graph.input
    assert samples.name == samples.type.tensor_type.shape.dim[0].dim_param == "samples"
    assert {entry.version for entry in graph.opset_import if not entry.domain} == {20}
    assert said["bytes"] == Path(said["files"][0]).stat().st_size


def test_a_graph_tells_nothing_of_the_machine_that_made_it(said: dict[str, Any]) -> None:
    written = Path(said["files"][0]).read_bytes()
    assert b".py" not in written
    assert str(GOLDEN).encode() not in written


def test_the_bundled_model_names_its_licence(bundled: Path) -> None:
    runner = GraphRunner(bundled, load(bundled_model().path).dims)
    assert runner.metadata["license"] == "CC-BY-SA-4.0"
    assert json.loads(runner.metadata["experimental"]) is True


def test_a_weight_in_8_bits_is_within_half_a_step_of_each_outputs_own_scale() -> None:
    weight = np.random.default_rng(1).standard_normal((5, 7, 3)).astype(np.float32)
    weight[2] *= 1000
    weight[3] = 0
    for axis in range(3):
        integers, scales = quantized(weight, axis)
        shape = [-1 if place == axis else 1 for place in range(3)]
        steps = np.abs(integers * scales.reshape(shape) - weight) / scales.reshape(shape)
        assert steps.max() <= 0.5 + 1e-5
        assert np.abs(integers).max() == 127


def test_a_graph_of_other_weights_fails_its_check(said: dict[str, Any], tmp_path: Path) -> None:
    graph = onnx.load(said["files"][0])
    largest = max(graph.graph.initializer, key=lambda values: len(values.raw_data))
    largest.raw_data = (np.frombuffer(largest.raw_data, np.float32) * 1.01).tobytes()
    onnx.save(graph, tmp_path / "other.onnx")
    with pytest.raises(EngineFault) as fault:
        check(tmp_path / "other.onnx", load(GOLDEN / "large_like"), "float32")
    assert fault.value.code == "export_disagrees"
    assert "0.0001" in fault.value.text("zh").cause


def test_a_broken_graph_fails_its_check(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x01no graph")
    with pytest.raises(EngineFault) as fault:
        check(tmp_path / "broken.onnx", load(GOLDEN / "large_like"), "float32")
    assert fault.value.code == "export_unusable"


@pytest.fixture
def _full_disk(headless: tuple[ONNXProgram, LoadedModel]) -> Iterator[None]:
    """Let no file grow beyond a few bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("_full_disk")
def test_where_there_is_no_room_nothing_is_left(headless: tuple[ONNXProgram, LoadedModel], tmp_path: Path) -> None:
    old = tmp_path / "model.onnx"
    old.write_text("an older export")
    with pytest.raises(BadRequest) as error:
        write_checked(*headless, GraphOptions(old))
    assert error.value.code == "output_unwritable"
    assert old.read_text() == "an older export"
    assert list(tmp_path.iterdir()) == [old]


def test_weights_too_large_for_one_file_lie_beside_the_graph(
    headless: tuple[ONNXProgram, LoadedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protocol buffers end at 2 GB; here at a thousand bytes, so that a small network shows it."""
    monkeypatch.setattr("emotape.delivery.graph.writing.LARGEST_FILE", 1000)
    made = write_checked(*headless, GraphOptions(tmp_path / "large.onnx"))
    assert [file.name for file in made.files] == ["large.onnx", "large.onnx.data"]
    assert made.files[0].stat().st_size < made.files[1].stat().st_size
    assert sorted(tmp_path.iterdir()) == sorted(made.files)
    noise = Waveform(np.random.default_rng(2).standard_normal(9000).astype(np.float32))
    assert strays(made.files[0], GOLDEN / "embedding_only", [noise]) < 1e-4


def test_a_missing_package_is_named_with_what_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    done = CliRunner().invoke(app, ["export", "onnx", "--output", str(tmp_path / "x.onnx"), "--language", "zh"])
    assert done.exit_code == 2
    assert "onnxscript" in done.stderr
    assert "emotape[export]" in done.stderr


def test_an_operator_set_that_nobody_writes_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", "onnx", "--output", str(tmp_path / "x.onnx"), "--opset", "7"])
    assert done.exit_code == 2
    assert "export_opset" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_example_needs_onnxruntime_and_numpy_alone(bundled: Path, tmp_path: Path) -> None:
    """Torch and emotape cannot be imported, and its first label is the engine's."""
    example = ROOT / "examples" / "onnx_minimal.py"
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 30
    wanted = decode(AUDIO / "thorsten_neutral.wav").waveforms[0]
    soundfile.write(tmp_path / "speech.wav", wanted.samples, 16_000, subtype="PCM_16")
    blocked = "import sys, runpy; sys.modules.update({name: None for name in ('torch', 'emotape', 'soundfile')})\n"
    code = f"{blocked}sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(example), str(bundled), str(tmp_path / "speech.wav")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    model = load(bundled_model().path)
    (scores,) = TorchRunner(model).run([Clip(wanted)])
    assert scores.logits is not None
    best = model.labels[int(scores.logits.argmax())]
    assert best is not None
    assert done.stdout.split()[0] == best.key
    assert "every second:" in done.stdout
