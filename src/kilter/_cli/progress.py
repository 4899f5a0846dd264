"""Where the command line says what it is doing: on stderr, so that results can be piped.

Loads nothing heavy: the first line is on the screen before JAX and Keras are imported.
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

    It is closed however the command ends, so that errors and results stand on lines of their own. Lasting
    lines, such as an epoch's measures, go to stdout; to stderr ``as_json``, which stands alone on stdout.
    """
    shown = SILENT if quiet else display("auto", sys.stderr, kept=sys.stderr if as_json else sys.stdout)
    shown.stage(first)
    try:
        yield shown
    finally:
        shown.close()
