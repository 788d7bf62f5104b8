"""The first mutants that `python -m tests.audio.fuzz` makes: nothing but waveforms and typed errors."""

from __future__ import annotations

import pytest

from tests.audio import fuzz


@pytest.mark.slow
def test_mutants_of_real_files_are_decoded_or_refused() -> None:
    report = fuzz.run(seed=1, count=500)
    assert report.failures == []
    assert sum(report.outcomes.values()) == 500
    assert report.growth(settle=200) < 16  # megabytes
    assert len(report.outcomes) > 5  # the mutants reach different ends


def test_a_mutant_can_be_made_again() -> None:
    assert fuzz.mutant(3, 17) == fuzz.mutant(3, 17)
    assert fuzz.mutant(3, 17) != fuzz.mutant(4, 17)


def test_what_is_no_typed_error_is_a_failure() -> None:
    report = fuzz.Report()
    report.note(5, "!ValueError: oops", 0.1, 10.0)
    report.note(6, "waveform", 0.2, 10.0)
    assert report.failures == [(5, "!ValueError: oops")]
    assert report.slowest == (0.2, 6)
