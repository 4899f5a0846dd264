"""Whether a training will reach a good result: the planned training compared with a sibling's.

Both train as many steps on the same rows and are scored on held-out rows. If the plan is longer, the given
network may gain what its last doubling gained, for each one left; the sibling's score is not extrapolated.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._diagnosis.batch_noise import LARGE_BATCH, SMALL_BATCH, measured_noise
from kilter._diagnosis.context import Context
from kilter._diagnosis.learnable import Learnable, learnable
from kilter._diagnosis.planned_trial import (
    PlannedTrial,
    Run,
    is_augmented,
    lagging,
    mean,
    row_skills,
    row_skills_of_batches,
)
from kilter._diagnosis.sibling import own_network, sibling
from kilter._diagnosis.skill import baseline
from kilter._engine.arrays import pick, row_count
from kilter._engine.structure import structure
from kilter._engine.training_spec import TrainingSpec
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.reading import paired_targets
from kilter._models.tracing import fixed_batch_size
from kilter._models.variables import values_kept
from kilter._progress import Progress
from kilter._tuning.noise_scale import NoiseScale
from kilter.errors import KilterError

# Skill that each doubling of the steps may gain, whatever the last one did: networks may stay on a plateau.
_LEAST_GAIN: Final = 0.05
_EQUAL: Final = 0.01  # a difference of skill that does not matter
_HELD: Final = 0.2
_MOST_HELD: Final = 1_000


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the training will reach, and what it could. Skill is 0 for a constant prediction, 1 if perfect.

    Attributes:
        planned, steps: of the training, and of what was tried.
        given: of the given network, which may have been trained for longer than the others.
        reached: the skill after those. expected: at the end of the plan, at best.
        sibling: of the sibling after the same steps; NaN without one. rising: its gain in the second half.
        baseline: of nearest neighbours or ridge regression.
        tuned: of the unchanged network with the sibling's optimiser; NaN if that was not tried.
        settled: of the given network with averages of batch normalisation that do not lag behind its
            weights; NaN if that was not tried.
        plain: of the same without augmentation; NaN without any. harmful: the layers that cost it most.
        error: standard error of the difference to the sibling. chance: of the skill of a guess.
        learnable: of the label-permutation test; None if it was not needed.
        noise: of the gradient, for batches of an unusual size; None if it was not needed.
    """

    planned: int
    steps: int
    reached: float
    expected: float
    sibling: float = math.nan
    baseline: float = math.nan
    tuned: float = math.nan
    rising: float = math.nan
    settled: float = math.nan
    plain: float = math.nan
    harmful: tuple[str, ...] = ()
    error: float = 0.0
    chance: float = 0.0
    learnable: Learnable | None = None
    noise: NoiseScale | None = None
    given: int = 0

    @property
    def reference(self) -> float:
        """The best of the sibling, of the network without augmentation, and of the baselines."""
        known = [one for one in (self.sibling, self.plain, self.baseline) if not math.isnan(one)]
        return max(known, default=math.nan)

    def falls_short(self, margin: float, slack: float) -> bool:
        """Whether it ends ``margin`` behind the sibling, or ``margin + slack`` behind the baselines."""
        better = (self.sibling, self.plain, self.baseline - slack)
        gaps = [one - self.expected - self.error for one in better]
        return any(not math.isnan(one) and one > margin for one in gaps)

    def harmed_by_augmentation(self, margin: float) -> bool:
        """Whether training without augmentation ends ``margin`` ahead, also of a sibling that has it."""
        augmented = max(self.expected, -math.inf if math.isnan(self.sibling) else self.sibling)
        return self.plain - augmented - self.error > margin

    def without_lag(self, margin: float) -> "Outcome | None":
        """The outcome with batch normalisation that does not lag; None if it falls short then too."""
        if math.isnan(self.settled) or self.settled <= self.reached:
            return None
        there = replace(self, expected=max(self.expected, self.settled), reached=self.settled)
        return None if there.falls_short(margin, margin) else there

    @property
    def is_whole(self) -> bool:
        """Whether the whole training was tried."""
        return self.steps >= self.planned

    @property
    def is_of_rate(self) -> bool:
        """Whether the sibling's optimiser alone gets as far as the whole sibling, but for chance."""
        return not math.isnan(self.tuned) and self.tuned >= self.sibling - max(_EQUAL, self.error)

    def is_behind_sibling(self, skill: float) -> bool:
        """Whether a skill after the whole training is behind the sibling's; True if that is not known."""
        known = self.is_whole and not math.isnan(self.sibling + skill)
        return not known or self.sibling - skill > max(_EQUAL, self.error)

    def least(self, least: float) -> float:
        """The skill above which something was learnt: ``least``, or two standard errors of a guess."""
        return max(least, 2 * self.chance)

    def is_noise(self, least: float) -> bool:
        """Whether nothing learnt anything, and the permutation test sees nothing to learn either."""
        tried = [one for one in (self.reached, self.sibling) if not math.isnan(one)]
        return (
            self.learnable is not None
            and self.learnable.learnable is False
            and max(tried) < self.least(least)
        )


