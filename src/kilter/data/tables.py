"""Tables (CSV or Parquet): the target column, the encoding of the others, and the rows as float32."""

from dataclasses import replace
from typing import Final, Literal

import numpy as np
import polars as pl

from kilter._text import counted
from kilter.data.assembling import About, Part, assemble
from kilter.data.columns import NO_VALUES, reason_to_set_aside
from kilter.data.dataset import LoadOptions, Source, TableTask, Task
from kilter.data.encoding import Column, TableEncoding
from kilter.data.entries import (
    are_codes,
    as_numbers,
    is_text,
    known_numbers,
    plain_text,
    raw_targets,
    with_signs,
)
from kilter.data.features import Values, column_values
from kilter.data.labels import (
    MAX_CLASSES_AUTO,
    class_names,
    combined_labels_note,
    decide_task,
    if_usable,
    lost_labels,
    one_hot_names,
    require_repeated,
    task_note,
)
from kilter.data.many_columns import find_columns
from kilter.data.number_formats import mostly_numbers, reading_note
from kilter.data.paths import (
    LEAVE_ROWS_OUT,
    NAMED_IN_MESSAGES,
    first_named,
    name_rows,
    nearest_name,
    quote,
)
from kilter.data.plain_frame import plain
from kilter.data.precision import STANDARDIZE, loss_note, shift_note
from kilter.data.rows import without_totals
from kilter.data.spelling import in_one_spelling, spelling_note
from kilter.data.suspicions import suspicions, target_suspicions
from kilter.data.usage import day_first_note, ids_among, shape_notes, signs_by_column, usable_columns
from kilter.errors import DataError

# Names of the default target, in order of preference, in any case.
TARGET_NAMES = ("target", "label", "class", "y")
_BLOCK_ROWS: Final = 4096


def table_source(
    frame: pl.DataFrame,
    test: pl.DataFrame | None,
    options: LoadOptions,
    about: About,
    validation: pl.DataFrame | None = None,
) -> Source:
    """Encode the frames as ``options.encoding`` says, or as found in ``frame``, and assemble the source."""
    frame, shaped = plain(frame, options.known_target)
    if not options.unlabelled:
        frame, left = without_totals(frame)
        shaped += left
    named = options.known_target
    frame = with_joint_target(frame, named)
    test, validation = (
        None if one is None else with_joint_target(plain(one, named)[0], named) for one in (test, validation)
    )
    about = replace(about, notes=about.notes + shaped)
    if options.seen is not None:
        options.seen(frame)
    if frame.height == 0:
        raise DataError(
            expected=f"rows in {about.origin}",
            received=f"0 rows ({len(frame.columns)} columns)",
            remedy="check that the file is complete and the right one",
        )
    encoding, notes, losses = options.encoding, about.notes, about.losses
    if encoding is None:
        target, found = choose_target(frame.columns, options.target, about.origin, frame)
        notes += found
        encoding, more = _fit_encoding(frame, target, options)
        notes += more
        losses += () if options.center else _losses(frame, encoding)
    elif options.target is not None:
        encoding = _with_target(encoding, frame.columns, options.target, about.origin)
    about = replace(about, features=encoding.features, encoding=encoding, notes=notes, losses=losses)
    train_part = _encode(frame, encoding, options, f"{options.rows} {about.origin}")
    held_out = (
        None if one is None else _encode(one, encoding, options, f"{name} data {about.origin}")
        for name, one in (("test", test), ("validation", validation))
    )
    return assemble(train_part, next(held_out), options, about, next(held_out))


def with_joint_target(frame: pl.DataFrame, target: str | None) -> pl.DataFrame:
    """The frame with its targets as one column of arrays if ``target`` names several: "height,weight"."""
    names = [name.strip() for name in (target or "").split(",")]
    if len(names) < 2 or target in frame.columns or not set(names) <= set(frame.columns):
        return frame
    numbers = [pl.Series(name, as_numbers(frame[name], targets=True)[0].astype(float)) for name in names]
    joint = pl.Series(target, np.column_stack(numbers), dtype=pl.Array(pl.Float64, len(names)))
    return frame.drop(names).with_columns(joint)


