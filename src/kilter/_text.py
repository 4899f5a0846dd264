"""Words that the command line, the report and error messages share."""

import difflib
import functools
import inspect
import math
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

_LONGEST_LINE = 200
# How Keras begins an error from a layer; the cause is on the next line, in bold.
_WRAPPER: Final = "Exception encountered when calling "
_NOUNS: Final = "epoch|step|row|column|layer|unit|pixel|image|number|value|update|pair|dimension|weight|batch"
_AFTER_ONE: Final = re.compile(
    rf"(?<![\w.,])(1 (?:hidden |different |planned |more )?)({_NOUNS})(?:s|(?<=ch)es)\b"
)
_BOLD: Final = re.compile("\x1b\\[[0-9;]*m")


def first_line(error: BaseException) -> str:
    """The first line of an error's text that names the cause, up to 200 characters; else its type.

    Example:
        >>> first_line(ValueError("no such shape\\nCall arguments received: ..."))
        'no such shape'
        >>> first_line(ValueError("Exception encountered when calling Dense.call().\\n\\nno such shape"))
        'no such shape'
    """
    lines = [_BOLD.sub("", line).strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(_WRAPPER)]
    return (telling or [type(error).__name__])[0][:_LONGEST_LINE]


def cause(error: BaseException) -> str:
    """What went wrong: the system's message for an OSError, otherwise type and first line of the text.

    Example:
        >>> cause(PermissionError(13, "Permission denied", "data.csv")), cause(KeyError("x"))
        ('Permission denied', "KeyError: 'x'")
    """
    spoken = error.strerror if isinstance(error, OSError) else None
    return spoken or f"{type(error).__name__}: {first_line(error)}"


def did_you_mean(name: object, known: Iterable[object], otherwise: str, *, cutoff: float = 0.6) -> str:
    """The remedy for an unknown name: the nearest of the ``known`` ones, or ``otherwise`` if none is near.

    Example:
        >>> did_you_mean("adma", ["sgd", "adam"], "choose one of these")
        "did you mean 'adam'?"
        >>> did_you_mean("", ["", "adam"], "choose one of these")
        'choose one of these'
    """
    near = difflib.get_close_matches(str(name), [str(one) for one in known if str(one)], n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else otherwise


def warn(text: str) -> None:
    """Warn, and point at the line outside kilter that called it."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "kilter":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


@functools.cache
def warn_once(text: str) -> None:
    """:func:`warn` with this text once in a process, regardless of the warning filters."""
    warn(text)


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


def printable(text: str) -> str:
    """``text`` with every control character escaped, so that data cannot control the terminal.

    Every kind of space becomes a plain one.

    Example:
        >>> printable("a\\x1b[31mred")
        'a\\\\x1b[31mred'
    """
    if text.isprintable():
        return text
    signs = (" " if unicodedata.category(sign) == "Zs" else sign for sign in text)
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in signs)


def number(value: float) -> str:
    """``value`` with four significant digits, thousands with commas; "nan", "inf" or "-inf".

    Example:
        >>> number(0.123456), number(12345.6), number(float("nan"))
        ('0.1235', '12,346', 'nan')
    """
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def counted(number: int, noun: str, several: str | None = None) -> str:
    """A number with its noun, in the plural unless the number is 1.

    Example:
        >>> counted(1, "epoch"), counted(1200, "row"), counted(2, "class", "classes")
        ('1 epoch', '1,200 rows', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def singular(text: str) -> str:
    """``text`` with the nouns of texts about training in the singular after the number 1.

    Example:
        >>> singular("In 1 epochs, 1 hidden layers saw 21 rows and 1 more columns")
        'In 1 epoch, 1 hidden layer saw 21 rows and 1 more column'
    """
    return _AFTER_ONE.sub(lambda found: found[1] + found[2], text)


def few(names: Sequence[str], most: int = 3) -> str:
    """The first ``most`` names with commas, and the number of the others.

    Example:
        >>> few(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def listed(names: Iterable[str], most: int = 3) -> str:
    """:func:`few` of the different names."""
    return few(list(dict.fromkeys(names)), most)


def measures(logs: Mapping[str, float]) -> str:
    """The measures of an epoch in a line, the loss first.

    Beside each, in parentheses: of the training rows in inference mode, and of the validation rows.

    Example:
        >>> measures({"accuracy": 0.9, "loss": 0.5, "val_loss": 0.75, "val_f1": 0.25})
        'loss 0.5000 (val 0.7500)  accuracy 0.9000  val_f1 0.2500'
    """
    shown: list[str] = []
    for name in sorted(logs, key=lambda name: (name.startswith(_OTHER_ROWS), name != "loss")):
        beside = [f"{rows[:-1]} {_fixed(logs[rows + name])}" for rows in _OTHER_ROWS if rows + name in logs]
        rows, _, rest = name.partition("_")
        if f"{rows}_" not in _OTHER_ROWS or rest not in logs:
            more = f" ({', '.join(beside)})" if beside else ""
            shown.append(f"{printable(name)} {_fixed(logs[name])}{more}")
    return "  ".join(shown)


_OTHER_ROWS: Final = ("train_", "val_")


def _fixed(value: float) -> str:
    """Four decimals, so that epochs align; none from 10,000; an exponent for very small or large values."""
    if not math.isfinite(value) or value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4f}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.3e}"


def as_number(value: float) -> str:
    """Four digits; "not finite" for NaN and infinity.

    Example:
        >>> as_number(0.12345), as_number(float("nan"))
        ('0.1235', 'not finite')
    """
    return number(value) if math.isfinite(value) else "not finite"
