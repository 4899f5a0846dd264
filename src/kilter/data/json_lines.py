"""JSON: an object a line (.jsonl, .ndjson), a list of objects, or an object of columns or rows (.json)."""

import io
import json
from pathlib import Path
from typing import Any

import polars as pl

from kilter.data.charsets import utf8
from kilter.data.dataset import LoadOptions
from kilter.data.packed import plain_name
from kilter.data.paths import quote
from kilter.data.plain_frame import reading
from kilter.errors import DataError

ENDINGS = (".jsonl", ".ndjson", ".json")
_KEYS_OF_COCO = {"images", "annotations", "categories"}
_KEYS_OF_SPLIT = {"columns", "data"}  # pandas: to_json(orient="split")


def recognises(path: Path) -> bool:
    """Whether the path ends in one of ENDINGS, also compressed."""
    return plain_name(path).endswith(ENDINGS)


def frame(path: Path, options: LoadOptions) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table of the objects, with a column for each key, and notes."""
    with reading(
        path,
        expected=f"JSON objects in {path}, one a line or in one list",
        received="text that is not",
        remedy="write the file again, for example with pandas: to_json(path, orient='records', lines=True)",
    ):
        content, notes = utf8(path)
        whole = content if isinstance(content, bytes) else content.read_bytes()
        if whole.lstrip()[:1] == b"[":
            return pl.read_json(io.BytesIO(whole), infer_schema_length=None), notes
        one_object = _object(whole)
        if one_object is not None:
            table, more = _of_object(one_object)
            return table, notes + more
        return pl.read_ndjson(io.BytesIO(whole), infer_schema_length=None), notes


def _object(whole: bytes) -> dict[str, Any] | None:
    """The content if it is a single object; None for an object a line."""
    first, _, rest = whole.strip().partition(b"\n")
    if rest:
        try:
            json.loads(first)
        except ValueError:
            pass
        else:
            return None
    found = json.loads(whole)
    return found if isinstance(found, dict) else None


def _of_object(content: dict[str, Any]) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table of an object: of columns, of columns by row name, of rows under a key, or one row."""
    if content.keys() >= _KEYS_OF_SPLIT and isinstance(content["columns"], list):
        rows = content["data"]
        return pl.DataFrame(rows, schema=list(map(str, content["columns"])), orient="row", strict=False), ()
    if content.keys() >= _KEYS_OF_COCO:
        raise DataError(
            expected="a table",
            received="annotations in the format of COCO: boxes and polygons, which kilter does not read",
            remedy="save the polygons as masks, in a folder masks beside the images; or write a .csv table "
            "with a column of file names and one of labels",
        )
    values = list(content.values())
    if values and all(isinstance(one, list) for one in values) and len(set(map(len, values))) == 1:
        of_rows = len(values) == 1 and isinstance(next(iter(values[0]), None), dict)
        if not of_rows:
            return pl.DataFrame(content, strict=False), ()
    if len(values) > 1 and all(isinstance(one, dict) for one in values):
        names = list(values[0])
        if all(list(one) == names for one in values) and len(names) > len(values):  # pandas: the default
            return pl.DataFrame({key: list(one.values()) for key, one in content.items()}, strict=False), ()
        return pl.DataFrame(
            [{"key": key, **one} for key, one in content.items()], strict=False, infer_schema_length=None
        ), ()
    tables = {
        key: one for key, one in content.items() if one and isinstance(one, list) and isinstance(one[0], dict)
    }
    if not tables:
        return pl.DataFrame([content], strict=False), ()
    key = max(tables, key=lambda one: len(tables[one]))
    return (
        pl.DataFrame(tables[key], strict=False, infer_schema_length=None),
        (f"the table is the list {quote(key)} of the object",),
    )
