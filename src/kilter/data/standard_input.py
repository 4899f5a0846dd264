"""Data from standard input, of any format that its first bytes tell."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from kilter.data.dataset import LoadOptions, Source
from kilter.data.file_kinds import ending_by_content
from kilter.errors import DataError

NAME: Final = "-"


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
        path = Path(folder) / "standard-input"
        path.write_bytes(content)
        path = path.rename(path.with_suffix(ending_by_content(path) or _ending(content)))
        found = read_file(path, options)
    return replace(found, origin="standard input")


def _ending(content: bytes) -> str:
    if content.startswith(b"\x1f\x8b"):
        return ".csv.gz"
    return ".jsonl" if content.lstrip()[:1] in (b"{", b"[") else ".csv"
