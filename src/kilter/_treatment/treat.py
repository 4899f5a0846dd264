"""``treat``: what is wrong is found, changed, proved, and the model trained."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

import keras
import numpy as np

from kilter._compare.looks import LEVEL
from kilter._compare.statistics import least_pairs, smallest_p
from kilter._diagnosis.diagnose import check_rows, diagnose
from kilter._engine.arrays import check_batch_size, pick, row_count
from kilter._engine.fit import check_whole_numbers
from kilter._models.graph import as_graph
from kilter._models.layers import optimizer_facts
from kilter._models.tracing import fixed_batch_size
from kilter._progress import Verbose, shown
from kilter._records import Diagnosis
from kilter._treatment.plan import RemedySet
from kilter._treatment.remedies import REMEDIES, Remedy
from kilter._treatment.result import Evaluation, Treatment, Trials
from kilter._treatment.scoring import scoring_of
from kilter._treatment.search import Means
from kilter._treatment.session import Session
from kilter._treatment.shared_programs import Twins
from kilter._treatment.subject import FitOptions, Subject, compiled_like
from kilter.errors import OptionError

# Of data without a validation part, this share of the rows is held out.
_HELD_OUT: Final = 0.2


def treat(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    validation_data: tuple[Any, Any] | None = None,
    batch_size: int = 32,
    epochs: int = 10,
    shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None,
    budget: float = 1.0,
    pairs: int = 6,
    seed: int = 0,
    keep: Collection[str] = (),
    remedies: Mapping[str, Remedy] = REMEDIES,
    verbose: Verbose = "auto",
) -> Treatment:
    """Find what is wrong with a model, change it, prove the changes, and train the result.

    The model is diagnosed (:func:`kilter.diagnose`). For severe findings the remedies are put together, what
    lies upstream first, and sets of them tried in short trainings. The smallest set that suffices is trained
    for ``epochs``, stopped early at the best validation loss. Where much is left to learn and there is time,
    so are variants that are sound throughout. Of the best it is tested on paired seeds whether it is better
    than the model as it came. What is not proven is dropped, and so is a change that makes any output's own
    measure worse. A model in which nothing severe is found is trained as it came; if it then falls short of
    plain methods, it is treated.

    The model returned is not worse than the one given. The given model is trained too, without any change,
    for all epochs. Both are scored on the same validation rows, by every measure of every output: accuracy of
    classes (balanced accuracy too where a class has less than a fifth of the rows), accuracy and IoU of
    binary elements, root mean squared error of numbers, and compiled metrics. If the treated model is worse
    on any of them by more than one standard error of the paired difference (a jackknife over 20 groups of
    rows), the given one is returned, and ``.kept`` says why. A model that has learnt something already is
    returned as it came if more training makes it worse.

    Args:
        model: compiled; it stays as it is, the treated one is a copy.
        x, y: training data, arrays or nests of arrays; ``validation_data``: (x, y). Without it a fifth of the
            rows, drawn with ``seed``, is held out.
        batch_size, epochs, shuffle, class_weight: as :func:`kilter.fit` is to take them. A model that is made
            for one batch size is trained and judged with whole batches of that size.
        budget: how much of the full training's time trials may take, roughly, beyond some seconds.
        pairs: how many paired seeds a proof has, at least 6: fewer cannot reach a p of 0.05.
        seed: of weights, orders and searches.
        keep: codes of remedies that are not to be used, and names of layers that are not to be touched.
        remedies: the remedies to choose from, by code.
        verbose: as of :func:`kilter.diagnose`.

    Raises what :func:`kilter.diagnose` raises, and :class:`~kilter.errors.OptionError` for pairs below 6, a
    negative budget, and names in ``keep`` that are neither a remedy nor a layer.
    """
    began = time.perf_counter()
    _check(model, batch_size, epochs, pairs, budget, seed)
    fixed = fixed_batch_size(model, batch_size)
    batch_size = fixed or batch_size
    x, y, validation_data = _divided(x, y, validation_data, seed, fixed or 1)
    if fixed is not None:
        (x, y), validation_data = (_whole(model, *part, fixed) for part in ((x, y), validation_data))
    with shown(verbose) as progress:
        how = {"batch_size": batch_size, "shuffle": shuffle, "seed": seed, "verbose": progress}
        diagnosis = diagnose(model, x, y, validation_data=validation_data, **how)
        remedy_set = RemedySet(remedies, _kept(model, keep, remedies))
        options = FitOptions(epochs=epochs, batch_size=batch_size, shuffle=shuffle, class_weight=class_weight)
        trained = optimizer_facts(model).iterations > 0
        graph = as_graph(model, x)  # a class with a call of its own, so that its layers can be treated
        given = model if graph is None or graph is model else compiled_like(model, graph)
        came = Subject(given, x, y, *validation_data, options=options, seed=seed, trained=trained)
        came.twins.saw(model)
        progress.stage("Treating: measuring what nearest neighbours and ridge regression reach")
        means = Means(remedy_set, scoring_of(came), budget, seed, progress)
        outcome = Session(came, diagnosis, means, pairs).run()
        best, trials, returned = outcome.subject, outcome.trials, outcome.returned
        done = returned.trained
        progress.stage("Diagnosing the trained model")
        after = Evaluation(done.diagnosis, done.score, done.history.history, returned.after)
    return Treatment(
        model=done.restored(),
        changes=best.changes,
        dropped=_dropped(trials, best),
        trials=trials,
        before=replace(_before(diagnosis, trials), measures=returned.before),
        after=after,
        seconds=time.perf_counter() - began,
        skipped=_skipped(remedy_set, best),
        subjects=(replace(came, twins=Twins()), replace(best, twins=Twins())),
        checks=returned.checks,
        kept=returned.kept,
    )


def _skipped(remedy_set: RemedySet, best: Subject) -> dict[str, str]:
    """The remedies that the model cannot have, with the reasons."""
    changed = {one.remedy for one in best.changes}
    return {code: reason for code, reason in remedy_set.skipped.items() if code not in changed}


def _before(diagnosis: Diagnosis, trials: Trials) -> Evaluation:
    """The model as it came, by the first of its short trainings."""
    if trials.proof is None:
        return Evaluation(diagnosis, math.nan, {})
    runs = trials.proof.baseline.runs
    curves: dict[str, list[float]] = {}
    for line in runs[0].history:
        for name, value in line.items():
            curves.setdefault(name, []).append(value)
    return Evaluation(diagnosis, float(np.median([run.score for run in runs])), curves)


def _dropped(trials: Trials, best: Subject) -> tuple[str, ...]:
    used = {change.remedy for change in best.changes}
    tried = dict.fromkeys(code for one in trials.tried for code in one.remedies)
    return tuple(code for code in tried if code not in used)


def _divided(x: Any, y: Any, validation: Any, seed: int, unit: int = 1) -> tuple[Any, Any, tuple[Any, Any]]:
    """Training rows, and a validation part, cut off where none is given: a multiple of ``unit`` rows."""
    y = np.asarray(y) if isinstance(y, list | tuple) and all(map(np.isscalar, y)) else y
    if validation is not None:
        return x, y, (validation[0], validation[1])
    order = np.random.default_rng(seed).permutation(row_count(x=x, y=y))
    held = max(1, round(_HELD_OUT * len(order) / unit)) * unit
    later, earlier = np.sort(order[:held]), np.sort(order[held:])
    return pick(x, earlier), pick(y, earlier), (pick(x, later), pick(y, later))


def _whole(model: keras.Model, x: Any, y: Any, batch_size: int) -> tuple[Any, Any]:
    """The rows of whole batches: a model that is made for one batch size takes no others."""
    count = row_count(x=x, y=y)
    check_rows(model, count, batch_size)
    whole = count - count % batch_size
    return pick((x, y), slice(whole))


def _check(model: keras.Model, batch_size: int, epochs: int, pairs: int, budget: float, seed: int) -> None:
    check_batch_size(batch_size)
    check_whole_numbers(1, epochs=epochs)
    check_whole_numbers(seed=seed)
    check_whole_numbers(pairs=pairs)
    if pairs < (least := least_pairs(1, LEVEL)):
        raise OptionError(
            expected=f"at least {least} pairs: fewer cannot prove anything at level {LEVEL:g}",
            received=f"pairs={pairs}, whose smallest p is {smallest_p(int(pairs)):.2g}",
            remedy=f"take {least} pairs or more",
        )
    if not budget >= 0:
        raise OptionError(
            expected="a budget of 0 or more, as a share of the training's time",
            received=f"budget={budget!r}",
            remedy="1.0 is usual",
        )


def _kept(model: keras.Model, keep: Collection[str], remedies: Mapping[str, Remedy]) -> frozenset[str]:
    names = {name for layer in model._flatten_layers() for name in (layer.name, layer.path)}
    unknown = sorted(set(keep) - names - set(remedies))
    if isinstance(keep, str) or unknown:
        raise OptionError(
            expected="keep as a list of remedies and layers",
            received=f"keep={keep!r}",
            remedy=f"remedies are {', '.join(remedies)}; layers are in model.summary()",
        )
    return frozenset(keep)