@dataclass(frozen=True, eq=False)
class Divided:
    """The rows that are trained on, as a context, and those that training runs are scored on."""

    context: Context
    x_val: Any
    y_val: Any


def divided(context: Context, spec: TrainingSpec) -> Divided | None:
    """The rows of an outcome; None if none can be measured: no targets, custom losses, too few rows."""
    parts = _parts(context, spec)
    if parts is None or any(one.loss is None for one in context.outputs):
        return None
    (x, y, weights), held = parts
    inputs = tuple(map(np.asarray, jax.tree.leaves(x)))
    trained = replace(context, x=x, y=y, row_weights=weights, inputs=inputs)
    few = trained.rows < 2 * context.batch_size and trained.rows < 16
    return None if few else Divided(trained, *held)


def outcome(
    rows: Divided,
    spec: TrainingSpec,
    margin: float,
    progress: Progress,
    *,
    explained: bool = False,
    trained: Callable[[], keras.Model | None] | None = None,
) -> Outcome | None:
    """The outcome of ``spec``; None if the given model cannot be trained or scored.

    ``trained``: trains a copy of the given model for the whole of ``spec``. It stands for a run of the
    outcome's own if so many steps are tried here.

    ``explained``: whether a severe finding says why it may fall short. No sibling is trained then if the
    baselines show that it does.
    """
    held, x_val, model = rows.context, rows.x_val, rows.context.model
    trial = PlannedTrial(held, spec, x_val, paired_targets(model, rows.y_val), progress)
    noise: list[NoiseScale | None] = []
    weights: list[Any] = []

    def look(trained: keras.Model) -> None:
        if lagging(trained):
            weights[:] = trained.get_weights()
        if held.batch_size > LARGE_BATCH:  # the noise is least before training
            noise.append(measured_noise(held, trained))

    try:
        own = trial.handed(model, trained, look) if trained else trial.run(model, given=True, look=look)
    except KilterError:
        return None
    if own is None:
        return None
    expected = _expected(own, trial.planned)
    known = _guarded(lambda: baseline(_with_targets(held), x_val, trial.wanted), math.nan)
    found = Outcome(
        trial.planned, trial.steps, own.skill, expected, baseline=known, chance=own.error, given=own.steps
    )
    found = replace(found, noise=noise[0] if noise else None)
    # Behind baselines that learn nothing themselves it may only be that there is nothing to learn.
    told = explained and known >= margin and found.falls_short(margin, margin)
    if expected >= 1 - margin or told:
        return found
    sound = _guarded(lambda: sibling(held, spec.seed), None)
    made = None if sound is None else _guarded(lambda: trial.run(sound), None)
    if made is not None and trial.steps < trial.most and not _is_clear(found, own, made, margin):
        trial.steps = trial.most
        made = None if sound is None else _guarded(lambda: trial.run(sound), None)
    found = replace(found, steps=trial.steps)
    if made is not None:
        found = _beside(found, own, made)
    if is_augmented(held, spec.augment):
        plain = _guarded(trial.unaugmented, None)
        found = found if plain is None else replace(found, plain=plain[0].skill, harmful=plain[1])
    if max(found.reached, found.sibling if made else found.reached) < max(margin, 2 * found.chance):
        found = replace(found, learnable=learnable(_with_targets(held), spec.seed))
    if found.falls_short(margin, margin) and weights:
        settled = mean(_guarded(lambda: _settled(held, weights, x_val, trial.wanted), None))
        found = replace(found, settled=settled)
    if found.falls_short(margin, margin) and found.without_lag(margin) is None:
        tuned = made if _same_network(sound, model) else _guarded(lambda: trial.run(own_network(held)), None)
        found = replace(found, tuned=math.nan if tuned is None else tuned.skill)
        if held.batch_size <= SMALL_BATCH:
            found = replace(found, noise=measured_noise(held, model))
    return found


