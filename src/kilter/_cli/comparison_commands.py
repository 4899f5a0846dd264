"""The commands that compare recipes on paired seeds. What they do loads when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kilter._cli.options import AllowCode, Quiet
from kilter._cli.progress import opened

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key in all recipes."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Pairs = Annotated[
    int | None,
    typer.Option("--pairs", max=10_000, help="Runs of each recipe; by default 6, or more if needed."),
]
Metric = Annotated[
    str | None, typer.Option("--metric", help="For example val_accuracy, the default for classes.")
]
FirstSeed = Annotated[int, typer.Option("--seed", help="Seed of the first pair, and of the split.")]
ComparisonFolder = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder of the runs; finished ones are kept.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", help="Processes, each on its own core; by default one per core.")
]


def compare(
    recipes: Annotated[
        list[Path],
        typer.Argument(metavar="RECIPE.TOML|FOLDER...", help="Recipes; the first one is the baseline."),
    ],
    settings: Settings = None,
    pairs: Pairs = None,
    metric: Metric = None,
    seed: FirstSeed = 0,
    out: ComparisonFolder = None,
    workers: Workers = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare recipes on paired seeds.

    Each is trained with the same seeds on the same rows. Exact tests say which differences are proven."""
    with opened("Reading recipes", quiet=quiet, as_json=as_json) as progress:
        from kilter._cli import comparison

        options = {
            "pairs": pairs,
            "metric": metric,
            "seed": seed,
            "out": out,
            "workers": workers,
            "allow_code": allow_code,
        }
        comparison.compare(recipes, settings or [], options, as_json=as_json, progress=progress)


def sweep(
    source: Annotated[
        str, typer.Argument(metavar="RECIPE.TOML|DATA", help="A recipe, or data for the default recipe.")
    ],
    ranges: Annotated[
        list[str],
        typer.Option("--vary", metavar="SECTION.KEY=[A, B, ...]", help="Values to try; repeat to combine."),
    ],
    settings: Settings = None,
    pairs: Pairs = None,
    metric: Metric = None,
    seed: FirstSeed = 0,
    out: ComparisonFolder = None,
    workers: Workers = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Try values of a recipe's keys on paired seeds.

    Every combination is compared with the recipe as it is. Exact tests say which gains are proven."""
    with opened("Reading recipes", quiet=quiet, as_json=as_json) as progress:
        from kilter._cli import comparison

        options = {
            "pairs": pairs,
            "metric": metric,
            "seed": seed,
            "out": out,
            "workers": workers,
            "allow_code": allow_code,
        }
        comparison.sweep(source, ranges, settings or [], options, as_json=as_json, progress=progress)
