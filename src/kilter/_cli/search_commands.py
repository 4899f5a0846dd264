"""The commands on several recipes: their options and help, as in :mod:`kilter._cli.commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kilter._cli.declaring import done_in
from kilter._cli.options import (
    AllowCode,
    AsJson,
    ComparisonFolder,
    FirstSeed,
    Ignore,
    Kinds,
    Metric,
    Missing,
    Only,
    Pairs,
    Quiet,
    Settings,
    Source,
    Target,
    Workers,
)


@done_in("comparison", "Reading recipes")
def compare(
    recipes: Annotated[
        list[Path],
        typer.Argument(metavar="RECIPE.TOML|FOLDER", help="Recipes; the first one is the baseline."),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key in all recipes; repeatable."),
    ] = None,
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

    Trains each with the same seeds on the same rows. Exact tests say which differences are proven."""


@done_in("comparison", "Reading recipes")
def sweep(
    source: Source,
    ranges: Annotated[
        list[str],
        typer.Option("--vary", metavar="SECTION.KEY=[A, B, ...]", help="Values to try; repeat to combine."),
    ],
    settings: Settings = None,
    only_target: Target = None,
    ignore: Ignore = None,
    only: Only = None,
    kinds: Kinds = None,
    missing: Missing = None,
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

    Compares every combination with the unchanged recipe. Exact tests say which gains are proven."""
