"""The arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[
    str,
    typer.Argument(metavar="RECIPE.TOML|DATA", help="A recipe, or data: a file, folder or named data set."),
]
SourceOrScript = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE.TOML|DATA|SCRIPT.PY",
        help="A recipe, data, or your script, which runs up to its first training.",
    ),
]
ScriptArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- ARGUMENTS]", help="Arguments of your script.", show_default=False),
]
Data = Annotated[str, typer.Argument(metavar="DATA", help="A file, a folder or a named data set.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Model = Annotated[
    Path, typer.Argument(metavar="RUN|MODEL.KERAS", help="A run directory, or a model saved by Keras.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a recipe key; repeatable."),
]
SavedModel = Annotated[
    Path | None,
    typer.Option("--model", metavar="FILE.KERAS", help="A compiled model saved by Keras, for the data."),
]
Target = Annotated[
    str | None,
    typer.Option("--target", metavar="COLUMN", help="The column to predict, if the data is a table."),
]
TrueValues = Annotated[
    str | None, typer.Option("--target", metavar="COLUMN", help="The column with the true values, if any.")
]
Folds = Annotated[
    int | None,
    typer.Option("--folds", metavar="N", help="Cross-validate with N folds."),
]
WithInputs = Annotated[bool, typer.Option("--with-inputs", help="Include all input columns in the output.")]
Samples = Annotated[
    int | None,
    typer.Option(
        "--mc",
        metavar="SAMPLES",
        min=1,
        max=1_000_000,
        help="Average this many predictions with dropout on.",
    ),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option("--ignore", metavar="COLUMN", help="Do not use this column; repeatable."),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="COLUMN", help="Use only this column; repeatable."),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--as", metavar="COLUMN=KIND", help="Type: number, category, date, text or ignore; repeatable."
    ),
]
Missing = Annotated[
    list[str] | None,
    typer.Option(
        "--missing", metavar="[COLUMN=]ENTRY", help="Entry that means missing, such as -999; repeatable."
    ),
]
Epochs = Annotated[int | None, typer.Option("--epochs", metavar="N", help="Maximum number of epochs.")]
Devices = Annotated[
    str | None,
    typer.Option(
        "--devices", metavar="all|N", help="Devices (GPUs) to use; each gets a share of every batch."
    ),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Parent folder of the run directory.")]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the run.")]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Allow code in model files whose author you trust.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print no progress.")]
PathOnly = Annotated[bool, typer.Option("--quiet", help="Print only the run directory.")]
Pairs = Annotated[
    int | None,
    typer.Option("--pairs", metavar="N", max=10_000, help="Runs per recipe; default 6, or more if needed."),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="Measure to compare by, such as roc_auc; default: depends on the data.",
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Seed for weights, shuffling, dropout and splits.")
]
FirstSeed = Annotated[
    int, typer.Option("--seed", metavar="N", help="Seed of the first pair and of the split.")
]
ComparisonFolder = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder for the runs; finished ones are reused.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", metavar="N", help="Parallel processes; default: one per core.")
]
Coordinator = Annotated[
    str | None,
    typer.Option(
        "--coordinator",
        metavar="HOST:PORT|auto",
        help="Distributed training: address of process 0, or auto.",
    ),
]
Processes = Annotated[
    int | None,
    typer.Option("--processes", metavar="N", min=1, help="Number of processes that train together."),
]
Rank = Annotated[int | None, typer.Option("--rank", metavar="R", min=0, help="Rank of this process, from 0.")]
Ray = Annotated[
    str | None, typer.Option("--ray", metavar="ADDRESS", help="Train on the nodes of this Ray cluster.")
]


def devices_from(text: str | None) -> int | str | None:
    """The value of --devices: a number, or the text, which the engine checks."""
    return int(text) if text is not None and text.isdecimal() else text
