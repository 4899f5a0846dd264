"""``kilter fold-bn``: fold batch normalisations, check the result, and write it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import typer

from kilter._cli.options import check_out, say, say_table
from kilter._infer.folding import FoldRecord, fold_batch_norm
from kilter._progress import Display
from kilter._text import printable
from kilter.runs.model_data import write_model
from kilter.runs.trained import open_trained, read_for

CHECKED_ROWS: Final = 10_000  # enough to see typical and rare values of every channel


def fold_bn(path: Path, check: str, out: Path, *, timings: int, allow_code: bool, progress: Display) -> None:
    """Fold the model at ``path``, check it on rows of ``check``, and write it to ``out``."""
    check_out(out, [".keras"])
    trained = open_trained(path, allow_code=allow_code)
    progress.stage(f"Reading {printable(check)}")
    rows = read_for(trained, check, unlabelled=True).train.x[:CHECKED_ROWS]
    progress.stage(f"Folding, and comparing the outputs on {len(rows)} rows")
    folded, record = fold_batch_norm(trained.model, rows, timings=timings)
    write_model(folded, out, trained.data)
    progress.close()
    _print(record, len(rows))
    typer.echo(out)


def _print(record: FoldRecord, count: int) -> None:
    rows = [(norm.layer, norm.into or "-", norm.reason) for norm in record.layers]
    say_table(("batch normalisation", "folded into", "why not"), rows)
    before, after = record.parameters
    say(f"parameters: {before}, then {after}")
    say(f"largest relative difference of the outputs: {record.difference:.2g} on {count} rows")
    if record.speed is not None:
        say(f"predicting: {record.speed}")
