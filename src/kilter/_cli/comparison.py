"""``kilter compare`` and ``kilter sweep``: recipes on paired seeds, and what is printed."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import typer

from kilter._cli import searching
from kilter._cli.options import Overrides, Pairing, Search
from kilter._cli.output import say, say_table
from kilter._cli.training import recipe_from
from kilter._compare import compare as comparing
from kilter._compare.comparison import Comparison, verdicts
from kilter._progress import Display
from kilter._text import duration, number, printable
from kilter._toml import parse_toml
from kilter.errors import OptionError
from kilter.recipe import Recipe, load_recipe, with_overrides
from kilter.recipe.text import run_name
from kilter.report import write_comparison


def compare(
    recipes: Sequence[Path],
    *,
    settings: Sequence[str] | None,
    pairing: Pairing,
    allow_code: bool,
    as_json: bool,
    progress: Display,
) -> None:
    """Compare the recipes in files and folders."""
    named = recipes_from(recipes, settings or ())
    options: Any = {**vars(pairing), "allow_code": allow_code}
    _show(lambda **more: comparing.compare(named, **options, **more), named, as_json, progress)


def sweep(
    source: str,
    *,
    ranges: Sequence[str] | None,
    search: Search,
    overrides: Overrides,
    pairing: Pairing,
    allow_code: bool,
    as_json: bool,
    progress: Display,
) -> None:
    """Compare the recipe ``source`` with each combination of values; with --over, search for the best."""
    if bool(ranges) == bool(search.over) or (ranges and (search.trials or search.sampler)):
        raise OptionError(
            expected="--vary for a proof on paired seeds, or --over (with --trials, --sampler) for a search",
            received="both" if ranges else "neither",
            remedy='for example --over "optimizer.learning_rate={ low = 1e-4, high = 0.1, log = true }"',
        )
    base = recipe_from(source, overrides.all)
    if search.over:
        searching.search(base, search, pairing, allow_code=allow_code, as_json=as_json, progress=progress)
        return
    options: Any = {**vars(pairing), "allow_code": allow_code}
    varied = values_from(ranges or ())
    names = comparing.variants(base, varied)
    _show(lambda **more: comparing.sweep(base, varied, **options, **more), names, as_json, progress)


def recipes_from(sources: Sequence[Path], settings: Sequence[str]) -> dict[str, Recipe]:
    """The recipes by file name, with ``--set`` applied; a folder means its .toml files."""
    paths = [path for source in sources for path in _files(source)]
    stems = Counter(path.stem for path in paths)
    named: dict[str, Recipe] = {}
    for path in paths:
        name = path.stem if stems[path.stem] == 1 else f"{path.resolve().parent.name}-{path.stem}"
        name = run_name(name)
        if name in named:
            raise OptionError(
                expected="recipes with different names",
                received=f"two recipes called {name}",
                remedy="name each recipe once, and give the files different names",
            )
        named[name] = with_overrides(load_recipe(path), settings)
    return named


def values_from(ranges: Sequence[str]) -> dict[str, list[Any]]:
    """The values to try by key, from texts such as ``section.key=[1, 2]``, in TOML.

    Example:
        >>> values_from(["train.batch_size=[16, 64]"])
        {'train.batch_size': [16, 64]}
    """
    over: dict[str, list[Any]] = {}
    for text in ranges:
        key, equals, written = text.partition("=")
        try:
            values = parse_toml(f"values = {written}")["values"] if equals else None
        except ValueError:
            values = None
        if not isinstance(values, list) or not values or "." not in key:
            raise OptionError(
                expected="values of a key, written section.key=[value, ...]",
                received=repr(text),
                remedy='for example --vary "model.dropout=[0.0, 0.1, 0.2]"; put strings in quotation marks',
            )
        over.setdefault(key.strip(), []).extend(values)
    return over


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


def _show(run: Callable[..., Comparison], names: Collection[str], as_json: bool, progress: Display) -> None:
    """Run a comparison; print its progress, table and verdicts, and write its page."""
    progress.print(printable(f"{len(names)} recipes: {', '.join(names)}"))
    with warnings.catch_warnings():
        # Print warnings, such as that the pairs are too few, as plain lines before the first run.
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: progress.print(printable(str(message)))
        comparison = run(progress=lambda one: progress.print(printable(_line(one))), verbose=progress)
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


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(source.glob("*.toml"))
    if not found:
        raise OptionError(
            expected="recipes, or a folder of recipes",
            received=f"{source}, a folder without a .toml file",
            remedy="name the recipes",
        )
    return found


def _line(progress: comparing.Progress) -> str:
    score = "diverged" if progress.run.diverged else f"{progress.metric} {number(progress.run.score)}"
    left = "" if progress.seconds_left is None else f"  about {duration(progress.seconds_left)} left"
    run = f"run {progress.done}/{progress.total}  {progress.name}  seed {progress.run.seed}"
    return f"{run}  {score}  {duration(progress.run.seconds)}{left}"


def _number(value: float | None) -> str:
    return "" if value is None else number(value)
