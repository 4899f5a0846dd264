"""``kilter find-lr``: the suggested learning rate of a recipe, and its curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from kilter._cli.options import check_out, say, say_table
from kilter._cli.training import recipe_from, without_search
from kilter._progress import Display
from kilter._text import number
from kilter._tuning.find_lr import find_lr
from kilter._tuning.rate_curve import FoundRate
from kilter.runs.atomic import write_text
from kilter.runs.build import prepare
from kilter.runs.records import to_json

KINDS: Final = (".html", ".json")


def find(
    source: str,
    settings: Sequence[str],
    seeds: int,
    out: Path | None,
    *,
    allow_code: bool,
    progress: Display,
) -> None:
    """Search as the recipe trains, print the suggestion, and write the curve."""
    if out is not None:
        check_out(out, KINDS)
    recipe = recipe_from(source, settings, {})
    # This is the search that "auto" asks for: any rate will do before.
    prepared = prepare(without_search(recipe), allow_code=allow_code, progress=progress)
    train, options = prepared.parts.train, prepared.spec.arguments_for(find_lr)
    found = find_lr(prepared.model, train.x, train.y, **options, seeds=seeds, verbose=progress)
    progress.close()
    _show(found)
    what = f"{recipe.optimizer.name}, batches of {prepared.spec.batch_size}"
    say(f"learning rate for {what}: {found.suggestion:.3g}")
    if out is not None:
        content = to_json(found.to_dict()) if out.suffix == ".json" else found.plot().to_html()
        write_text(out, content)
        say(f"curve: {out}")


def _show(found: FoundRate) -> None:
    """A line for each decade of the rate, and for the lowest, suggested and diverging ones."""
    decades = np.arange(np.log10(found.lrs[0]), np.log10(found.lrs[-1]) + 1e-9)
    notes = dict.fromkeys((float(10**decade) for decade in decades), "")
    notes |= {found.lowest_at: "lowest", found.suggestion: "suggestion"}
    if found.diverged_at is not None:
        notes[found.diverged_at] = "diverged"
    rows = [
        (f"{rate:.2g}", number(float(np.interp(np.log10(rate), np.log10(found.lrs), found.smoothed))), note)
        for rate, note in sorted(notes.items())
    ]
    say_table(("rate", "smoothed loss", ""), rows, right=(0, 1))
