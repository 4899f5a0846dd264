"""JSON: an object a line (.jsonl, .ndjson), or a list of objects (.json)."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from kilter._validation import errors_as
from kilter.data.charsets import utf8
from kilter.data.dataset import LoadOptions
from kilter.data.paths import require_file
from kilter.data.tables import UNREADABLE
from kilter.errors import DataError

ENDINGS = (".jsonl", ".ndjson", ".json")


def recognises(path: Path) -> bool:
    """Whether the path ends in one of ENDINGS."""
    return path.suffix.lower() in ENDINGS


def frame(path: Path, options: LoadOptions) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table of the objects, with a column for each key, and notes."""
    require_file(path)
    with errors_as(
        DataError,
        *UNREADABLE,
        expected=f"JSON objects in {path}, one a line or in one list",
        received="text that is not",
        remedy="write the file again, for example with pandas: to_json(path, orient='records', lines=True)",
    ):
        content, notes = utf8(path)
        whole = content if isinstance(content, bytes) else content.read_bytes()
        if whole.lstrip()[:1] == b"[":
            return pl.read_json(io.BytesIO(whole), infer_schema_length=None), notes
        return pl.read_ndjson(io.BytesIO(whole), infer_schema_length=None), notes
