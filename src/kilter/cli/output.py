"""Files that a command writes where it is told to."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from kilter.errors import OptionError


def check_out(out: Path, suffixes: Collection[str]) -> None:
    """Before an hour of work: whether its result could be written, by ``out``'s suffix and folder."""
    if out.suffix not in suffixes:
        raise OptionError(
            expected=f"--out with one of {', '.join(suffixes)}",
            received=f"--out {out}",
            remedy=f"for example --out {out.stem or 'result'}{next(iter(suffixes))}",
        )
    if not out.parent.is_dir():
        raise OptionError(
            expected="--out in a folder that exists",
            received=f"--out {out}",
            remedy=f"make {out.parent} first",
        )
