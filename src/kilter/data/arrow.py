"""Arrow: .feather, .arrow and .ipc files, and folders that Hugging Face's datasets saved to disk."""

import json
from pathlib import Path
from typing import Any, Final

import polars as pl

from kilter._validation import errors_as
from kilter.data.assembling import About
from kilter.data.dataset import LoadOptions, Source
from kilter.data.folders import PARTS
from kilter.data.frames import frames_source, joined
from kilter.data.packed import COPIES
from kilter.data.parquet import in_rows
from kilter.data.paths import first_named, quote, require_room
from kilter.errors import DataError

ENDINGS: Final = (".feather", ".arrow", ".ipc")
# What datasets.save_to_disk writes: several parts, or one.
_DIVIDED, _INFO, _STATE = "dataset_dict.json", "dataset_info.json", "state.json"
_FILE_MAGIC: Final = b"ARROW1"


def recognises(path: Path) -> bool:
    """Whether the path ends in one of ENDINGS."""
    return path.suffix.lower() in ENDINGS


def frame(path: Path, options: LoadOptions) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table of an Arrow file, in the file or the stream format."""
    return joined([path], "Arrow", _one), ()


def recognises_folder(path: Path) -> bool:
    """Whether the path is a folder that ``datasets.save_to_disk`` wrote."""
    return path.is_dir() and ((path / _DIVIDED).is_file() or (path / _STATE).is_file())


def read_folder(path: Path, options: LoadOptions) -> Source:
    """Read the parts train, validation and test of a folder, or the only one."""
    folders, notes = {"train": path}, ()
    if (path / _DIVIDED).is_file():
        names = [str(name) for name in _json(path / _DIVIDED)["splits"]]
        chosen = {
            part: next((name for name in names if name.lower() in begins), None)
            for part, begins in PARTS.items()
        }
        if chosen["train"] is None and names:
            chosen = {"train": names[0]}
        folders = {part: path / name for part, name in chosen.items() if name is not None}
        rest = [quote(name) for name in names if path / name not in folders.values()]
        notes = (f"not read: {first_named(rest)}",) if rest else ()
    frames = {part: joined(_files(folder), "Arrow", _one) for part, folder in folders.items()}
    about = About("arrow table", str(path), path.resolve().name, notes=notes)
    return frames_source(frames, options, about, lambda label: _classes(folders["train"], label))


def first_rows(path: Path) -> pl.DataFrame:
    """The first rows of the training part of a folder."""
    folder = path
    if (path / _DIVIDED).is_file():
        names = [str(name) for name in _json(path / _DIVIDED)["splits"]]
        folder = path / next((name for name in names if name.lower() in PARTS["train"]), names[0])
    return joined(_files(folder)[:1], "Arrow", _one)


def _files(folder: Path) -> list[Path]:
    return [folder / str(entry["filename"]) for entry in _json(folder / _STATE)["_data_files"]]


def _classes(folder: Path, label: str) -> tuple[str, ...] | None:
    """The names of the classes of a label column, as the folder says them."""
    try:
        names = json.loads((folder / _INFO).read_text("utf-8"))["features"][label]["names"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return tuple(map(str, names)) or None


def _json(path: Path) -> Any:
    with errors_as(
        DataError,
        *(OSError, ValueError),
        expected=f"a folder that datasets.save_to_disk wrote, with {path.name}",
        received=f"{path}, which cannot be read",
        remedy="save the data set again",
    ):
        return json.loads(path.read_text("utf-8"))


def _one(file: Path) -> pl.DataFrame:
    with file.open("rb") as opened:
        is_file_format = opened.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    if not is_file_format:
        return pl.read_ipc_stream(file)
    require_room(COPIES * in_rows(pl.scan_ipc(file)), file)
    return pl.read_ipc(file)
