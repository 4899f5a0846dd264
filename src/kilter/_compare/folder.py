"""The folder of a comparison: what was asked for, and which of its runs are there.

``<folder>/<candidate>/asked.txt`` is what the candidate was, ``<folder>/<candidate>/seed-<n>/`` holds the run
directory of the pair with that seed. Nothing else says what is done, so a comparison goes on after any end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from kilter.errors import RunError
from kilter.runs.atomic import errors_named, write_text
from kilter.runs.reading import DATA, RunRecords, is_run, open_run

ASKED = "asked.txt"
LOCK = "lock"
RESULT = "comparison.json"
PARENT = Path("comparisons")


class Asked(Protocol):
    """A candidate, as far as its folder goes."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        ...

    @property
    def text(self) -> str:
        """What it is: the same text means the same runs."""
        ...


def new_folder(baseline: str) -> Path:
    """Where a comparison goes that was not told where to; it is not made."""
    return PARENT / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{baseline}"


def require_same(folder: Path, candidates: Sequence[Asked]) -> None:
    """Raise :class:`RunError` where the folder has runs of another candidate under one of the names.

    So it does where there is something else in the folder's place.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(
            expected="a folder for the runs", received=f"{folder}, which is a file", remedy="name another one"
        )
    for candidate in candidates:
        path = folder / candidate.name / ASKED
        if not path.exists():
            continue
        with errors_named(path, doing="read"):
            before = path.read_bytes().decode("utf-8", errors="replace")
        if before != candidate.text:
            raise RunError(
                expected=f"in {folder} runs of {candidate.name} as it is now",
                received=f"runs of another one of this name ({_first_difference(before, candidate.text)})",
                remedy="choose another folder, or give the candidate back what it was",
            )


def prepare(folder: Path, candidates: Sequence[Asked]) -> None:
    """Make the folder, and write down what its candidates are."""
    with errors_named(folder):
        for candidate in candidates:
            (folder / candidate.name).mkdir(parents=True, exist_ok=True)
    for candidate in candidates:
        write_text(folder / candidate.name / ASKED, candidate.text)


def place(folder: Path, name: str, seed: int) -> Path:
    """The parent of the run directory of one candidate in one pair."""
    return folder / name / f"seed-{seed}"


def finished_run(parent: Path) -> RunRecords | None:
    """The run below `parent` that came to its end; None where none has."""
    for path in _runs(parent):
        records = open_run(path)
        if records.status == "finished":
            return records
    return None


def begun_run(parent: Path) -> Path | None:
    """A run below `parent` that can be resumed: its data are described already, and it did not end."""
    begun = [path for path in _runs(parent) if (path / DATA).is_file()]
    return next((path for path in begun if open_run(path).status != "finished"), None)


def _runs(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if is_run(path)) if parent.is_dir() else []


def _first_difference(before: str, now: str) -> str:
    """The first line that is not the same, as it was and as it is."""
    lines = zip([*before.splitlines(), ""], [*now.splitlines(), ""], strict=False)
    was, is_now = next(((one, other) for one, other in lines if one != other), ("", ""))
    return f"{was!r} there, {is_now!r} now"
