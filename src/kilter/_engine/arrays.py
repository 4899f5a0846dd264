"""Checks x, y and weights, and puts them on the device, before anything is traced.

As in Keras, ``x`` and ``y`` are arrays or nested lists, tuples and dicts of arrays; floats become
``keras.config.floatx()``. Integers keep their dtype: images stay uint8 on the device, which takes a quarter
of the memory, and are cast in the step.
"""

import numbers
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.host_rows import is_sparse, rows_of, with_sparse_rows
from kilter._models.arrays import plain_array
from kilter._models.keras_internals import data_adapter_utils
from kilter._text import warn
from kilter._validation import number
from kilter.data.precision import SUBTRACT, loss_note, lossy_columns
from kilter.errors import DataError, OptionError

_SHOWN_ROWS = 5
_CHECKED_VALUES = 1 << 20  # fits in the CPU cache
_LARGE_BYTES = 1 << 22  # NumPy requests large pages from this size on
_ALIGNMENT = 64  # bytes: JAX takes over an aligned buffer without a copy

Check = Literal["warn", "strict"]


@dataclass(frozen=True)
class FiniteCheck:
    """What NaN and infinity in data do: an error, or one warning for each input.

    They are always an error in weights. ``found``: what was warned of, by input.
    """

    mode: Check = "strict"
    found: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in get_args(Check):
            raise OptionError(
                expected='check as "warn" or "strict"',
                received=f"check={self.mode!r}",
                remedy='pass "strict" for an error where data have NaN or infinity',
            )

    def report(self, name: str, found: str) -> None:
        """Raise :class:`DataError` or warn that ``name`` has the values ``found``."""
        if self.mode == "strict" or name == "sample_weight":
            raise DataError(
                expected=f"finite numbers in {name}", received=found, remedy="fill or drop these rows"
            )
        if name not in self.found:
            self.found[name] = found
            warn(
                f"{name} has {found}. What is computed from them becomes NaN, unless model or loss masks "
                'them: fill or drop these rows. check="strict" makes this an error.'
            )


@dataclass(frozen=True)
class Rows:
    """Training or evaluation data: the tuple ``(x, y, sample_weight)`` and the number of rows."""

    data: tuple[Any, Any, Any]
    count: int

    def example(self, size: int) -> tuple[Any, Any, Any]:
        """The first ``size`` rows, to build a model with."""
        return jax.tree.map(lambda leaf: leaf[:size], self.data)


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array or nest of arrays; a list of tuples or of lists of arrays is batches."""
    is_batches = isinstance(value, list) and all(map(_is_batch, value))
    return not is_batches and _is_nest(value)


def _is_batch(value: Any) -> bool:
    # A list of numbers is a row, which gets its own error later.
    is_row = isinstance(value, list) and all(map(np.isscalar, keras.tree.flatten(value)))
    return isinstance(value, tuple | list) and not is_row


def _is_nest(value: Any) -> bool:
    leaves = keras.tree.flatten(value)
    return bool(leaves) and all(
        leaf is None or hasattr(leaf, "__array__") or np.isscalar(leaf) or is_sparse(leaf) for leaf in leaves
    )


def collect(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
    *,
    row_numbers: np.ndarray | None = None,
    wait: bool = False,
    finite: FiniteCheck | None = None,
) -> Rows:
    """Check the arrays and put them on the device.

    ``row_numbers``, shape (used,), are for messages: of the first rows of a part, the others being padding.
    ``wait`` leaves NumPy arrays on the host, for :func:`on_device`, unless they had to be converted.
    ``finite``: what NaN and infinity do, by default an error.
    """
    if x is None:
        raise DataError(expected="x as arrays", received="None", remedy="pass the rows to work on")
    if class_weight is not None:
        if sample_weight is not None:
            raise OptionError(
                expected="class_weight or sample_weight",
                received="both",
                remedy="multiply the class weights into sample_weight",
            )
        sample_weight = class_weights(y, class_weight)
    _check_weights(y, sample_weight)
    x = with_sparse_rows(x)
    named = {"x": x, "y": y, "sample_weight": sample_weight}
    count = row_count(**named)
    data = tuple(keras.tree.map_structure(partial(_array, name), value) for name, value in named.items())
    for name, value in zip(named, data, strict=True):
        _check_finite(name, value, row_numbers, finite or FiniteCheck())

    def placed(old: Any, new: Any) -> Any:
        is_given = isinstance(old, np.ndarray) and np.may_share_memory(old, new)
        return new if new is None or (wait and is_given) else on_device(new)

    found: Any = keras.tree.map_structure(placed, (x, y, sample_weight), data)
    return Rows(found, count)


def _check_weights(y: Any, sample_weight: Any) -> None:
    """Raise :class:`DataError` unless weights by output are given for the outputs of ``y``."""
    if not all(isinstance(one, dict | list | tuple) for one in (y, sample_weight)):
        return

    def outputs(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return sorted(value, key=str)
        return list(range(len(value)))

    wanted, given = outputs(y), outputs(sample_weight)
    if isinstance(y, dict) != isinstance(sample_weight, dict) or wanted != given:
        raise DataError(
            expected=f"sample_weight like y: {_outputs_in_words(y, wanted)}",
            received=_outputs_in_words(sample_weight, given),
            remedy="give each output its weights, None for those without, or pass one array of a weight "
            "for each row",
        )


def _outputs_in_words(value: Any, outputs: list[Any]) -> str:
    if isinstance(value, dict):
        return f"a dict with {', '.join(map(repr, outputs))}"
    return f"a {type(value).__name__} of {len(outputs)}"


def on_device(array: Any) -> Any:
    """A copy of the array on the device.

    On a CPU, JAX puts it into small pages with a slow first access; NumPy requests large ones.
    """
    if jax.default_backend() != "cpu" or not isinstance(array, np.ndarray) or array.nbytes < _LARGE_BYTES:
        return jax.device_put(array)
    room = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    first = -room.ctypes.data % _ALIGNMENT
    copy = room[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    np.copyto(copy, array)
    return jax.device_put(copy)


def split(x: Any, y: Any, sample_weight: Any, share: float) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Split the last ``share`` of the rows off for validation, before any shuffling, as Keras does."""
    x = with_sparse_rows(x)
    if x is not None and not is_array(x):
        raise DataError(
            expected="x as arrays, to split rows off for validation_split",
            received=f"batches from a {type(x).__name__}",
            remedy="leave out validation_split, and pass validation_data",
        )
    number("validation_split", share, above=0, below=1, remedy="pass a share such as 0.1")
    count = row_count(x=x)
    first = int(count * (1.0 - share))
    if first == 0 or first == count:
        raise DataError(
            expected="at least one row on each side of the split",
            received=f"{count} rows and validation_split={share}",
            remedy="give more rows, or pass validation_data",
        )
    parts = (x, y, sample_weight)
    return (
        jax.tree.map(lambda leaf: leaf[:first], parts),
        jax.tree.map(lambda leaf: leaf[first:], parts),
    )


