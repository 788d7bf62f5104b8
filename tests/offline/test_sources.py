"""Sources: every kind of input names its recordings, carries its other columns, and is read as a stream."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from emotape.delivery.offline.folder import FolderSource
from emotape.delivery.offline.run import source_of
from emotape.errors import BadRequest

OUTPUT = Path("out")


def touched(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def named(path: str | Path) -> list[tuple[str, Any]]:
    return sorted((item.name, item.source) for item in source_of(Path(path), OUTPUT).items())


def test_a_folder_is_entered_but_for_hidden_ones_and_the_output() -> None:
    touched("in/a.wav", "in/b/c.MP3", "in/b/d/e.opus", "in/.hidden/f.wav", "in/.g.wav", "in/notes.txt", "in/out/h.wav")
    found = FolderSource(Path("in"), Path("in/out")).items()
    assert sorted(item.name for item in found) == ["in/a.wav", "in/b/c.MP3", "in/b/d/e.opus"]


def test_a_folder_that_cannot_be_entered_is_an_error_of_its_own() -> None:
    touched("in/a.wav", "in/going/b.wav")
    found = FolderSource(Path("in"), OUTPUT).items()
    first = next(found)
    shutil.rmtree("in/going")
    errors = [item.source for item in found if isinstance(item.source, BadRequest)]
    assert (first.name, [error.code for error in errors]) == ("in/a.wav", ["unreadable"])


def test_a_csv_carries_its_columns_and_its_paths_count_from_it() -> None:
    touched("set/a.wav")
    Path("set/list.csv").write_text("speaker, File ,text\n1,a.wav,hi\n2,b.wav\n3,,none\n", "utf-8")
    source = source_of(Path("set/list.csv"), OUTPUT)
    assert [(column.name, column.kind) for column in source.columns] == [("speaker", "string"), ("text", "string")]
    items = list(source.items())
    assert [item.source for item in items[:2]] == [Path("set/a.wav"), Path("set/b.wav")]
    assert [item.carried for item in items[:2]] == [{"speaker": "1", "text": "hi"}, {"speaker": "2", "text": ""}]
    assert isinstance(items[2].source, BadRequest)
    assert len(list(source.marks())) == 3


def test_json_lines_have_one_type_for_each_column() -> None:
    rows = [
        {"path": "a.wav", "n": 1, "x": 1, "mixed": 1, "deep": {"a": [1]}, "yes": True},
        {"path": "b.wav", "x": 0.5, "mixed": "two", "late": "l", "n": None},
        {"n": 3, "yes": False},
    ]
    Path("list.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    source = source_of(Path("list.jsonl"), OUTPUT)
    kinds = {column.name: column.kind for column in source.columns}
    assert kinds == {"n": "int64", "x": "double", "mixed": "json", "deep": "json", "yes": "bool", "late": "string"}
    first, second, third = source.items()
    assert first.carried == {"n": 1, "x": 1.0, "mixed": "1", "deep": '{"a": [1]}', "yes": True, "late": None}
    assert second.carried["mixed"] == '"two"'
    assert isinstance(third.source, BadRequest)


def test_a_kaldi_list_keeps_its_keys_and_never_runs_a_command() -> None:
    touched("a b.wav")
    Path("wav.scp").write_text("\ufeffutt1 a b.wav\nutt2 sox x |\n\n", "utf-8")
    first, second = source_of(Path("wav.scp"), OUTPUT).items()
    assert (first.id, first.source) == ("utt1", Path("a b.wav"))
    assert isinstance(second.source, BadRequest)


def test_parquet_gives_paths_or_the_recordings_themselves() -> None:
    Path("set").mkdir()
    when = pa.array([1, 2], pa.timestamp("us"))
    pa.parquet.write_table(pa.table({"path": ["a.wav", None], "when": when}), "set/1.parquet")
    source = source_of(Path("set"), OUTPUT)
    assert [column.type for column in source.columns] == [pa.timestamp("us")]
    first, second = source.items()
    assert first.source == Path("set/a.wav")
    assert isinstance(second.source, BadRequest)
    hugging = [{"bytes": b"RIFF", "path": "x.wav"}, {"bytes": None, "path": "y.wav"}]
    pa.parquet.write_table(pa.table({"audio": hugging, "label": ["a", "b"]}), "sounds.parquet")
    assert named("sounds.parquet") == [("x.wav", b"RIFF"), ("y.wav", Path("y.wav"))]
    pa.parquet.write_table(pa.table({"audio": [b"RIFF"]}), "bytes.parquet")
    assert named("bytes.parquet") == [("", b"RIFF")]
    assert len(list(source_of(Path("bytes.parquet"), OUTPUT).marks())) == 1


def test_a_folder_with_a_recording_is_no_dataset() -> None:
    touched("in/a.wav", "in/results.parquet")
    assert [name for name, _ in named("in")] == ["in/a.wav"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("gone.csv", None, "unreadable"),
        ("a.csv", b"name,label\nx,y\n", "batch_columns"),
        ("a.csv", b"path\n\xff\xfe\n", "batch_unreadable"),
        ("a.jsonl", b"{}\n", "batch_columns"),
        ("a.jsonl", b'{"path": 1}\nnonsense\n', "batch_unreadable"),
        ("a.jsonl", b"[1]\n", "batch_line"),
        ("a.parquet", b"nonsense", "batch_unreadable"),
        ("a.wav", b"RIFF", "batch_input_unknown"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_code(name: str, content: bytes | None, code: str) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(BadRequest) as refused:
        list(source_of(Path(name), OUTPUT).items())
    assert refused.value.code == code
    assert all(refused.value.text(language).message for language in ("en", "zh"))
