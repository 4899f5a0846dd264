"""Words that the command line, the report and error messages share."""

from __future__ import annotations

import re
from typing import Final

_LONGEST_LINE = 200
# How Keras begins the text of an error from a layer; what was wrong comes on the next line, in bold.
_WRAPPER: Final = "Exception encountered when calling "
_BOLD: Final = re.compile("\x1b\\[[0-9;]*m")


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says what is wrong, at most 200 characters of it.

    The name of its type, where it has no text.

    Example:
        >>> first_line(ValueError("no such shape\\nCall arguments received: ..."))
        'no such shape'
        >>> first_line(ValueError("Exception encountered when calling Dense.call().\\n\\nno such shape"))
        'no such shape'
    """
    lines = [_BOLD.sub("", line).strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(_WRAPPER)]
    return (telling or [type(error).__name__])[0][:_LONGEST_LINE]


def duration(seconds: float) -> str:
    """A length of time in its two largest units.

    Example:
        >>> duration(0.034), duration(7.25), duration(125), duration(7320)
        ('34 ms', '7.2 s', '2 min 5 s', '2 h 2 min')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
