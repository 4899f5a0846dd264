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
    Ray,
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
    ray: Ray = None,
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
        list[str] | None,
        typer.Option("--vary", metavar="SECTION.KEY=[A, B, ...]", help="Values to try; repeat to combine."),
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            "--over",
            metavar="SECTION.KEY=VALUES",
            help="Values, or { low = 1e-4, high = 0.1, log = true }, to search for the best.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", metavar="N", help="With --over: how many to try; default 20, or a whole grid."
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option("--sampler", metavar="grid|random|tpe", help="With --over: what to try next."),
    ] = None,
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
    ray: Ray = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Try values of a recipe's keys.

    --vary compares every combination with the unchanged recipe on paired seeds; exact tests say which gains
    are proven. --over searches: many trials on one seed, the bad ones stopped early."""
