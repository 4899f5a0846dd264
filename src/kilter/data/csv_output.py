"""Tables as CSV text that a spreadsheet shows and does not run."""

import json
from typing import Any, Final

import polars as pl

# A cell that begins so is a formula to a spreadsheet, also in full width, and after a tab or line break.
_FORMULA: Final = r"^[=+\-@\t\r\n＝＋－＠]"
_NUMBER: Final = r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$"


def csv_text(frame: pl.DataFrame) -> str:
    """The table as CSV. Names and texts that a spreadsheet would run as a formula get a leading apostrophe.

    Plain numbers such as -1 stay as they are. Lists and structures become JSON, bytes their number.

    Example:
        >>> csv_text(pl.DataFrame({"name": ["=1+1", "-1"]}))
        "name\\n'=1+1\\n-1\\n"
    """
    columns = [_flat(one) for one in frame.get_columns()]
    columns = [_harmless(one) if one.dtype == pl.String else one for one in columns]
    names = _harmless(pl.Series([one.name for one in columns], dtype=pl.String)).to_list()
    return pl.DataFrame([one.alias(name) for one, name in zip(columns, names, strict=True)]).write_csv()


def _harmless(text: pl.Series) -> pl.Series:
    runs = (text.str.contains(_FORMULA) & ~text.str.contains(_NUMBER)).fill_null(False)
    return ("'" + text).zip_with(runs, text).alias(text.name) if runs.any() else text


def _flat(series: pl.Series) -> pl.Series:
    if series.dtype == pl.Binary:
        texts = [None if one is None else f"{len(one)} bytes" for one in series.to_list()]
    elif series.dtype.is_nested() or series.dtype == pl.Object:
        texts = [None if one is None else json.dumps(one, default=_shown) for one in series.to_list()]
    elif isinstance(series.dtype, pl.Categorical | pl.Enum):
        return series.cast(pl.String)
    else:
        return series
    return pl.Series(series.name, texts, dtype=pl.String)


def _shown(value: Any) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)
