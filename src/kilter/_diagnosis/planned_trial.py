"""The trial of a planned training: models trained for the same steps, and scored on held-out rows.

Also what an augmentation costs: the same network trained without it, and each augmentation by itself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._diagnosis.context import Context
from kilter._diagnosis.sibling import compiled_soundly, rate_at
from kilter._diagnosis.skill import LEAST, row_skill
from kilter._engine.arrays import collect, pick, row_count
from kilter._engine.augmenting import Augment, as_augmentation
from kilter._engine.feed import Order, ResidentFeed
from kilter._engine.inference import predict_unchanged, whole_batches
from kilter._engine.loop import training
from kilter._engine.padding import padded
from kilter._engine.program_cache import MANY_BATCHES, shelf
from kilter._engine.training_spec import TrainingSpec
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.editing import can_be_cut, cut, open_layers
from kilter._models.layers import AUGMENTATIONS
from kilter._models.optimizers import optimizer_facts, slot_index
from kilter._models.tracing import fixed_batch_size
from kilter._models.variables import assign, build, copied, pull, push, values_kept
from kilter._progress import Progress
from kilter.schedules import Performance


def augmenting_layers(model: keras.Model) -> list[Any]:
    """The layers of a graph that change its inputs at random while it trains."""
    return [one for one in open_layers(model) if isinstance(one, AUGMENTATIONS)] if can_be_cut(model) else []


def is_augmented(context: Context, augment: Augment | None) -> bool:
    """Whether the training changes its inputs at random, and can be tried without that."""
    return bool(augmenting_layers(context.model)) or (augment is not None and can_be_cut(context.model))


def unaugmented(context: Context) -> keras.Model:
    """The network without augmenting layers, with its own weights and the sibling's optimiser."""
    cuts = {layer: lambda _: None for layer in augmenting_layers(context.model)}
    return compiled_soundly(context, cut(context.model, cuts).model)


def most_harmful(context: Context, x: Any, score: Callable[[Any], float]) -> tuple[str, ...]:
    """The augmenting layers that read an input and lower a trained network's score most, the worst first.

    ``score``: of the network on rows like ``x``. Those that cost less than half of the worst are left out.
    """
    layers = [one for one in context.layers if isinstance(one.layer, AUGMENTATIONS)]
    if len(jax.tree.leaves(x)) != 1 or not layers:
        return ()
    before, costs = score(x), dict[str, float]()
    for one in layers:
        try:
            (leaf,), structure = jax.tree.flatten(x)
            changed = np.asarray(one.layer(np.asarray(leaf, "float32"), training=True))
            costs[one.path] = before - score(structure.unflatten([changed]))
        except FOREIGN_ERRORS:
            return ()
    worst = max(costs.values())
    named = sorted(costs, key=lambda path: -costs[path])
    return tuple(path for path in named if costs[path] >= worst / 2) if worst > 0 else ()


# Multiply-adds of one training run: about 4 seconds on two cores.
_WORK: Final = 4e10
_LEAST_STEPS: Final = 192
_MOST_STEPS: Final = 4_000
# Of a plan that is too long for a run of all its steps, this share is tried first beside the whole training.
_FIRST_SHARE: Final = 0.25
_BATCHES: Final = 8  # whose means are averages of batch normalisation
_RATES: Final = 64  # of the sibling's training, one after another


Look = Callable[[keras.Model], None]


@dataclass(frozen=True, eq=False)
class Run:
    """One training run of ``steps``: skill of each held-out row at its end, and the mean skill half-way."""

    rows: np.ndarray
    half: float
    steps: int

    @property
    def error(self) -> float:
        """The standard error of its skill."""
        return float(self.rows.std() / math.sqrt(len(self.rows)))

    @property
    def skill(self) -> float:
        """The mean at the end."""
        return float(self.rows.mean())


