"""``kilter sweep --over``: the trials of a search, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from kilter._cli.options import Pairing, Search
from kilter._cli.output import say, say_table
from kilter._compare import search as searching
from kilter._compare.search import SearchTrial
from kilter._progress import Display
from kilter._text import duration, number, printable
from kilter._toml import parse_toml
from kilter.errors import OptionError
from kilter.recipe import Recipe, dump_recipe
from kilter.runs.atomic import write_text

BEST = "best.toml"


def search(
    base: Recipe, chosen: Search, pairing: Pairing, *, allow_code: bool, as_json: bool, progress: Display
) -> None:
    """Search, print the trials from the best to the worst, and write the best recipe."""
    if pairing.pairs is not None:
        raise OptionError(
            expected="--pairs with --vary",
            received="--pairs with --over",
            remedy="leave it out: trials share a seed",
        )
    found = searching.search(
        base,
        space_from(chosen.over or ()),
        trials=chosen.trials,
        sampler=chosen.sampler,
        metric=pairing.metric,
        out=pairing.out,
        workers=pairing.workers,
        ray=pairing.ray,
        allow_code=allow_code,
        verbose=progress,
        progress=lambda one: progress.print(printable(_line(one))),
    )
    progress.close()
    best = found.path / BEST
    write_text(best, dump_recipe(found.recipe))
    if as_json:
        typer.echo(found.to_json())
        return
    sign = 1 if found.best.score == max(one.score for one in found.trials) else -1
    ordered = sorted(found.trials, key=lambda one: (one.score != one.score, -sign * one.score))
    keys = [key.partition(".")[2] for key in found.best.values]
    rows = [
        (
            str(one.number),
            *(str(value) if not isinstance(value, float) else number(value) for value in one.values.values()),
            number(one.score),
            f"{one.epochs}{' (stopped)' if one.stopped else ''}",
            duration(one.seconds),
        )
        for one in ordered
    ]
    say_table(("trial", *keys, found.metric, "epochs", "time"), rows)
    say(f"best recipe: {best}")
    say(f"trials: {found.path}")


def space_from(texts: Sequence[str]) -> dict[str, Any]:
    """Values and ranges by key, from texts in TOML.

    Example:
        >>> space_from(["model.dropout={ low = 0.0, high = 0.5 }"])
        {'model.dropout': {'low': 0.0, 'high': 0.5}}
    """
    space: dict[str, Any] = {}
    for text in texts:
        key, equals, written = text.partition("=")
        try:
            space[key.strip()] = parse_toml(f"values = {written}")["values"] if equals else None
        except ValueError:
            space[key.strip()] = written
    return space


def _line(one: SearchTrial) -> str:
    values = "  ".join(f"{key}={value}" for key, value in one.values.items())
    return f"trial {one.number}  {number(one.score)}  {one.epochs} epochs  {values}"
