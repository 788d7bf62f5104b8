"""Uploads to the page that break off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gradio import route_utils

if TYPE_CHECKING:
    from starlette.datastructures import FormData


class _WholeForm(route_utils.GradioMultiPartParser):
    """Gradio's parser, which would leave what a visitor sent before leaving on the disk until the server stops."""

    async def parse(self) -> FormData:
        """Return the form; nothing of one that breaks off stays."""
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


def keep_whole_uploads_alone() -> None:
    """Have Gradio delete uploads that break off; there is no other place to tell it."""
    route_utils.GradioMultiPartParser = _WholeForm  # type: ignore[misc]