def _settled(held: Context, weights: list[Any], x_val: Any, wanted: list[Any]) -> np.ndarray | None:
    """The skills with these trained weights, and averages of batch normalisation that do not lag."""
    with values_kept(held.model.variables):
        held.model.set_weights(weights)
        return row_skills_of_batches(held, held.model, x_val, wanted)


def _beside(found: Outcome, own: Run, made: Run) -> Outcome:
    """The outcome with what the sibling ``made`` of it."""
    gap = made.rows - own.rows
    chance = max(own.error, made.error)  # a training run that diverged has none
    error = float(gap.std() / math.sqrt(len(gap)))
    return replace(found, sibling=made.skill, error=error, chance=chance, rising=made.skill - made.half)


def _is_clear(found: Outcome, own: Run, made: Run, margin: float) -> bool:
    """Whether the sibling, after a part of the plan, says as much of the whole training as after more of it.

    It is ahead by the ``margin``, or it has learnt something and is not even half as far ahead.
    """
    beside = _beside(found, own, made)
    if beside.falls_short(margin, margin):
        return True
    behind = found.baseline - made.skill > margin  # it may need longer itself
    return (
        not behind and made.skill >= max(margin, 2 * beside.chance) and made.skill - own.skill <= margin / 2
    )


def skill_of(rows: Divided, model: keras.Model) -> float:
    """The skill of a trained model on the rows of an outcome; NaN if it cannot be measured."""
    wanted = paired_targets(rows.context.model, rows.y_val)
    return mean(_guarded(lambda: row_skills(rows.context, model, rows.x_val, wanted), None))


def _same_network(sibling: keras.Model | None, given: keras.Model) -> bool:
    """Whether the sibling differs in its optimiser and in the draw of its weights only."""
    if sibling is None:
        return False
    one, other = structure(sibling), structure(given)
    drawn = [
        [
            type(value)
            for layer in model._flatten_layers()
            for name, value in sorted(vars(layer).items())
            if name.endswith("_initializer")
        ]
        for model in (sibling, given)
    ]
    return one is not None and other is not None and one.network == other.network and drawn[0] == drawn[1]


def _guarded(make: Callable[[], Any], otherwise: Any) -> Any:
    """The result of ``make``; ``otherwise`` if the user's code, or Keras, does not allow it."""
    try:
        return make()
    except (KilterError, *FOREIGN_ERRORS):
        return otherwise


def _expected(own: Run, planned: int) -> float:
    doublings = math.log2(max(planned / own.steps, 1.0))
    return min(1.0, own.skill + max(_LEAST_GAIN, own.skill - own.half) * doublings)


def _with_targets(context: Context) -> Context:
    """The outputs with the targets of the context's own rows."""
    targets = paired_targets(context.model, context.y)
    outputs = [replace(one, targets=own) for one, own in zip(context.outputs, targets, strict=True)]
    return replace(context, outputs=tuple(outputs))


def _parts(context: Context, spec: TrainingSpec) -> tuple[Any, Any] | None:
    """Rows to train on with their weights, and held-out rows; None for what cannot be scored."""
    whole = (context.x, context.y, context.row_weights)
    unit = fixed_batch_size(context.model) or 1
    if context.y is None or context.rows < 10:
        return None
    if spec.validation_data is None:
        order = np.random.default_rng(spec.seed).permutation(context.rows)
        count = min(_MOST_HELD, max(unit, int(_HELD * context.rows) // unit * unit))
        if context.rows - count < unit:
            return None
        return pick(whole, np.sort(order[count:])), pick(whole[:2], np.sort(order[:count]))
    held = tuple(spec.validation_data[:2])
    count = min(row_count(x=held[0]), _MOST_HELD) // unit * unit
    order = np.random.default_rng(spec.seed).permutation(row_count(x=held[0]))[:count]
    return (whole, pick(held, np.sort(order))) if count else None
