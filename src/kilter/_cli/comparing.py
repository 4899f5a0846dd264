"""``kilter compare``: recipes on paired seeds."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from kilter._cli.options import say, say_table
from kilter._compare.compare import Progress
from kilter._compare.compare import compare as compare_recipes
from kilter._compare.comparison import Comparison, verdicts
from kilter._progress import Display
from kilter._text import duration, number, printable
from kilter.errors import OptionError
from kilter.recipe import Recipe, load_recipe, with_overrides
from kilter.recipe.text import run_name
from kilter.report import write_comparison


def compare(
    sources: Sequence[Path],
    settings: Sequence[str],
    options: Mapping[str, Any],
    *,
    as_json: bool,
    progress: Display,
) -> None:
    """Compare the recipes in files and folders, the first one being the baseline.

    ``options`` are those of :func:`kilter.compare`. With ``as_json`` progress goes to stderr.
    """
    compare_candidates(recipes_from(sources, settings), options, as_json=as_json, progress=progress)


def compare_candidates(
    recipes: Mapping[str, Recipe], options: Mapping[str, Any], *, as_json: bool, progress: Display
) -> None:
    """Compare recipes by name, the baseline first; print the table and the verdicts, write the page."""
    progress.print(printable(f"{len(recipes)} recipes: {', '.join(recipes)}"))
    with warnings.catch_warnings():
        # A plain line before the first run, such as that so few pairs cannot prove anything.
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: progress.print(printable(str(message)))
        comparison = compare_recipes(
            recipes, **options, progress=lambda told: progress.print(printable(_line(told))), verbose=progress
        )
    progress.close()
    page = write_comparison(comparison)
    if as_json:
        typer.echo(comparison.to_json())
        return
    say()
    say_comparison(comparison)
    say()
    for sentence in verdicts(comparison):
        say(sentence)
    say(f"runs: {comparison.path}")
    say(f"report: {page}")


def recipes_from(sources: Sequence[Path], settings: Sequence[str]) -> dict[str, Recipe]:
    """The recipes by the names of their files, with ``--set`` put in; of a folder all its .toml files.

    These come in the order of their names. Files of one name in several folders are called by both.
    """
    paths = [path for source in sources for path in _files(source)]
    stems = Counter(path.stem for path in paths)
    named: dict[str, Recipe] = {}
    for path in paths:
        name = path.stem if stems[path.stem] == 1 else f"{path.resolve().parent.name}-{path.stem}"
        name = run_name(name)
        if name in named:
            raise OptionError(
                expected="recipes with different names",
                received=f"two that are called {name}",
                remedy="name each recipe once, and give the files different names",
            )
        named[name] = with_overrides(load_recipe(path), settings)
    return named


def say_comparison(comparison: Comparison) -> None:
    """Print the table of a comparison: a row for each candidate."""
    headings = ("candidate", comparison.metric, "lowest", "highest", "time", "better by", "p", "verdict")
    rows = [
        (
            row["name"] + (f" ({row['diverged']} diverged)" if row["diverged"] else ""),
            *(_number(row[key]) for key in (comparison.metric, "lowest", "highest")),
            duration(row["seconds"]),
            _number(row["difference"]),
            "" if row["p_corrected"] is None else f"{row['p_corrected']:.3f}",
            row["verdict"] or "baseline",
        )
        for row in comparison.table()
    ]
    say_table(headings, rows, right=(1, 2, 3, 4, 5, 6))


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(source.glob("*.toml"))
    if not found:
        raise OptionError(
            expected="recipes, or a folder of them",
            received=f"{source}, a folder without a .toml file",
            remedy="name the recipes",
        )
    return found


def _line(told: Progress) -> str:
    score = "diverged" if told.run.diverged else f"{told.metric} {number(told.run.score)}"
    left = "" if told.seconds_left is None else f"  about {duration(told.seconds_left)} left"
    run = f"run {told.done}/{told.total}  {told.name}  seed {told.run.seed}"
    return f"{run}  {score}  {duration(told.run.seconds)}{left}"


def _number(value: float | None) -> str:
    return "" if value is None else number(value)
