"""The sound sibling as a repair: a subject's own network with everything sound, as a list of changes.

:mod:`kilter._diagnosis.sibling` says what is sound. Each of its parts is a change that can be left out.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from kilter._diagnosis.context import Context
from kilter._diagnosis.diagnose import read_context
from kilter._diagnosis.easing import Easing
from kilter._diagnosis.sibling import PARTS, Cleaning, cleaning_of, sound_optimizer
from kilter._models.code import compile_code, layer_code, listed, loss_code, optimizer_code, weights_code
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.editing import can_be_cut, configuration
from kilter._models.optimizers import compiled_like
from kilter._models.variables import draw_weights
from kilter._records import Change
from kilter._treatment.own_measures import kind_of
from kilter._treatment.remedies.base import ADAPTED, counted, differences
from kilter._treatment.remedies.normalization import in_whole_batches
from kilter._treatment.subject import Step, Subject, copy_of
from kilter.errors import KilterError

OPTIMIZER: Final = "change-optimizer"
CODES: Final = (*PARTS, OPTIMIZER)


def sound_sibling(
    subject: Subject, keep: Collection[str] = (), codes: Sequence[str] = CODES
) -> Subject | None:
    """The subject's sibling in these parts, a change for each that changes something.

    None if nothing changes, or if the model cannot be copied. ``keep``: parts that are left out, and layers:
    a part that changes one of them is left out.
    """
    try:
        return _sibling(subject, keep, [code for code in codes if code not in keep])
    except (KilterError, *FOREIGN_ERRORS):
        return None


def _sibling(subject: Subject, keep: Collection[str], codes: Sequence[str]) -> Subject | None:
    context = read_context(subject.model, subject.x, subject.y, subject.training)
    policy = subject.policy.remedies
    easing = Easing(dropout=policy.dropout, most=policy.most_dropout)
    model, changes, options = copy_of(subject.model), [], {}
    graph = subject.model
    if can_be_cut(graph):
        parts = [code for code in codes if code in PARTS]
        described = [_change(context, cleaning_of(context, graph, [code], easing), code) for code in parts]
        changes = [one for one in described if one is not None and not set(one.where) & set(keep)]
        changes = [
            in_whole_batches(subject, one) if one.remedy == "insert-batch-norm" else one for one in changes
        ]
        cleaning = cleaning_of(context, graph, [one.remedy for one in changes], easing)
        model, options = cleaning.model(), cleaning.compiled
        made = [one.remedy for one in changes]
        if "reinitialize-paired" in made or ("replace-activation" in made and not subject.trained):
            free = [one for one in model._flatten_layers(include_self=False) if one.trainable]
            draw_weights(free, subject.seed)
    treated = subject
    if OPTIMIZER in codes and "optimizer" not in keep:
        optimizer = sound_optimizer(model, subject.model, policy.adam_rate)
        rate = round(float(np.asarray(optimizer.learning_rate)), 6)
        # Regression benefits from a high learning rate to the end, classification from one that falls to 0.
        cycled = not policy.adam_rate and any(kind_of(one) != "numbers" for one in subject.facts[1])
        changes.append(_optimizer_change(subject, optimizer, rate, cycled=cycled))
        options["optimizer"] = optimizer
        treated = replace(subject.with_training(schedule=None), cycle=rate if cycled else None)
    if not changes:
        return None
    steps = tuple(Step(one.remedy) for one in changes)
    return replace(
        treated,
        model=compiled_like(subject.model, model, **options),
        changes=(*subject.changes, *changes),
        steps=(*subject.steps, *steps),
    )


def _change(context: Context, cleaning: Cleaning, code: str) -> Change | None:
    """What one part changes, as text; None for nothing."""
    if cleaning.front:
        front = [layer_code(type(one), one.get_config()) for one in cleaning.front if one is not None]
        made = ADAPTED if len(cleaning.front) == 1 else "\n".join(front)
        recipe = ("data.standardize=true",)
        return Change(code, ("inputs",), "unscaled inputs", "inputs standardised", made, recipe)
    if not cleaning.cuts:
        return None
    before, after, where, lines = [], [], [], {}
    paths = {id(one.layer): one.path for one in context.layers}
    for layer, make in cleaning.cuts.items():
        given = configuration(layer)
        made = None if given is None else make(dict(given))
        if given is None or made is None:
            continue
        where.append(paths.get(id(layer), layer.path))
        now, then = differences(given, made)
        lines.setdefault(_made_code(layer, made), []).append(layer.name)
        before += now
        after += then
    loss = context.outputs[0].loss
    if cleaning.loss is not None and loss is not None:
        before.append(f"loss {loss.name}")
        after.append(f"loss {cleaning.loss}")
    snippet = [f"{made}  # {listed(names)}" for made, names in lines.items()]
    compiled = {} if cleaning.loss is None else {"loss": loss_code(cleaning.loss) or "model.loss"}
    if cleaning.weights:
        compiled["loss_weights"] = weights_code(cleaning.compiled["loss_weights"])
    if compiled:
        snippet.append(compile_code(context.model, **compiled))
    return Change(code, tuple(where), counted(before), counted(after), "\n".join(snippet))


def _made_code(layer: Any, made: Any) -> str:
    """The code of what a layer's cut makes of it."""
    parts = made if isinstance(made, list) else [made]
    described = [
        (type(layer), one) if isinstance(one, dict) else (type(one), one.get_config()) for one in parts
    ]
    return ", ".join(layer_code(*one) for one in described)


def _optimizer_change(subject: Subject, optimizer: Any, rate: float, *, cycled: bool) -> Change:
    facts, clip = subject.optimizer, optimizer.clipnorm
    now = "" if facts.learning_rate is None else f", learning rate {facts.learning_rate:.3g}"
    course = f"up to a rate of {rate:g} and down again (1cycle)" if cycled else f"learning rate {rate:g}"
    cycle = f"\n{subject.code_of(None, cycle=rate)}" if cycled else ""
    return Change(
        remedy=OPTIMIZER,
        where=("optimizer",),
        before=f"{facts.name}{now}",
        after="adam, " + ("" if clip is None else f"gradient norm at most {clip:g}, ") + course,
        snippet=compile_code(subject.model, optimizer=optimizer_code(optimizer) or "model.optimizer") + cycle,
        recipe=(
            "optimizer.name=adam",
            "optimizer.momentum=none",
            f"optimizer.learning_rate={rate:g}",
            *(() if clip is None else (f"optimizer.clipnorm={clip:g}",)),
            *(("schedule.name=one_cycle",) if cycled else ()),
        ),
    )
