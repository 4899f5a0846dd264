"""``kilter schedule``: the learning rate and the momentum of a recipe, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from kilter._cli.options import check_out, say, say_table
from kilter._cli.training import recipe_from
from kilter._progress import Display
from kilter._text import number
from kilter.errors import OptionError
from kilter.runs.atomic import write_text
from kilter.runs.build import Prepared, prepare
from kilter.schedules import Performance, Schedule

KINDS: Final = (".html",)
MOST_ROWS: Final = 25  # of the table: what a terminal shows at once


def show(
    source: str, settings: Sequence[str], out: Path | None, *, allow_code: bool, progress: Display
) -> None:
    """Print the schedule of a recipe for its data, epoch by epoch; write its picture."""
    if out is not None:
        check_out(out, KINDS)
    prepared = prepare(recipe_from(source, settings, {}), allow_code=allow_code, progress=progress)
    progress.close()
    schedule, rate = prepared.spec.schedule, prepared.recipe.optimizer.rate
    if isinstance(schedule, Schedule):
        _show(schedule, prepared, out)
    elif out is not None:
        raise OptionError(
            expected="a schedule whose curve is known before training",
            received=f"schedule.name={prepared.recipe.schedule.name}",
            remedy="leave --out out, or set another schedule.name",
        )
    elif isinstance(schedule, Performance):
        patience = f"the validation loss has not fallen for {schedule.patience} epochs"
        say(f"performance: from {number(rate)}, × {number(schedule.factor)} when {patience}")
    else:
        say(f"constant: {number(rate)}")


def _show(schedule: Schedule, prepared: Prepared, out: Path | None) -> None:
    options, batches = prepared.recipe.train, prepared.batches
    epochs = np.unique(np.linspace(0, options.epochs - 1, min(options.epochs, MOST_ROWS)).round().astype(int))
    cycles = schedule.momentum(0) is not None
    headings = ["epoch", "first rate", "last rate", *(["first momentum", "last momentum"] if cycles else [])]
    rows = []
    for epoch in epochs:
        ends = (int(epoch) * batches, (int(epoch) + 1) * batches - 1)
        values = [schedule(step) for step in ends] + [schedule.momentum(step) for step in ends if cycles]
        rows.append([str(epoch + 1), *(number(float(np.asarray(value))) for value in values)])
    say_table(headings, rows, right=range(len(headings)))
    say(f"{prepared.recipe.schedule.name}: {options.epochs} epochs of {batches} batches")
    if out is not None:
        figure = schedule.plot(options.epochs * batches, steps_per_epoch=batches)
        write_text(out, figure.to_html())
        say(f"picture: {out}")