def class_weights(y: Any, class_weight: Mapping[int, float], *, all_rows: bool = True) -> np.ndarray:
    """A weight for each row from a weight for each class, as in Keras.

    Warns of negative weights, and of keys that are no class of ``y`` if it has ``all_rows``.
    """
    labels = None if y is None or not hasattr(y, "__array__") else np.asarray(y)
    if labels is None or labels.ndim not in (1, 2):
        received = f"y of shape {labels.shape}" if labels is not None else f"y of type {type(y).__name__}"
        raise OptionError(
            expected="class_weight for one array of labels, shape (rows,) or (rows, 1), or of one-hot rows",
            received=received,
            remedy="pass sample_weight instead, a weight for each row",
        )
    given: Any = class_weight
    if not isinstance(given, Mapping) or not all(
        isinstance(number, numbers.Real) for pair in given.items() for number in pair
    ):
        raise OptionError(
            expected="class_weight as a dict from class numbers to weights",
            received=f"class_weight={class_weight!r}",
            remedy="pass a dict such as {0: 1.0, 1: 2.5}",
        )
    if not np.issubdtype(labels.dtype, np.number) and labels.dtype != bool:
        raise DataError(
            expected="y as class numbers, where class_weight is given",
            received=f"y of dtype {labels.dtype}",
            remedy="number the classes from 0",
        )
    if all_rows:
        _warn_of_weights(labels, class_weight)
    return data_adapter_utils.class_weight_to_sample_weights(labels, dict(class_weight))


def _warn_of_weights(labels: np.ndarray, class_weight: Mapping[int, float]) -> None:
    is_one_hot = labels.ndim == 2 and labels.shape[1] > 1
    classes = set(range(labels.shape[1])) if is_one_hot else set(np.unique(labels).tolist())
    strangers = [key for key in class_weight if key not in classes]
    if strangers:
        warn(f"class_weight has keys that are no class of y: {strangers}")
    negative = {key: value for key, value in class_weight.items() if value < 0}
    if negative:
        warn(
            f"class_weight has negative weights: {negative}. Training would increase the loss of these rows."
        )


def pick(data: Any, rows: Any) -> Any:
    """The given ``rows`` (a slice, or row numbers) of each array in a nest; None stays None."""
    return keras.tree.map_structure(lambda leaf: None if leaf is None else np.asarray(leaf)[rows], data)


