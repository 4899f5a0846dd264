"""Words that the command line, the report and error messages share."""

from __future__ import annotations

_LONGEST_LINE = 200


def first_line(error: BaseException) -> str:
    """The first line of an error's text, cut after 200 characters; its type's name where it has no text.

    Example:
        >>> first_line(ValueError("no such shape\\nCall arguments received: ..."))
        'no such shape'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:_LONGEST_LINE]


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
