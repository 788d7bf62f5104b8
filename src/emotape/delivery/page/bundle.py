"""What several recordings give together: one table of all, and one zip of their result folders."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TABLE: Final = "results.csv"
ARCHIVE: Final = "emotape.zip"


def write_bundle(folder: Path, documents: Sequence[dict[str, Any]], results: Sequence[tuple[str, Path]]) -> None:
    """Write `TABLE`, a row for each document, and `ARCHIVE`, which holds it and every (name, result folder)."""
    from emotape.delivery.export import results_csv_header, results_csv_row

    labels = next((list(found["scores"]) for found in documents if "scores" in found), [])
    rows = [results_csv_row(found, labels) for found in documents]
    table = results_csv_header(labels) + "".join(rows)
    (folder / TABLE).write_text(table, encoding="utf-8", newline="\n")
    with zipfile.ZipFile(folder / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / TABLE, TABLE)
        for number, (name, result) in enumerate(results, start=1):
            for path in sorted(result.glob("*")):
                archive.write(path, f"{number:02d}_{_plain(name)}/{path.name}")


def _plain(name: str) -> str:
    """Return a name that is one folder on every system."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "recording"