def row_count(**named: Any) -> int:
    """The number of rows in every array; :class:`DataError` if they differ or are empty."""
    counts = {name: _lengths(name, value) for name, value in named.items()}
    lengths = {length for group in counts.values() for length in group}
    if len(lengths) != 1:
        raise DataError(
            expected="the same number of rows in every array",
            received=", ".join(f"{name}: {group}" for name, group in counts.items() if group) or "no arrays",
            remedy="compare the lengths; a row of x needs its row of y",
        )
    count = lengths.pop()
    if count == 0:
        raise DataError(
            expected="at least one row", received="0 rows", remedy="check how the data was filtered"
        )
    return count


def _lengths(name: str, value: Any) -> list[int]:
    if value is not None and not _is_nest(value):
        raise DataError(
            expected=f"{name} as arrays",
            received=f"{type(value).__name__}",
            remedy="pass NumPy or JAX arrays, or lists or dicts of them; a list of numbers needs np.asarray",
        )
    leaves = [rows_of(leaf) if is_sparse(leaf) else leaf for leaf in keras.tree.flatten(value)]
    leaves = [leaf for leaf in leaves if leaf is not None]
    scalars = [leaf for leaf in leaves if np.ndim(leaf) == 0]
    if scalars:
        raise DataError(
            expected=f"{name} with rows along the first axis",
            received=f"{name} as nested lists, with single numbers inside",
            remedy=f"convert lists first: np.asarray({name}); a list stands for several inputs or outputs",
        )
    return [int(leaf.shape[0]) for leaf in leaves]


def _array(name: str, leaf: Any) -> Any:
    """The leaf as a numeric array on the host or device it is on, floats as floatx; None stays None."""
    if leaf is None:
        return None
    if hasattr(leaf, "to_numpy"):  # pandas and polars
        leaf = leaf.to_numpy()
    check_unmasked(leaf)
    host = plain_array(leaf, name)
    _check_range(host)
    if jnp.issubdtype(host.dtype, jnp.floating) and host.dtype != keras.config.floatx():
        with np.errstate(over="ignore"):  # overflow becomes infinity and is reported
            host = host.astype(keras.config.floatx())
    return host


def check_unmasked(leaf: Any) -> None:
    """Raise :class:`DataError` for a masked array with masked values: the mask would be lost."""
    if not isinstance(leaf, np.ma.MaskedArray) or not np.ma.is_masked(leaf):
        return
    rows = np.flatnonzero(np.ma.getmaskarray(leaf).reshape(len(leaf), -1).any(axis=1))
    raise DataError(
        expected="arrays without masked values",
        received=f"a masked array with {np.ma.count_masked(leaf)} of them in {len(rows)} rows; "
        f"first rows {rows[:_SHOWN_ROWS].tolist()}",
        remedy="fill them with array.filled(value), or drop these rows",
    )


def warn_of_losses(x: Any) -> None:
    """Warn about input columns with differences that float32 cannot represent, such as unix times."""
    if keras.config.floatx() != "float32":
        return
    for leaf in keras.tree.flatten(x):
        array = leaf if isinstance(leaf, np.ndarray) else None
        columns = () if array is None else lossy_columns(array)
        for loss in loss_note("input column", columns, SUBTRACT):
            warn(loss)


def _check_range(host: Any) -> None:
    # JAX would drop the upper half: label 2**32 would become label 0.
    kept = jax.dtypes.canonicalize_dtype(host.dtype)
    if not jnp.issubdtype(host.dtype, jnp.integer) or kept == host.dtype or host.size == 0:
        return
    least, most = np.iinfo(kept).min, np.iinfo(kept).max
    if host.min() < least or host.max() > most:
        raise DataError(
            expected=f"whole numbers from {least} to {most}",
            received=f"{host.dtype} values from {host.min()} to {host.max()}",
            remedy="number the classes from 0, or convert quantities to floats",
        )


def _check_finite(name: str, value: Any, row_numbers: np.ndarray | None, check: FiniteCheck) -> None:
    for leaf in jax.tree.leaves(value):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            continue
        host = np.asarray(leaf)
        rows = np.concatenate([start + _not_finite(part) for start, part in _parts(host)])
        named = np.arange(len(host)) if row_numbers is None else row_numbers
        rows = rows[rows < len(named)]
        if len(rows):
            bad = host[rows].astype(np.float64)
            check.report(
                name,
                f"{np.isnan(bad).sum()} NaN and {np.isinf(bad).sum()} infinite values in "
                f"{len(rows)} row{'s' * (len(rows) > 1)}; "
                f"first rows {np.sort(named[rows])[:_SHOWN_ROWS].tolist()}",
            )


def _parts(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    size = max(1, _CHECKED_VALUES // max(array[:1].size, 1))
    for start in range(0, len(array), size):
        yield start, array[start : start + size]


def _not_finite(rows: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        # One pass without a mask: a sum of finite terms is finite, unless it overflows.
        if np.isfinite(rows.sum(dtype=rows.dtype)):
            return np.empty(0, np.int64)
    return np.flatnonzero(~np.isfinite(rows.astype(np.float64)).reshape(len(rows), -1).all(axis=1))
