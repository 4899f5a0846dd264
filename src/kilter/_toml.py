"""A parser for untrusted TOML that raises only ``ValueError``."""

import re
import tomllib
from typing import Any, Final

DEEPEST: Final = 16  # nested values; a recipe has six
LARGEST: Final = 2**63
# A dotted key of many parts, for which tomllib takes memory by their number squared: 60 kB took 3.6 GB.
_LONG_KEY: Final = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML document; ``ValueError`` with the reason for an invalid one.

    Values nested deeper than :data:`DEEPEST` and whole numbers of more than 64 bits are invalid too.

    Example:
        >>> parse_toml("epochs = 3")
        {'epochs': 3}
    """
    if _LONG_KEY.search(text):
        raise _too_deep()
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise _too_deep() from None
    level: list[Any] = [tables]
    for _ in range(DEEPEST):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise _too_deep()
    return tables


def _inside(value: Any) -> list[Any]:
    """The values of a table or an array; none for any other value."""
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise ValueError("a whole number of more than 64 bits, which TOML does not have")
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _too_deep() -> ValueError:
    return ValueError(f"tables or arrays nested more than {DEEPEST} deep")
