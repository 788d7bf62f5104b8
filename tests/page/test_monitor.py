"""What the monitor tab asks for: one measurement for everybody who looks, its advice in words."""

from __future__ import annotations

from emotape.delivery.page.monitor import FRESH_SECONDS, Monitor
from tests.page.fake import FakeAdvice, FakeWatches


def test_any_number_of_pages_share_one_measurement_until_it_is_old() -> None:
    watches = FakeWatches()
    now = 100.0
    monitor = Monitor(watches, lambda: now)
    first = [monitor.document("en") for _ in range(50)]
    assert watches.looks == 1
    now += FRESH_SECONDS
    assert monitor.document("en") != first[0]
    assert watches.looks == 2


def test_advice_comes_in_the_language_of_the_page_and_numbers_as_they_are() -> None:
    monitor = Monitor(FakeWatches(advice=(FakeAdvice("page_measuring"),)))
    english, chinese = monitor.document("en"), monitor.document("zh")
    assert english["advice"][0]["text"] != chinese["advice"][0]["text"]
    assert english["advice"][0]["code"] == "page_measuring"
    assert english["gpus"][0]["name"] == "NVIDIA H200"
    assert english["cache_hit_rate"] is None