def choose_target(
    columns: list[str], wanted: str | None, origin: str, frame: pl.DataFrame | None = None
) -> tuple[str, tuple[str, ...]]:
    """The target column and, unless it is ``wanted``, a note that names it.

    Of a ``frame`` the last column is taken that is not one of texts, of row numbers or without values.
    """
    if wanted is not None:
        if wanted in columns:
            return wanted, ()
        placed = f"column_{wanted}"  # of a file without a header
        near = f" (did you mean {quote(placed)}?)" if placed in columns else nearest_name(wanted, columns)
        raise DataError(
            expected=f"a target column among {first_named(map(quote, columns))} in {origin}",
            received=f"target={wanted!r}",
            remedy=f"name one of the columns{near}",
        )
    by_name = {column.lower(): column for column in reversed(columns)}
    named = next((by_name[name] for name in TARGET_NAMES if name in by_name), None)
    fit = (one for one in reversed(columns) if frame is None or _can_be_target(frame[one]))
    target = next(fit, columns[-1]) if named is None else named
    why = "by its name" if named else f"the last column{'' if target == columns[-1] else ' that can be one'}"
    return target, (
        f"the target is column {quote(target)} ({why}); to choose another: --target NAME (in Python target=)",
    )


def _can_be_target(series: pl.Series) -> bool:
    reason = reason_to_set_aside(series)
    return reason is None or not (reason.is_text or reason.is_id or reason == NO_VALUES)


def _with_target(encoding: TableEncoding, columns: list[str], target: str, origin: str) -> TableEncoding:
    """The encoding for a file with a target that has another name than in training."""
    choose_target(columns, target, origin)
    _require_hidden(target, encoding.columns, encoding.target)
    return replace(encoding, target=target)


def _require_hidden(target: str, columns: tuple[Column, ...], trained_on: str) -> None:
    """Raise DataError if the target is one of the model's inputs."""
    if any(column.name == target for column in columns):
        raise DataError(
            expected="a target column that is not one of the model's inputs",
            received=f"target={target!r}, one of the {len(columns)} columns it was trained on",
            remedy="name the column with the true values"
            + ("" if trained_on == target else f" (in training: {quote(trained_on)})"),
        )


def _fit_encoding(
    frame: pl.DataFrame, target: str, options: LoadOptions
) -> tuple[TableEncoding, tuple[str, ...]]:
    """The encoding found in the training frame, and notes on what was decided about its columns."""
    features = [series for series in frame.get_columns() if series.name != target]
    signs = signs_by_column(options.missing, frame.columns)
    if options.columns:
        _require_hidden(target, options.columns, target)
        known = {one.name for one in options.columns}
        ids = ids_among([one for one in features if one.name not in known])
        columns, features, aside = options.columns, [], ()
    else:
        usage = usable_columns(features, options)
        kinds, ids, aside = usage.kinds, usage.ids, usage.notes
        features = [with_signs(one, signs.get(one.name, ())) for one in usage.kept]
        how: Literal["hash", "bag"] = "hash" if options.text == "hash" else "bag"
        columns = find_columns(features, precise=options.center, kinds=kinds, text=how)
        if signs:
            columns = tuple(replace(one, signs=signs.get(one.name, ())) for one in columns)
    if not columns:
        raise DataError(
            expected="feature columns besides the target",
            received=f"the column {quote(target)} and {' '.join(aside) or 'no other'}",
            remedy="check the separator (comma, semicolon or tab) and the file",
        )
    missing = signs.get(target, ())
    task, classes, notes = _fit_target(with_signs(frame[target], missing), options)
    numbers = [one for one, column in zip(features, columns, strict=False) if column.kind == "number"]
    notes = (*_reading_notes(numbers), *notes)
    exact = [(one.name, one.shift) for one in columns if one.kind == "number" and not one.compressed]
    pairs = list(zip(features, columns, strict=False))
    odd, suspicious = suspicions(pairs)
    notes += (*odd, *shift_note(exact), *shape_notes(columns, suspicious), *aside)
    notes += (*spelling_note(pairs), *day_first_note(features, columns))
    used = {target, *(one.name for one in columns)}
    unused = tuple(name for name in frame.columns if name not in used)
    return TableEncoding(columns, target, task, classes, ids, missing, unused), notes


