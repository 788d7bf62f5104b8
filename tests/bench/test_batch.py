"""What a batch through Ray costs, the sums: from the first answers to the last, without the cluster's idle work."""

from __future__ import annotations

import pytest

from emotape.delivery.bench.batch import LOCAL, RAY, Stretch, Watch, findings
from emotape.delivery.bench.pairing import Spread, Timed
from emotape.delivery.bench.process_tree import ProcessTree
from emotape.delivery.offline.run import Tally


def timed(*stretches: Stretch) -> Timed[Stretch]:
    return Timed((9.0,) * len(stretches), (9.0,) * len(stretches), stretches)


def test_only_the_stretch_between_the_first_answers_and_the_last_counts() -> None:
    watch = Watch(100, ProcessTree())
    for done in (8, 40, 72, 100):
        watch.look(Tally(done=done - 1, failed=1))
    stretch = watch.stretch()
    assert stretch.recordings == 92
    assert stretch.seconds > 0
    assert stretch.processor >= 0


def test_each_round_is_compared_with_its_own_and_the_idle_cluster_is_nobodys() -> None:
    """Ray took 10 and 20 % longer; of its cores' work a tenth of a core is idle work."""
    found = {
        LOCAL: timed(Stretch(100, 10.0, 20.0), Stretch(100, 20.0, 40.0)),
        RAY: timed(Stretch(50, 5.5, 11.0), Stretch(50, 12.0, 22.0)),
    }
    facts = {"model": "m", "seconds": 3.0, "idle_cores": 0.1}
    local, ray = findings(found, facts).tables[0].rows
    assert local["overhead, %"] is None
    overhead, more = ray["overhead, %"], ray["more of the cores, %"]
    assert isinstance(overhead, Spread)
    assert isinstance(more, Spread)
    assert overhead.lowest == pytest.approx(10.0)
    assert overhead.highest == pytest.approx(20.0)
    assert more.lowest == pytest.approx(100 * ((22.0 - 1.2) / 50 / ((40.0 - 2.0) / 100) - 1))
    assert more.highest == pytest.approx(100 * ((11.0 - 0.55) / 50 / ((20.0 - 1.0) / 100) - 1))
