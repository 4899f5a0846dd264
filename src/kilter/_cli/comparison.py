"""``kilter compare`` and ``kilter sweep``: recipes on paired seeds, or a search, and what is printed."""

import re
import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from kilter._cli.commands import Compare, Sweep
from kilter._cli.output import say, say_table
from kilter._cli.training import recipe_from
from kilter._compare import compare as comparing
from kilter._compare import search as searching
from kilter._compare.comparison import Comparison, verdicts
from kilter._compare.search import SearchTrial
from kilter._progress import Display
from kilter._text import counted, duration, number, printable
from kilter.errors import OptionError
from kilter.recipe import Recipe, dump_recipe, load_recipe, with_overrides
from kilter.recipe.text import read_value, run_name
from kilter.report import write_comparison
from kilter.runs.atomic import write_text

BEST: Final = "best.toml"
# What stands between commas: texts in quotes, lists of lists, tables, and anything else.
_PARTS: Final = re.compile(r"""(?:"[^"]*"|'[^']*'|\[(?:[^][]|\[[^][]*])*]|\{[^}]*}|[^,])+""")


def compare(asked: Compare, progress: Display) -> None:
    """Compare the recipes in files and folders."""
    named = recipes_from(asked.recipes, asked.settings or ())
    options: Any = {**asked.pairing.arguments(), "allow_code": asked.allow_code}
    _show(lambda **more: comparing.compare(named, **options, **more), named, asked.as_json, progress)


def sweep(asked: Sweep, progress: Display) -> None:
    """Compare the recipe ``source`` with each combination of values; with --over, search for the best."""
    ranges, search = asked.ranges, asked.search
    if bool(ranges) == bool(search.over) or (ranges and (search.trials or search.sampler)):
        raise OptionError(
            expected="--vary for a proof on paired seeds, or --over (with --trials, --sampler) for a search",
            received="both" if ranges else "neither",
            remedy='for example --over "optimizer.learning_rate={ low = 1e-4, high = 0.1, log = true }"',
        )
    base = recipe_from(asked.source, asked.overrides.all)
    if asked.search.over:
        _search(base, asked, progress)
        return
    options: Any = {**asked.pairing.arguments(), "allow_code": asked.allow_code}
    varied = space_from(ranges or ())
    names = comparing.variants(base, varied)
    _show(lambda **more: comparing.sweep(base, varied, **options, **more), names, asked.as_json, progress)


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


def space_from(texts: Sequence[str]) -> dict[str, Any]:
    """Values and ranges by key, from texts such as ``section.key=[1, 2]``; lists of one key add up.

    The brackets of a list and the quotes of its texts may be left out.

    Example:
        >>> space_from(["train.batch_size=[16, 64]", "model.dropout={ low = 0.0, high = 0.5 }"])
        {'train.batch_size': [16, 64], 'model.dropout': {'low': 0.0, 'high': 0.5}}
    """
    space: dict[str, Any] = {}
    for text in texts:
        key, equals, written = text.partition("=")
        values = _listed(written.strip()) if equals else None
        earlier = space.get(key.strip())
        if isinstance(earlier, list) and isinstance(values, list):
            values = [*earlier, *values]
        space[key.strip()] = values
    return space


def _listed(text: str) -> Any:
    """A value in TOML, or the list of those between commas outside quotes, lists and tables."""
    value = read_value(text)
    if value != text or "," not in text:
        return value
    parts = [one.strip() for one in _PARTS.findall(text)]
    if parts == [text]:
        return _listed(text[1:-1]) if text[0] == "[" else text
    return [read_value(one) for one in parts if one]


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


def _search(base: Recipe, asked: Sweep, progress: Display) -> None:
    """Search, print the trials from the best to the worst, and write the best recipe."""
    chosen, pairing = asked.search, asked.pairing
    if pairing.pairs is not None:
        raise OptionError(
            expected="--pairs with --vary",
            received="--pairs with --over",
            remedy="leave it out: trials share a seed",
        )
    found = searching.search(
        base if pairing.seed is None else with_overrides(base, [f"seed={pairing.seed}"]),
        space_from(chosen.over or ()),
        trials=chosen.trials,
        sampler=chosen.sampler,
        metric=pairing.metric,
        out=pairing.out,
        workers=pairing.workers,
        ray=pairing.ray,
        allow_code=asked.allow_code,
        verbose=progress,
        progress=lambda one: progress.print(printable(_trial_line(one))),
    )
    progress.close()
    best = found.path / BEST
    write_text(best, dump_recipe(found.recipe))
    if asked.as_json:
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


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(source.glob("*.toml"))
    if not found:
        raise OptionError(
            expected="recipes, or a folder of recipes",
            received=f"{source}, a folder without a .toml file",
            remedy="name recipes, such as recipe.toml of a run directory; to try settings on data: "
            f"kilter sweep {shlex.quote(str(source))} --vary SECTION.KEY=VALUES",
        )
    return found


def _line(progress: comparing.Progress) -> str:
    score = "diverged" if progress.run.diverged else f"{progress.metric} {number(progress.run.score)}"
    left = "" if progress.seconds_left is None else f"  about {duration(progress.seconds_left)} left"
    run = f"run {progress.done}/{progress.total}  {progress.name}  seed {progress.run.seed}"
    return f"{run}  {score}  {duration(progress.run.seconds)}{left}"


def _trial_line(one: SearchTrial) -> str:
    values = "  ".join(f"{key}={value}" for key, value in one.values.items())
    return f"trial {one.number}  {number(one.score)}  {counted(one.epochs, 'epoch')}  {values}"


def _number(value: float | None) -> str:
    return "" if value is None else number(value)
