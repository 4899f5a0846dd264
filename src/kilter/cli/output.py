"""Files that a command writes where it is told to."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

from kilter.errors import OptionError, RunError


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


@contextlib.contextmanager
def made(out: Path) -> Iterator[None]:
    """Make the folder ``out`` before an hour of work; remove it again if the work fails and left it empty.

    Raises :class:`RunError` if it cannot be made.
    """
    existed = out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            expected="--out as a folder that can be made",
            received=f"{out}: {error.strerror}",
            remedy="name another one",
        ) from error
    try:
        yield
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):  # not empty: something in it is worth keeping
                out.rmdir()
        raise
