"""Where results lie: under names nobody can guess, for a while, and nothing else with them."""

from __future__ import annotations

import asyncio
import gc
from contextvars import ContextVar
from typing import TYPE_CHECKING
from weakref import ReferenceType, ref

import pytest

from emotape.delivery.page.shelf import Shelf

if TYPE_CHECKING:
    from pathlib import Path


async def _placed(shelf: Shelf) -> str:
    return shelf.place()


def test_a_file_is_found_by_its_place_and_name_alone(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", 0)
    place = asyncio.run(_placed(shelf))
    path = shelf.folder(place) / "inner" / "result.json"
    path.parent.mkdir()
    path.write_text("{}")
    assert shelf.find(place, "result.json") == path
    assert shelf.find(place, "inner") is None
    assert shelf.find(place, "other.json") is None
    assert shelf.address(place, "result.json").endswith(f"/{place}/result.json")


@pytest.mark.parametrize("place", ["..", ".", "", "x" * 21, "../" + "x" * 19, "x" * 10 + "/" + "x" * 11])
def test_no_place_leads_out_of_the_shelf(tmp_path: Path, place: str) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "shelf").mkdir()
    assert Shelf(tmp_path / "shelf", 0).find(place, "secret") is None


@pytest.mark.parametrize("name", ["../secret", "..", ".", "", "/etc/hostname"])
def test_no_name_leads_out_of_its_place(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("s")
    shelf = Shelf(tmp_path, 0)
    assert shelf.find(asyncio.run(_placed(shelf)), name) is None


def test_places_differ_and_are_removed_when_their_time_has_come(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 0.05)

    async def wait() -> None:
        places = {shelf.place() for _ in range(20)}
        assert len(places) == 20
        while any(tmp_path.iterdir()):  # the test's own time limit ends this
            await asyncio.sleep(0.01)

    asyncio.run(wait())


def test_a_place_keeps_nothing_of_the_request_that_it_was_made_for(tmp_path: Path) -> None:
    current: ContextVar[FakeRequest] = ContextVar("current")

    async def ask() -> ReferenceType[FakeRequest]:
        request = FakeRequest()
        current.set(request)
        Shelf(tmp_path, 3600.0).place()
        return ref(request)

    async def serve() -> None:
        gone = await asyncio.create_task(ask())
        await asyncio.sleep(0)  # the loop lets go of what it just ran
        gc.collect()
        assert gone() is None

    asyncio.run(serve())


class FakeRequest:
    """What a framework keeps in the context of a request."""
