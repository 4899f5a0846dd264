"""Data from standard input, of any format that its first bytes tell."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from kilter.data.dataset import LoadOptions, Source
from kilter.errors import DataError

NAME: Final = "-"
_BY_BEGINNING: Final = {
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"SQLite format 3": ".db",
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"\x1f\x8b": ".csv.gz",
}


def recognises(source: str) -> bool:
    """Whether the source is "-"."""
    return source == NAME


def read(source: str, options: LoadOptions, read_file: Callable[[Path, LoadOptions], Source]) -> Source:
    """Read all of standard input with ``read_file``, under the ending that its content has."""
    content = sys.stdin.buffer.read()
    if not content:
        raise DataError(
            expected="data on standard input, because the source is -",
            received="nothing",
            remedy="pipe a table into kilter, or name a file; each command reads standard input once",
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"standard-input{_ending(content)}"
        path.write_bytes(content)
        found = read_file(path, options)
    return replace(found, origin="standard input")


def _ending(content: bytes) -> str:
    known = next((ending for begin, ending in _BY_BEGINNING.items() if content.startswith(begin)), None)
    if known is not None:
        return known
    if content.startswith(b"PK"):
        return ".npz" if b".npy" in content[:200] else ".xlsx"
    return ".jsonl" if content.lstrip()[:1] in (b"{", b"[") else ".csv"