def _fit_target(
    series: pl.Series, options: LoadOptions
) -> tuple[TableTask, tuple[str, ...], tuple[str, ...]]:
    """The task and the classes of a target, and notes on it."""
    targets, missing = _targets(series, options.task)
    if missing.all():
        raise DataError(
            expected=f"values in the target column {quote(series.name)}",
            received=f"{len(series)} rows, all missing",
            remedy="name another column with target=, or fill this one",
        )
    task = decide_task(targets[~missing], options.task, images=False)
    classes: tuple[str, ...] = ()
    if task == "classification":  # classes keep the names of the file: "10%", not 10
        if targets.dtype.kind != "U":
            targets, missing = _targets(series, task)
        targets, notes = in_one_spelling(targets, missing)
        classes = options.classes or one_hot_names(series) or class_names(targets[~missing])
        require_repeated(targets[~missing], classes, series.name)
        notes += combined_labels_note(classes)
    else:
        single = targets.ndim == 1
        notes = _reading_notes([series]) + (target_suspicions(series) if single else ())
        if single and len(series) > 1 and np.ptp(targets[~missing]) == 0:
            notes += (f"the target is {targets[~missing][0]:g} in every row, so there is nothing to learn",)
    return task, classes, notes + (task_note(targets[~missing], task) if options.task == "auto" else ())


def _losses(frame: pl.DataFrame, encoding: TableEncoding) -> tuple[str, ...]:
    """A sentence on the columns in which float32, without centring, makes different numbers equal."""
    wanted = {column.name for column in encoding.columns if column.kind == "number"}
    numbers = ((one.name, known_numbers(one)) for one in frame.get_columns() if one.name in wanted)
    return loss_note("column", numbers, STANDARDIZE)


def _reading_notes(columns: list[pl.Series]) -> tuple[str, ...]:
    """Notes on numbers written as text, for the first columns that have any."""
    notes = [note for one in columns if is_text(one) for note in reading_note(plain_text(one))]
    more = len(notes) - NAMED_IN_MESSAGES
    rest = (f"and {more} more columns are read the same way",) if more > 0 else ()
    return (*notes[:NAMED_IN_MESSAGES], *rest)


