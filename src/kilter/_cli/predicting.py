"""``kilter evaluate``, ``kilter predict`` and ``kilter fold-bn``: commands for a trained model."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars
import typer

from kilter._cli.commands import Evaluate, FoldBn, Predict
from kilter._cli.options import devices_from
from kilter._cli.output import check_out, say, say_table
from kilter._cli.training import say_evaluation
from kilter._engine import inference
from kilter._engine.devices import on_devices
from kilter._engine.objective_for import Objective, objective_for
from kilter._infer.calibration import calibration
from kilter._infer.folding import FoldRecord, fold_batch_norm
from kilter._progress import Display
from kilter._text import counted, number, printable
from kilter.data import Dataset, Source
from kilter.data.csv_output import csv_text
from kilter.data.paths import quote
from kilter.errors import DataError, OptionError
from kilter.runs.atomic import errors_named, write_bytes, write_with
from kilter.runs.build import compile_for
from kilter.runs.evaluating import BATCH, evaluate_part, fitting_measure
from kilter.runs.predictions import Predictions, joined, name_columns, predictions, uncertain
from kilter.runs.recipe_data import read_parts, recipe_of_run
from kilter.runs.records import Evaluation, to_json
from kilter.runs.trained import Trained, open_trained, read_for, write_model
from kilter.runs.training import require_same_data

CHECKED_ROWS: Final = 10_000  # enough to see typical and rare values of every channel
WRITERS: Final[dict[str, Callable[[Predictions, polars.DataFrame, Path], Any]]] = {
    ".csv": lambda found, table, path: path.write_text(csv_text(table), encoding="utf-8", newline=""),
    ".npz": lambda found, table, path: np.savez(path, allow_pickle=False, **found.arrays()),
    ".parquet": lambda found, table, path: table.write_parquet(path),
}
COMPARED: Final = ("", "accuracy", "negative log-likelihood", "Brier score", "expected calibration error")


def compared(
    plain: Predictions, mean: Predictions, samples: int, parts: Sequence[Dataset]
) -> list[list[str]]:
    """The rows of a table with the headings :data:`COMPARED`; none for numbers and data without labels."""
    y, rows = _labels(plain, parts), []
    if y is None:
        return []
    for name, found in (("without dropout", plain), (f"mean of {samples} samples", mean)):
        measured = calibration(found.probabilities, y)
        figures = (
            measured.accuracy,
            measured.negative_log_likelihood,
            measured.brier,
            measured.expected_calibration_error,
        )
        rows.append([name, *map(number, figures)])
    return rows


def _labels(found: Predictions, parts: Sequence[Dataset]) -> np.ndarray | None:
    """The class number of each row; None for numbers and data without labels."""
    labels = [part.y for part in parts if part.y is not None]
    known = len(labels) == len(parts) and found.probabilities is not None
    return np.concatenate(labels) if known else None


def evaluate(asked: Evaluate, progress: Display) -> None:
    """Print loss and measures of a trained model, part by part of the data."""
    trained = open_trained(asked.model, allow_code=asked.allow_code)
    with on_devices(trained.model, devices_from(asked.devices)):
        if asked.data is None:
            found = _of_own_data(trained, progress)
        else:
            found = _of(trained, asked.data, asked.target, progress)
    progress.close()
    if asked.as_json:
        typer.echo(to_json({name: asdict(one) for name, one in found.items()}, indent=2))
        return
    for name, one in found.items():
        say_evaluation(name, one)


def _of(trained: Trained, data: str, target: str | None, progress: Display) -> dict[str, Evaluation]:
    progress.stage(f"Reading {printable(data)}")
    read = read_for(trained, data, target=target, unlabelled=False)
    _show_notes(read, progress)
    found = {}
    for name, part in read.parts.items():
        _require_labels(part, read.encoding.target if read.encoding else read.target)
        objective = objective_for(trained.model, part)
        trained.model.compile(loss=objective.loss, metrics=objective.make_metrics())
        found |= _evaluated(trained, {name: part}, objective, part, progress)
    return found


def _evaluated(
    trained: Trained, parts: Mapping[str, Dataset], objective: Objective, like: Dataset, progress: Display
) -> dict[str, Evaluation]:
    how: dict[str, Any] = {"first": fitting_measure(like), "record": trained.data, "verbose": progress}
    return {name: evaluate_part(trained.model, objective, part, **how) for name, part in parts.items()}


def predict(asked: Predict, progress: Display) -> None:
    """Write the predictions of a trained model for each row of ``data``, in order."""
    _check_seed(asked.samples, asked.seed)
    trained = open_trained(asked.model, allow_code=asked.allow_code)
    masks = trained.data is not None and trained.data.task == "segmentation"
    check_out(asked.out, ["", *WRITERS] if masks else WRITERS)
    progress.stage(f"Reading {printable(asked.data)}")
    read = read_for(trained, asked.data, target=asked.target, unlabelled=True, keep_inputs=True)
    _show_notes(read, progress)
    parts, how = list(read.parts.values()), {"batch_size": BATCH, "verbose": progress}
    given: Any = how | {"devices": devices_from(asked.devices)}
    outputs = joined([inference.predict(trained.model, part.x, **given) for part in parts])
    found, comparison = predictions(trained, outputs, parts[0]), []
    if asked.samples is not None:
        mean = uncertain(trained, parts, samples=asked.samples, seed=asked.seed or 0, progress=progress)
        found, comparison = mean, compared(found, mean, asked.samples, parts)
    table = found.table(read.parts, ids=name_columns(read.encoding), with_inputs=asked.with_inputs)
    progress.close()
    if (out := asked.out) is None:
        text = csv_text(table)
        if sys.stdout.isatty():  # a pipe gets the values as they are
            text = "".join(f"{printable(line)}\n" for line in text.splitlines())
        typer.echo(text, nl=False)
        if masks:
            say("the shares of the pixels; --out FOLDER writes the masks", err=True)
    elif not out.suffix:
        _write_masks(found, parts, out)
    else:
        write_with(out, lambda temporary: WRITERS[out.suffix](found, table, temporary))
        say(f"{counted(len(outputs), 'row')}: {out}")
    if (labels := _labels(found, parts)) is not None:
        right = float(np.mean(np.array(found.classes)[labels] == found.answers))
        sentence = f"accuracy {number(right)} on the labels in these data; all measures: kilter evaluate"
        say(sentence, err=asked.out is None)
    if comparison:  # apart from the table of predictions
        say_table(COMPARED, comparison, right=range(1, len(COMPARED)), err=asked.out is None)


def _write_masks(found: Predictions, parts: Sequence[Dataset], out: Path) -> None:
    """Write a PNG for each picture into the folder ``out``."""
    count = 0
    for name, content in found.masks(parts):
        with errors_named(out):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(out / name, content)
        count += 1
    say(f"{counted(count, 'mask')}: {out}")


def _show_notes(read: Source, progress: Display) -> None:
    """Print what was filled or unknown in the data, separately from the predictions on standard output."""
    progress.close()
    for note in read.notes:
        say(f"Note: {note}", err=True)


def _of_own_data(trained: Trained, progress: Display) -> dict[str, Evaluation]:
    if trained.run is None:
        raise OptionError(
            expected="data to evaluate the model on",
            received="only a .keras file, which does not say what it was trained on",
            remedy="name the data after the model",
        )
    progress.stage(f"Reading the data of {printable(str(trained.run))}")
    recipe = recipe_of_run(trained.run)
    source, parts = read_parts(recipe, trained.data, same_task=True)
    require_same_data(recipe, source, parts, trained.data)
    if not parts.evaluated:
        raise DataError(
            expected="validation or test rows in the run's own data",
            received='validation = "none" and no test part',
            remedy="name the data to evaluate on after the run",
        )
    # The saved model is evaluated, so no code of the recipe runs.
    objective = objective_for(trained.model, parts.train, recipe.regularize.label_smoothing)
    compile_for(trained.model, "sgd", objective)
    return _evaluated(trained, parts.evaluated, objective, parts.train, progress)


def _require_labels(part: Dataset, target: str | None) -> None:
    if part.y is None:
        received = f"{part.name}, which has no labels" if target is None else f"no column {quote(target)}"
        raise DataError(
            expected="data with labels, to compare the predictions with",
            received=received,
            remedy="name the column with the true values with --target, or use kilter predict",
        )


def _check_seed(samples: int | None, seed: int | None) -> None:
    if samples is None and seed is not None:
        raise OptionError(
            expected="--seed together with --mc",
            received=f"only --seed {seed}, which has no effect without --mc",
            remedy="add --mc 100, or leave --seed out",
        )


def fold_bn(asked: FoldBn, progress: Display) -> None:
    """Fold the batch normalisations of a model, check it on rows of ``check``, and write it to ``out``."""
    check_out(asked.out, [".keras"])
    trained = open_trained(asked.model, allow_code=asked.allow_code)
    progress.stage(f"Reading {printable(asked.check)}")
    rows = read_for(trained, asked.check, target=asked.target, unlabelled=True).train.x[:CHECKED_ROWS]
    progress.stage(f"Folding, and comparing the outputs on {counted(len(rows), 'row')}")
    folded, record = fold_batch_norm(trained.model, rows, timings=asked.timings)
    write_model(folded, asked.out, trained.data)
    progress.close()
    _print_folding(record, len(rows))
    typer.echo(asked.out)


def _print_folding(record: FoldRecord, count: int) -> None:
    rows = [(norm.layer, norm.into or "-", norm.reason) for norm in record.layers]
    if rows:
        say_table(("batch normalisation", "folded into", "why not"), rows)
    else:
        say("The model has no batch normalisation: the file is a copy of it.")
    before, after = record.parameters
    say(f"parameters: {before}, then {after}")
    say(f"largest relative difference of the outputs: {record.difference:.2g} on {counted(count, 'row')}")
    if record.speed is not None:
        say(f"predicting: {record.speed}")
