"""How work reaches a device: at once on a processor; queued, recorded and repeated on a graphics card."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Of the process. A recording begins with waiting for the whole card, and so does torch when it chooses among kernels;
# while another thread records on that card, CUDA refuses to wait for it.
_PREPARING: Final = Lock()


class Device(Protocol):
    """Runs tapes one after another, while more are handed to it."""

    pins: bool
    """Whether memory to copy from and to should be pinned."""

    def prepare(self, works: Sequence[Callable[[], None]]) -> list[Callable[[], None]]:
        """Do each of `works` until it is warm, and return what does each again, on the same memory."""

    def launch(
        self, upload: Callable[[], None], work: Callable[[], None], download: Callable[[], None]
    ) -> Callable[[], None]:
        """Hand over one tape, and return what waits for its end.

        `upload` may go on beside the work of the tape before; `work` and `download` of one tape follow those of the
        one before.
        """


class DirectDevice:
    """A device that is done with everything when a call returns."""

    pins = False

    def prepare(self, works: Sequence[Callable[[], None]]) -> list[Callable[[], None]]:
        """Do each once."""
        for work in works:
            work()
        return list(works)

    def launch(
        self, upload: Callable[[], None], work: Callable[[], None], download: Callable[[], None]
    ) -> Callable[[], None]:
        """Do one step after another."""
        upload()
        work()
        download()
        return lambda: None


class CudaDevice:
    """A graphics card with a stream for its work and one for copies to it.

    Recorded work (a CUDA graph) is repeated by one call: a small tape is otherwise done before the processor has named
    its two hundred kernels. Recordings share their memory, as one runs at a time and its results are copied before
    the next begins.
    """

    pins = True

    def __init__(self, name: str, *, records: bool = True, cuda: Any = None) -> None:
        """Without `records` every kernel is launched anew. `cuda` is torch.cuda; a test may hand in another."""
        import torch

        self._cuda: Any = torch.cuda if cuda is None else cuda
        self._work = self._cuda.Stream(device=name)
        self._copies = self._cuda.Stream(device=name)
        self._name = name
        self._pool = self._cuda.graph_pool_handle() if records else None

    def prepare(self, works: Sequence[Callable[[], None]]) -> list[Callable[[], None]]:
        """Do each work, which compiles it, and record it; one in a process at a time."""
        with _PREPARING:
            self._warm(works)
            return list(works) if self._pool is None else [self._recorded(work) for work in works]

    def _warm(self, works: Sequence[Callable[[], None]]) -> None:
        self._work.wait_stream(self._cuda.current_stream(self._name))  # where weights and buffers were made
        with self._cuda.device(self._name), self._cuda.stream(self._work):
            for work in works:
                for _ in range(2):
                    work()
            self._work.synchronize()

    def _recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record work that is warm, and return what repeats it.

        A recording begins by giving back what the runs before have taken, so all must have been warmed by then: the
        memory of later ones would come on top of the recordings'.
        """
        recording = self._cuda.CUDAGraph()
        # Other threads may go on using the device.
        kept: Any = {"pool": self._pool, "stream": self._work, "capture_error_mode": "thread_local"}
        # The stream is also set around it, as torch leaves it set where a recording fails.
        with (
            self._cuda.device(self._name),
            self._cuda.stream(self._work),
            self._cuda.graph(recording, **kept),
        ):
            work()
        repeat: Callable[[], None] = recording.replay
        return repeat

    def launch(
        self, upload: Callable[[], None], work: Callable[[], None], download: Callable[[], None]
    ) -> Callable[[], None]:
        """Queue the three steps; the processor goes on at once."""
        uploaded, done = self._cuda.Event(), self._cuda.Event()
        with self._cuda.device(self._name):
            with self._cuda.stream(self._copies):
                upload()
                uploaded.record(self._copies)
            with self._cuda.stream(self._work):
                self._work.wait_event(uploaded)
                work()
                download()
                done.record(self._work)
        wait: Callable[[], None] = done.synchronize
        return wait


def device_of(name: str, *, records: bool) -> Device:
    """Return the way to the device that torch knows by `name`."""
    return CudaDevice(name, records=records) if name.startswith("cuda") else DirectDevice()
