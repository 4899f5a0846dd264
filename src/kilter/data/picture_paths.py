"""Where the pictures of a table are: with or without ending, beside it or below, whatever path it names."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PureWindowsPath
from typing import Final

from kilter.data.folders import EXTENSIONS

_MOST_FOLDERS: Final = 50  # on each of the two levels below the table


@dataclass(frozen=True)
class Pictures:
    """A column that names picture files, and where they are.

    ``folder``: what their paths are relative to, or the folder of the first one. ``files``: the pictures by
    name, if the names have no ending or another folder; {} if they are relative paths.
    """

    column: str
    folder: Path
    files: Mapping[str, Path]

    def path_of(self, name: str) -> Path:
        """The picture that an entry of the column names; it may be missing."""
        path = self.folder / _plain(name)
        return self.files.get(_plain(name).name.lower(), path)


def are_pictures(names: Sequence[str]) -> bool:
    """Whether all names have the ending of a picture."""
    return bool(names) and all(name.lower().endswith(EXTENSIONS) for name in names)


def locate(column: str, names: Sequence[str], parent: Path) -> Pictures | None:
    """Where the pictures of a column of the table in ``parent`` are; None if they are not found.

    Some must be found; of names without ending most, which then are no numbers by chance.
    """
    folders = [parent, *_inside(parent)]
    certain = are_pictures(names)
    counts = [
        sum((folder / _plain(name)).is_file() for name in names) if certain else 0 for folder in folders
    ]
    best = folders[counts.index(max(counts))]
    if max(counts) == len(names):
        return Pictures(column, best, {})
    deeper = [one for folder in folders[1:] for one in _inside(folder)]
    files = _by_name([*folders, *deeper], with_ending=certain)
    found = [files[key] for name in names if (key := _plain(name).name.lower()) in files]
    if max(counts) >= max(len(found), 1):
        return Pictures(column, best, {})
    few = 2 * min(len(found), len(set(names))) <= len(names)  # or the numbers of a few groups
    if not found or (not certain and few):
        return None
    return Pictures(column, found[0].parent, files)


def _plain(name: str) -> Path:
    """The path with the marks of this system between folders."""
    return Path(*PureWindowsPath(name.strip()).parts) if "\\" in name else Path(name.strip())


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(islice((entry for entry in folder.iterdir() if entry.is_dir()), _MOST_FOLDERS))
    except OSError:
        return []


def _by_name(folders: Sequence[Path], *, with_ending: bool) -> dict[str, Path]:
    """The pictures in the folders by name in lower case; without those of which there are several."""
    found: dict[str, Path] = {}
    twice: set[str] = set()
    for entry in (entry for folder in folders for entry in _pictures(folder)):
        key = (entry.name if with_ending else entry.stem).lower()
        if key in found:
            twice.add(key)
        found[key] = entry
    return {key: entry for key, entry in found.items() if key not in twice}


def _pictures(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in EXTENSIONS)
    except OSError:
        return
