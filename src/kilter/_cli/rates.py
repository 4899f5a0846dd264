"""``kilter find-lr`` and ``kilter schedule``: a recipe's learning rates."""

from pathlib import Path
from typing import Final

import numpy as np

from kilter._cli import commands
from kilter._cli.output import check_out, say, say_table
from kilter._cli.training import recipe_from, without_search
from kilter._progress import Display
from kilter._text import counted, number
from kilter._tuning.find_lr import FoundRate
from kilter._tuning.find_lr import find_lr as search
from kilter.errors import OptionError
from kilter.runs.atomic import write_text
from kilter.runs.build import Prepared, prepare
from kilter.runs.records import to_json
from kilter.schedules import Performance, Schedule

MOST_ROWS: Final = 25  # of the table: what a terminal shows at once


def find_lr(asked: commands.FindLr, progress: Display) -> None:
    """Search with the recipe's training settings, print the suggestion, and write the curve."""
    check_out(asked.out, (".html", ".json"))
    recipe = recipe_from(asked.source, asked.overrides.all)
    # This is the search that "auto" asks for, so any rate will do until then.
    prepared = prepare(without_search(recipe), allow_code=asked.allow_code, progress=progress)
    train, options = prepared.parts.train, prepared.spec.arguments_for(search)
    found = search(prepared.model, train.x, train.y, **options, seeds=asked.seeds, verbose=progress)
    progress.close()
    _show_curve(found)
    what = f"{recipe.optimizer.name}, batches of {prepared.spec.batch_size}"
    say(f"learning rate for {what}: {found.suggestion:.3g}")
    say(f"to use it: kilter train ... --set optimizer.learning_rate={found.suggestion:.3g}")
    if asked.out is not None:
        content = to_json(found.to_dict()) if asked.out.suffix == ".json" else found.plot().to_html()
        write_text(asked.out, content)
        say(f"curve: {asked.out}")


def _show_curve(found: FoundRate) -> None:
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


def schedule(asked: commands.Schedule, progress: Display) -> None:
    """Print the schedule of a recipe for its data, epoch by epoch; write its plot."""
    check_out(asked.out, (".html",))
    prepared = prepare(
        recipe_from(asked.source, asked.overrides.all), allow_code=asked.allow_code, progress=progress
    )
    progress.close()
    planned, rate = prepared.spec.schedule, prepared.recipe.optimizer.rate
    if isinstance(planned, Schedule):
        _show_schedule(planned, prepared, asked.out)
    elif asked.out is not None:
        raise OptionError(
            expected="a schedule with a curve that is known before training",
            received=f"schedule.name={prepared.recipe.schedule.name}",
            remedy="leave --out out, or set another schedule.name",
        )
    elif isinstance(planned, Performance):
        patience = f"the validation loss has not fallen for {planned.patience} epochs"
        say(f"performance: from {number(rate)}, × {number(planned.factor)} when {patience}")
    else:
        say(f"constant: {number(rate)}")


def _show_schedule(schedule: Schedule, prepared: Prepared, out: Path | None) -> None:
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
    say(
        f"{prepared.recipe.schedule.name}: {counted(options.epochs, 'epoch')} of "
        f"{counted(batches, 'batch', 'batches')}"
    )
    if out is not None:
        figure = schedule.plot(options.epochs * batches, steps_per_epoch=batches)
        write_text(out, figure.to_html())
        say(f"plot: {out}")
