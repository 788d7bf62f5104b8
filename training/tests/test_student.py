"""The student is the emotion2vec network, and a batch changes nothing."""

import torch

from training.augment import normalise
from training.student import Dimensions, Student, alibi_slopes, frames_of

SMALL = Dimensions(channels=16, width=48, heads=3, prenet_depth=1, depth=1)


def student() -> Student:
    torch.manual_seed(0)
    return Student(SMALL).eval()


def test_a_padded_clip_equals_the_clip_alone() -> None:
    waves, samples = torch.randn(3, 8000), torch.tensor([8000, 5000, 6543])
    waves = normalise(waves, samples)
    with torch.no_grad():
        together = student()(waves, frames_of(samples)).logits
        for row, count in enumerate(samples):
            alone = student()(waves[row : row + 1, :count], frames_of(samples[row : row + 1])).logits
            torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-4)


def test_the_mean_of_the_frames_logits_is_the_clips_logits() -> None:
    waves, samples = torch.randn(1, 8000), torch.tensor([8000])
    network = student()
    with torch.no_grad():
        heard = network(normalise(waves, samples), frames_of(samples))
        torch.testing.assert_close(network.proj(heard.frames).mean(1), heard.logits, atol=1e-5, rtol=1e-4)


def test_frames_are_counted_as_the_convolutions_make_them() -> None:
    for samples in (400, 719, 720, 16_000):
        with torch.no_grad():
            frames = student()(torch.randn(1, samples), frames_of(torch.tensor([samples]))).frames
        assert frames.shape[1] == int(frames_of(torch.tensor([samples])))


def test_the_first_layer_can_tell_loud_from_quiet_before_any_training() -> None:
    """With weights of the usual size both halves would come out alike: the ratio would be 1.0."""
    wave = torch.randn(1, 16_000)
    louder = normalise(torch.cat([wave, wave / 10], 1), torch.tensor([32_000]))
    layer = student().audio.local_encoder["conv_layers"][0]  # type: ignore[index]
    with torch.no_grad():
        loud, quiet = layer(louder[..., None]).chunk(2, 1)
    assert loud.abs().mean() > 1.2 * quiet.abs().mean()


def test_slopes_are_geometric_and_defined_for_three_heads() -> None:
    assert alibi_slopes(4) == [2**-2, 2**-4, 2**-6, 2**-8]
    assert alibi_slopes(3) == [2**-4, 2**-8, 2**-2]
