"""The progress of a command, on stderr, so that results can be piped.

Loads nothing heavy: the first line appears before JAX and Keras are imported.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Final

from kilter._progress import SILENT, Display, display

LOADING: Final = "Loading JAX and Keras"


@contextlib.contextmanager
def opened(first: str = LOADING, *, quiet: bool = False, as_json: bool = False) -> Iterator[Display]:
    """The display of a command, which shows ``first`` at once; nothing if ``quiet``.

    It is closed however the command ends, so that errors and results have their own lines. Permanent lines,
    such as an epoch's measures, go to stdout, or to stderr if ``as_json``.
    """
    shown = SILENT if quiet else display("auto", sys.stderr, kept=sys.stderr if as_json else sys.stdout)
    shown.stage(first)
    try:
        yield shown
    finally:
        shown.close()
