"""Checks of the optimiser: learning rate, kind, and the weights it was built for."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from kilter._diagnosis.batch_noise import LARGE_BATCH, USUAL_BATCH, too_large
from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._models.optimizers import OptimizerFacts, optimizer_slot
from kilter._records import Evidence, Finding, Severity


@dataclass(frozen=True)
class Rates:
    """Usual learning rates: outside ``low``–``high`` is a warning, outside ``least``–``most`` severe."""

    least: float
    low: float
    high: float
    most: float


_ADAM: Final = Rates(1e-6, 1e-5, 1e-2, 5e-2)
RATES: Final = {
    "sgd": Rates(1e-5, 1e-3, 0.5, 1.0),
    "momentum": Rates(1e-6, 1e-4, 0.15, 0.5),
    **dict.fromkeys(("adam", "adamw", "nadam", "adamax", "rmsprop"), _ADAM),
    "adafactor": Rates(1e-6, 1e-5, 0.1, 1.0),
    "adagrad": Rates(1e-6, 1e-4, 0.5, 2.0),
    "adadelta": Rates(1e-5, 1e-3, 10.0, 100.0),
    "ftrl": Rates(1e-6, 1e-4, 0.5, 2.0),
    "lion": Rates(1e-7, 1e-6, 1e-3, 1e-2),
    "lamb": Rates(1e-6, 1e-5, 2e-2, 0.2),
}
"""By optimiser; "momentum" is SGD with a momentum of at least 0.5. From Bengio 2012 and Keras's defaults."""

_SOURCE: Final = "Bengio 2012; Keras's defaults"
_LARGE_MOMENTUM: Final = 0.5
_SAMPLES: Final = 33  # of a schedule over the planned steps


def usual_rates(facts: OptimizerFacts) -> tuple[str, Rates | None]:
    """The optimiser's name in :data:`RATES`, and its usual rates; None for an unknown optimiser."""
    name = "momentum" if facts.name == "sgd" and facts.momentum >= _LARGE_MOMENTUM else facts.name
    return name, RATES.get(name)


def check_rate(context: Context) -> list[Finding]:
    """A learning rate outside the usual range; skipped for unknown optimisers."""
    facts = context.optimizer
    (name, usual), rate = usual_rates(facts), facts.learning_rate
    if usual is None or rate is None:
        return []
    severe = not usual.least <= rate <= usual.most
    if not severe and usual.low <= rate <= usual.high:
        return []
    severity: Severity = "severe" if severe else "warning"
    high, low = (usual.most, usual.least) if severe else (usual.high, usual.low)
    evidence = [Evidence("learning rate", rate, high if rate > high else low, _SOURCE)]
    shown = "SGD with momentum" if name == "momentum" else type(facts.optimizer).__name__
    words = {"optimizer": shown, "low": usual.low, "high": usual.high, "rate": rate}
    return [finding("learning-rate-range", severity, ["optimizer"], evidence, **words)]


def check_adagrad(context: Context) -> list[Finding]:
    """AdaGrad on a network with several hidden layers."""
    layers, limits = len(context.hidden), context.thresholds
    if context.optimizer.name != "adagrad" or layers < limits.adagrad_depth:
        return []
    evidence = [context.seen("adagrad_depth", "hidden layers", layers)]
    return [finding("adagrad-deep", "warning", ["optimizer"], evidence, layers=layers)]


def check_decay(context: Context) -> list[Finding]:
    """A schedule of the optimiser that has decayed long before the training ends, or only rises after it."""
    slot, limits = optimizer_slot(context.model, "learning_rate"), context.thresholds
    if context.epochs is None or slot is None or not slot.is_scheduled:
        return []
    planned = context.epochs * context.steps_per_epoch
    rates = np.array([float(slot.value(step)) for step in np.linspace(0, planned, _SAMPLES).astype(int)])
    later = np.array([float(slot.value(planned * 2**power)) for power in range(1, 12)])
    if not np.isfinite(rates).all() or rates.max() <= 0:
        return []
    if (share := float(rates.max() / later.max()) if later.max() > 0 else 1.0) < limits.risen:
        evidence = [context.seen("risen", "highest rate of the plan over that of the schedule", share)]
        words = {"most": later.max(), "share": share, "steps": planned}
        return [finding("rate-rises-late", "warning", ["optimizer"], evidence, **words)]
    alive = float(np.flatnonzero(rates >= limits.decayed_rate * rates.max())[-1] / (_SAMPLES - 1))
    if alive >= limits.decayed_early:
        return []
    evidence = [context.seen("decayed_early", "share of the steps before the rate has decayed", alive)]
    words = {"least": limits.decayed_rate, "alive": alive, "steps": planned}
    return [finding("rate-decays-early", "warning", ["optimizer"], evidence, **words)]


def check_frozen(context: Context) -> list[Finding]:
    """A model without trainable weights."""
    model = context.model
    if not model.weights or model.trainable_variables:
        return []
    evidence = [Evidence("trainable weights", 0, len(model.weights), "all weights of the model")]
    frozen = [one.path for one in context.layers if one.layer.weights and not one.repeated]
    return [finding("all-frozen", "severe", frozen, evidence)]


def check_stale(context: Context) -> list[Finding]:
    """Layers frozen or unfrozen after the optimiser was built for its weights."""
    optimizer = context.optimizer.optimizer
    if optimizer is None or not optimizer.built:
        return []
    built = {id(variable): variable for variable in getattr(optimizer, "_trainable_variables", ())}
    now = {id(variable): variable for variable in context.model.trainable_variables}
    thawed = [now[key].path for key in now if key not in built]
    frozen = [built[key].path for key in built if key not in now]
    if not built or not (thawed or frozen):
        return []
    evidence = [
        Evidence("unfrozen since compile()", len(thawed), 0),
        Evidence("frozen since compile()", len(frozen), 0),
    ]
    detail = f"{len(thawed)} unfrozen, {len(frozen)} frozen since then"
    return [finding("stale-compile", "severe", ["optimizer"], evidence, detail=detail)]


def check_batch(context: Context) -> list[Finding]:
    """Batches so large that the planned training has few steps, where usual ones would give many more."""
    if context.epochs is None or context.batch_size <= LARGE_BATCH:
        return []
    steps = context.epochs * context.steps_per_epoch
    more = context.epochs * math.ceil(context.rows / USUAL_BATCH)
    if steps >= context.thresholds.few_steps or more < 4 * steps:
        return []
    return [too_large(context, [context.seen("few_steps", "weight updates in total", steps)])]
