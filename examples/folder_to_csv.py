"""Write down what every file of a folder sounds like: python folder_to_csv.py FOLDER TABLE.csv.

`emotape recognize FOLDER --recursive --csv` makes a table, too; here you choose the columns.
"""
# ruff: noqa: T201

import csv
import sys
from pathlib import Path

import emotape

folder, table = map(Path, sys.argv[1:])
paths = sorted(path for path in folder.rglob("*") if path.is_file())


def row(path: Path, heard: emotape.Prediction | emotape.EmotapeError) -> dict[str, object]:
    """Return the cells of one file; one that cannot be used has an error instead of an emotion."""
    file = path.relative_to(folder)
    if isinstance(heard, emotape.EmotapeError):
        return {"file": file, "error": heard.code}
    first, second = sorted(heard.scores, key=heard.scores.__getitem__, reverse=True)[:2]
    return {
        "file": file,
        "seconds": round(heard.seconds, 2),
        "emotion": first,
        "confidence": round(heard.confidence, 4),
        "uncertain": heard.uncertain,
        "second": second,
        "second_score": round(heard.scores[second], 4),
        "warnings": " ".join(heard.warnings),
    }


columns = ["file", "seconds", "emotion", "confidence", "uncertain", "second", "second_score", "warnings", "error"]
with (
    emotape.Recognizer() as recognizer,
    table.open("w", encoding="utf-8-sig", newline="") as file,  # with the mark by which Excel knows UTF-8
):
    rows = csv.DictWriter(file, columns)
    rows.writeheader()
    rows.writerows(row(*heard) for heard in recognizer.recognize_many(paths))
print(f"{len(paths)} files: {table}")
