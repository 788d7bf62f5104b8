"""Progress goes one way, in whatever moment one looks."""

from __future__ import annotations

from emotape.engine.progress import Pending, Progress


def test_a_request_that_ends_while_one_looks_does_not_wait_again() -> None:
    """Done futures let go of what they follow; who looks at that moment must not see it begin anew."""
    inner, outer = Pending[int](), Pending[int]()
    stages: list[str] = []
    inner.follow(lambda: Progress("running"))
    outer.follow(inner.progress)
    inner.add_done_callback(lambda _: stages.append(outer.progress().stage))
    stages.append(outer.progress().stage)
    inner.set_result(1)
    stages.append(outer.progress().stage)
    outer.set_result(1)
    stages.append(outer.progress().stage)
    assert stages == ["running", "finishing", "finishing", "done"]


def test_an_answer_that_comes_between_two_looks_is_no_new_request() -> None:
    class Ending(Pending[int]):
        """Gets its answer right after one has asked whether it has it."""

        def done(self) -> bool:
            before = super().done()
            if not before:
                self.set_result(1)
            return before

    answer = Ending()
    answer._report = lambda: Progress("running")
    assert answer.progress().stage == "running"
    assert answer.progress().stage == "done"