def _targets(series: pl.Series, task: Literal["auto", Task]) -> tuple[np.ndarray, np.ndarray]:
    """Raw targets and which are missing.

    Text becomes numbers in regression and, with "auto", for fractions and percentages; whole numbers as text
    may be names, and stay text if most occur again.
    """
    if task != "classification" and is_text(series):
        text = plain_text(series)
        whole = text.str.contains(r"^[-+]?\d+$")
        few = text.n_unique() <= max(MAX_CLASSES_AUTO, len(text) // 2)
        names = task != "regression" and (few or are_codes(text))
        decisive = text.filter(~whole) if names else text
        if mostly_numbers(decisive):
            return raw_targets(pl.Series(series.name, as_numbers(series, targets=True)[0]))
    return raw_targets(series)


def _encode(frame: pl.DataFrame, encoding: TableEncoding, options: LoadOptions, words: str) -> Part:
    """Float32 features and raw targets of one frame; bad rows raise or are left out."""
    # Built once: a lookup by name in polars takes time in proportion to the columns.
    series = {one.name: one for one in frame.get_columns()}
    absent = [column for column in encoding.columns if column.name not in series]
    _require_enough(absent, encoding, list(series), options, words)
    series |= {one.name: pl.Series(one.name, [None] * frame.height, pl.String) for one in absent}
    values = {column.name: column_values(series[column.name], column) for column in encoding.columns}
    problems = [found.describe(name) for name, found in values.items() if found.bad.any()]
    bad = np.zeros(frame.height, bool)
    for found in values.values():
        bad |= found.bad
    found = _labels(frame, encoding, options)
    targets, without = (None, bad) if found is None else found
    if without.any() and targets is not None:
        bad |= without
        clause = Values(targets, without, int(without.sum())).describe(encoding.target)
        problems.append(f"target {clause}")
    only_targets = all(problem.startswith("target") for problem in problems)
    few = bool(problems) and only_targets and 2 * int(bad.sum()) <= len(bad)
    if problems and ((not options.skip_bad and not few) or bad.all()):
        wanted = "a target in every row" if only_targets else "a finite number or a category in every field"
        raise DataError(
            expected=f"{wanted} of the {words} (rows count from 0)",
            received=first_named(problems, separator="; "),
            remedy=f"fill or correct these fields, or {LEAVE_ROWS_OUT}",
        )
    kept, left_out = ~bad, int(bad.sum())
    rows = counted(left_out, "row", "rows")
    skipped = (f"{rows} left out, {name_rows(np.flatnonzero(bad))}",) if left_out else ()
    x = _features(encoding, values, kept)
    training = options.encoding is None and not options.columns
    said = tuple(
        note
        for column in encoding.columns
        if column not in absent
        for note in values[column.name].notes(column, training=training)
    )
    if few and not options.skip_bad:
        words_among = [one for one in (frame[encoding.target].filter(bad),) if is_text(one)]
        entry = next((text for one in words_among for text in plain_text(one).drop_nulls()), "")
        such = f", such as {quote(entry)}" if entry else ""
        said = (f"{rows} without a usable target left out{such}", *said)
    if absent:
        names = first_named(quote(one.name) for one in absent)
        said = (f"absent, so missing in every row: column {names}; predictions may be unreliable", *said)
    notes = (*said[:NAMED_IN_MESSAGES], *_more(len(said) - NAMED_IN_MESSAGES))
    inputs = None
    if options.keep_inputs:
        inputs = frame if kept.all() else frame.filter(kept)
    if targets is None:
        return Part(x, None, skipped, notes=notes, inputs=inputs, left_out=left_out)
    lost = lost_labels(targets[~without], kept[~without])
    return Part(x, targets[kept], skipped, lost, notes, inputs, left_out)


def _require_enough(
    absent: list[Column], encoding: TableEncoding, given: list[str], options: LoadOptions, words: str
) -> None:
    """Raise DataError if columns are absent, unless in prediction a few, not misspelt, that can be filled."""
    if not absent:
        return
    known = {*(one.name for one in encoding.columns), *encoding.unused, *encoding.ids, encoding.target}
    spare = [name for name in given if name not in known]
    found = [nearest_name(one.name, spare) for one in absent]
    # A table with none of the columns is a renamed one only if each has a likely name.
    near = "" if len(absent) == len(encoding.columns) and not all(found) else next(filter(None, found), "")
    fillable = all(one.fill is not None or one.kind in ("category", "text") for one in absent)
    if (
        options.encoding is None
        or not options.unlabelled
        or near
        or not fillable
        or 2 * len(absent) >= len(encoding.columns)
    ):
        raise DataError(
            expected=f"the columns the model was trained on in the {words}",
            received=f"no column {first_named(quote(one.name) for one in absent)}",
            remedy=f"add the columns{near}",
        )


def _more(count: int) -> tuple[str, ...]:
    return (f"and {counted(count, 'more column')} likewise",) if count > 0 else ()


def _labels(
    frame: pl.DataFrame, encoding: TableEncoding, options: LoadOptions
) -> tuple[np.ndarray, np.ndarray] | None:
    """Raw targets and which are missing; None without a target or, to predict, if it is incomplete."""
    if encoding.target not in frame.columns:
        return None
    labels = with_signs(frame[encoding.target], encoding.signs)
    found = if_usable(lambda: _targets(labels, encoding.task), options)
    if found is not None and encoding.classes:
        found = in_one_spelling(*found, encoding.classes)[0], found[1]
    return None if found is not None and options.unlabelled and found[1].any() else found


def _features(encoding: TableEncoding, values: dict[str, Values], kept: np.ndarray) -> np.ndarray:
    """float32 ``[kept rows, features]`` in the order of the encoding."""
    ends = np.cumsum([len(column.features) for column in encoding.columns])
    columns = [values[column.name].values for column in encoding.columns]
    if not kept.all():
        columns = [one[kept] for one in columns]
    # In blocks that stay in the processor's cache, and not by np.zeros, whose memory has small pages: a third
    # of the time.
    x = np.empty((int(kept.sum()), len(encoding.features)), np.float32)
    for start in range(0, len(x), _BLOCK_ROWS):
        block = x[start : start + _BLOCK_ROWS]
        block[:] = 0
        for column, end, found in zip(encoding.columns, ends, columns, strict=True):
            first, chosen = end - len(column.features), found[start : start + _BLOCK_ROWS]
            if chosen.ndim == 1:
                seen = np.flatnonzero(chosen >= 0)
                block[seen, first + chosen[seen]] = 1.0
            else:
                with np.errstate(over="ignore"):  # overflow becomes infinity, which assemble() reports
                    block[:, first:end] = chosen
    return x
