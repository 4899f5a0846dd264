"""Files and names in messages: whether they exist, near names, and short lists."""

import difflib
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kilter._system import require_memory, sibling_names
from kilter._validation import errors_as
from kilter.errors import DataError

# What readers of binary files raise on damage; found by fuzzing, see tests/data.
DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, SyntaxError, OverflowError),
    *(RuntimeError, MemoryError, struct.error, zlib.error),
)
# The most rows, files or columns that a message names; it counts the rest.
NAMED_IN_MESSAGES = 5
# The remedy for bad rows in training and in prediction, which has no skip_bad.
LEAVE_ROWS_OUT = "leave these rows out of the data (in training with skip_bad=True, --set data.skip_bad=true)"


def require_file(path: Path) -> int:
    """Size of the file in bytes. Raises DataError if it is missing, unreadable, no file or empty."""
    with errors_as(
        DataError,
        *(OSError, ValueError),  # ValueError: a zero byte in the name
        expected=f"a readable file {path}",
        remedy=f"check the path{nearest_name(path.name, sibling_names(path))}",
    ):
        size = path.stat().st_size
        readable = path.is_file()
    if not readable or size == 0:
        raise DataError(
            expected=f"data in {path}",
            received="an empty file (0 bytes)" if readable else "something that is not a file",
            remedy="write or download the file again",
        )
    return size


def require_room(needed: int, path: Path) -> None:
    """Raise DataError if what a file unpacks to, ``needed`` bytes, does not fit into the free memory."""
    require_memory(
        needed,
        DataError,
        expected=f"data that fit into memory in {path}",
        received="a file that unpacks to more",
        remedy="check that the file is what you think it is; kilter.data.stream reads large ones in parts",
    )


def in_utf8(name: str) -> str:
    """The name of a file as text that UTF-8 can contain: other bytes are written as \\xNN.

    Example:
        >>> in_utf8("caf\\udce9"), in_utf8("café")
        ('caf\\\\xe9', 'café')
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A clause that suggests the nearest known names, or "" if none is near.

    Example:
        >>> nearest_name("cifar-10", ["digits", "cifar10"])
        ' (did you mean "cifar10"?)'
    """
    near = difflib.get_close_matches(name, list(known), n=2)
    return f" (did you mean {' or '.join(quote(found) for found in near)}?)" if near else ""


def quote(text: str) -> str:
    """The text in double quotes, shortened to 60 characters."""
    return f'"{text if len(text) <= 60 else text[:57] + "..."}"'


def first_named(items: Iterable[object], *, total: int | None = None, separator: str = ", ") -> str:
    """The first few items as text, and the number of others.

    Example:
        >>> first_named(range(8))
        '0, 1, 2, 3, 4 and 3 more'
    """
    listed = list(items)
    more = (len(listed) if total is None else total) - len(listed[:NAMED_IN_MESSAGES])
    text = separator.join(str(item) for item in listed[:NAMED_IN_MESSAGES])
    return f"{text} and {more} more" if more > 0 else text


def name_rows(rows: np.ndarray) -> str:
    """The clause "in row 3" or "in rows 3, 4, 9 and 2 more", rows counted from 0."""
    return f"in row{'s' if len(rows) > 1 else ''} {first_named(rows[:NAMED_IN_MESSAGES], total=len(rows))}"