class PlannedTrial:
    """Trains models on the context's rows, each for the same steps, and scores them on held-out rows.

    ``planned``: the steps of the plan; ``steps``: of each run; ``most``: the longest that a run may be.
    """

    def __init__(
        self, context: Context, spec: TrainingSpec, x_val: Any, wanted: list[np.ndarray], progress: Progress
    ) -> None:
        self.context, self.spec, self.x_val, self.wanted = context, spec, x_val, wanted
        self.progress = progress
        self.planned = max(1, spec.epochs * context.steps_per_epoch)
        self.steps = self.most = self.planned
        self._rows = collect(context.x, context.y, context.row_weights)

    def unaugmented(self) -> tuple[Run, tuple[str, ...]] | None:
        """The run without augmentation, and the layers of it that cost the trained network most."""
        model, named = unaugmented(self.context), list[str]()

        def look(trained: keras.Model) -> None:
            def score(x: Any) -> float:
                return mean(row_skills(self.context, trained, x, self.wanted))

            named.extend(most_harmful(self.context, self.x_val, score))

        plain = PlannedTrial(
            self.context, replace(self.spec, augment=None), self.x_val, self.wanted, self.progress
        )
        plain.steps = self.steps
        made = plain.run(model, look=look)
        return None if made is None else (made, tuple(named))

    def handed(
        self, model: keras.Model, trained: Callable[[], keras.Model | None], look: Look | None = None
    ) -> Run | None:
        """The run of the given model from its whole training.

        If the others cannot run for all of the plan, they first run for a part of it, see :attr:`most`.
        """
        done = trained()
        if done is None:
            return None
        self.steps = self.most = self._affordable(done)
        if self.steps < self.planned:
            self.steps = min(self.steps, max(_LEAST_STEPS, math.ceil(_FIRST_SHARE * self.planned)))
        if look is not None:
            look(done)
        rows = row_skills(self.context, done, self.x_val, self.wanted)
        return None if rows is None else Run(rows, float(rows.mean()), self.planned)

    def run(self, model: keras.Model, *, given: bool = False, look: Look | None = None) -> Run | None:
        """The run of a model, put back after it; the ``given`` one decides how many steps.

        ``look`` is called with the trained model.
        """
        spec, before = self.spec, pull(model)
        if not given:
            build(model, self._rows.example(self.context.batch_size))
            before = pull(model)
        schedule = spec.schedule if given and not isinstance(spec.schedule, Performance) else None
        highest = None if given else optimizer_facts(model).learning_rate
        runner = training(model, schedule, as_augmentation(spec.augment), spec.seed)
        batch = fixed_batch_size(model) or self.context.batch_size
        # Of many batches the last, a partial one, would take longer to compile than to run.
        many = spec.shuffle and self.context.rows >= MANY_BATCHES * batch
        whole = self.context.rows // batch if many else 0
        feed = ResidentFeed(self._rows, Order(batch, spec.shuffle, spec.seed, most=whole or None))
        if spec.augment is None:
            feed = padded(model, feed, "train")  # the program that measures and trains
        try:
            made = self._trained(model, runner, feed, copied(before), highest)
            if look is not None:
                look(model)
            return made
        finally:
            push(before, model)

    def _trained(self, model: Any, runner: Any, feed: Any, state: Any, highest: float | None) -> Run | None:
        """``highest``: of the rates that change with the steps; None for the given model."""
        done, epoch, half, begun = 0, 0, None, False
        slot = None if highest is None else slot_index(model, "learning_rate")
        while done < self.steps:
            for block in feed.blocks(epoch):
                start = 0
                while start < block.steps and done < self.steps:
                    first = highest is None and not begun
                    stop = block.steps if not first else start + 1
                    middle = self.steps // 2
                    limit = middle if half is None and done < middle else self.steps
                    if slot is not None and highest is not None:
                        state.optimizer[slot] = jnp.float32(rate_at(highest, done, self.steps))
                        limit = min(limit, done + max(1, self.steps // _RATES))
                    stop = min(stop, start + limit - done)
                    state, _ = runner.call(state, block, start, stop)
                    done, start = done + stop - start, stop
                    if first:
                        begun = True
                        self.steps = self.most = self._affordable(model)
                    if half is None and done >= self.steps // 2:
                        half = self._skill(model, state, done)
                    self.progress.stage("Diagnosing: trying the planned training: step", done, self.steps)
            epoch += 1
        rows = self._skill(model, state, done)
        if rows is None or half is None:
            return None
        return Run(rows, float(half.mean()), done)

    def _affordable(self, model: Any) -> int:
        cost = shelf(model).cost("train")
        most = _MOST_STEPS if cost is None else int(_WORK / max(cost.work, 1.0))
        return min(self.planned, max(_LEAST_STEPS, min(most, _MOST_STEPS)))

    def _skill(self, model: Any, state: Any, done: int) -> np.ndarray | None:
        """Each held-out row's skill after ``done`` steps; see :func:`row_skills`."""
        push(copied(state), model)
        _catch_up(model, done, self.planned)
        return row_skills(self.context, model, self.x_val, self.wanted)


def row_skills(
    context: Context, model: keras.Model, x_val: Any, wanted: list[np.ndarray]
) -> np.ndarray | None:
    """The mean over the outputs of each row's skill; None if no output can be measured."""
    size = fixed_batch_size(model) or whole_batches(row_count(x=x_val))
    given = [np.asarray(one) for one in jax.tree.leaves(predict_unchanged(model, x_val, batch_size=size))]
    if not len(given) == len(wanted) == len(context.outputs):
        return None
    found = [row_skill(*one) for one in zip(context.outputs, given, wanted, strict=True)]
    known = [one for one in found if one is not None]
    return np.maximum(np.mean(known, axis=0), LEAST) if known else None


def _catch_up(model: keras.Model, done: int, planned: int) -> None:
    """Give the moving averages of batch normalisation the share of their start that they have after the plan.

    After k steps they hold momentum^k of their start (mean 0, variance 1): that is not a fault of the
    training.
    """
    for layer in lagging(model) if done < planned else ():
        left, end = (float(layer.momentum) ** steps for steps in (done, planned))
        for variable, start in ((layer.moving_mean, 0.0), (layer.moving_variance, 1.0)):
            recent = (np.asarray(variable) - left * start) / max(1 - left, 1e-6)
            least = 0.0 if start else -np.inf
            assign([(variable, np.maximum((1 - end) * recent + end * start, least))])


def lagging(model: keras.Model) -> list[Any]:
    """The layers whose moving averages change while the model trains."""
    norms = (one for one in model._flatten_layers() if isinstance(one, keras.layers.BatchNormalization))
    return [one for one in norms if one.trainable]


def row_skills_of_batches(
    context: Context, model: keras.Model, x_val: Any, wanted: list[np.ndarray]
) -> np.ndarray | None:
    """As :func:`row_skills`, with averages of batch normalisation from the weights as they are now.

    They are the means over a few batches of the training rows, in place of the moving ones.
    """
    norms, batch = lagging(model), context.batch_size
    momenta = [one.momentum for one in norms]
    order = np.random.default_rng(0).permutation(context.rows)
    with values_kept(model.non_trainable_variables):
        try:
            for done in range(min(_BATCHES, context.rows // batch)):
                for one in norms:
                    one.momentum = done / (done + 1)
                model(pick(context.x, np.sort(order[done * batch : (done + 1) * batch])), training=True)
        finally:
            for one, momentum in zip(norms, momenta, strict=True):
                one.momentum = momentum
        return row_skills(context, model, x_val, wanted)


def mean(skills: np.ndarray | None) -> float:
    return math.nan if skills is None else float(skills.mean())
