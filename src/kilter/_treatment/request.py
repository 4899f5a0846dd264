"""The checked arguments of ``treat``, as one :class:`~kilter._treatment.subject.Subject`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kilter._compare.statistics import least_pairs, smallest_p
from kilter._diagnosis.diagnose import check_rows, checked_training, targets_of
from kilter._engine.arrays import pick, row_count
from kilter._engine.training_spec import TrainingSpec
from kilter._models.editing import as_graph
from kilter._models.layers import require_model
from kilter._models.optimizers import compiled_like, optimizer_facts
from kilter._models.tracing import fixed_batch_size
from kilter._models.variables import build_forward, fitting
from kilter._treatment.policy import Policy
from kilter._treatment.remedies import Remedy
from kilter._treatment.scoring import answers_for
from kilter._treatment.subject import Subject
from kilter._validation import instance_of, number, whole_number
from kilter.data.splitting import row_keys
from kilter.errors import OptionError


def subject_of(model: keras.Model, x: Any, y: Any, spec: TrainingSpec, policy: Policy) -> Subject:
    """The model with its data and its training; rows are held out if there are no validation data.

    A model made for one batch size gets whole batches of that size. Raises as :func:`kilter.treat` does.
    """
    require_model(model)
    y = targets_of(y)
    spec = checked_training(model, x, y, spec)
    fixed = fixed_batch_size(model, spec.batch_size)
    data = x, y, spec.sample_weight
    if spec.validation_data is None:
        data, held = _split(data, policy.search.held_out, spec.seed, fixed or 1)
    else:
        held = tuple(spec.validation_data)
    if fixed is not None:
        data, held = (_whole_batches(model, part, fixed) for part in (data, held))
    held = _counted(held)
    x, y, weights = data
    return Subject(model, x, y, replace(spec, validation_data=held, sample_weight=weights), policy=policy)


def readable(subject: Subject) -> Subject:
    """The subject as remedies read it: a model with its own ``call`` as a graph of its layers, if possible.

    The model must be built.
    """
    model = subject.model
    graph = as_graph(model, subject.x)
    given = model if graph is None or graph is model else compiled_like(model, graph)
    return replace(subject, model=given, trained=optimizer_facts(model).iterations > 0)


def check_numbers(pairs: int, budget: float, policy: Policy, max_seconds: float | None) -> None:
    """Raise :class:`OptionError` for invalid numbers, and for fewer pairs than a proof needs."""
    instance_of("policy", policy, Policy, "a kilter.Policy")
    level = policy.search.level
    whole_number("pairs", pairs)
    least = least_pairs(1, level)
    if pairs < least:
        raise OptionError(
            expected=f"at least {least} pairs: fewer cannot prove anything at level {level:g}",
            received=f"pairs={pairs}, with a smallest p of {smallest_p(int(pairs)):.2g}",
            remedy=f"use {least} pairs or more",
        )
    number("budget", budget, 0, remedy="1.0 is usual")
    if max_seconds is not None:
        number("max_seconds", max_seconds, above=0, remedy="leave it out for no limit")


def check_metric(subject: Subject, metric: str | None) -> None:
    """Raise :class:`OptionError` for a metric that fits no output; builds the model if there is a metric."""
    if metric is None:
        return
    with fitting(subject.model, (subject.x, subject.y)):
        build_forward(subject.model, pick(subject.x, slice(subject.training.batch_size)))
    answers_for(readable(subject), metric)


def kept(model: keras.Model, keep: Collection[str], remedies: Mapping[str, Remedy]) -> frozenset[str]:
    """``keep`` as a set. Raises :class:`OptionError` for a name that is neither a remedy nor a layer."""
    instance_of("remedies", remedies, Mapping, "a mapping from codes to remedies")
    for code, one in remedies.items():
        instance_of(f"remedies[{code!r}]", one, Remedy, "a Remedy")
    names = {name for layer in model._flatten_layers() for name in (layer.name, layer.path)}
    unknown = sorted(set(keep) - names - set(remedies))
    if isinstance(keep, str) or unknown:
        raise OptionError(
            expected="keep as a list of remedies and layers",
            received=f"keep={keep!r}",
            remedy=f"remedies are {', '.join(remedies)}; layers are in model.summary()",
        )
    return frozenset(keep)


def _split(data: Any, share: float, seed: int, unit: int) -> tuple[Any, Any]:
    """Rows to train on, and a share of them held out, drawn with ``seed``: a multiple of ``unit`` rows."""
    order = np.argsort(row_keys(row_count(x=data[0]), seed), kind="stable")
    held = max(1, round(share * len(order) / unit)) * unit
    return pick(data, np.sort(order[held:])), pick(data, np.sort(order[:held]))


def _counted(held: tuple[Any, ...]) -> tuple[Any, ...]:
    """The validation rows without those of weight 0, which show nothing that their owner wants learnt."""
    weights = held[2] if len(held) == 3 else None
    if weights is None:
        return held[:2]
    by_row = isinstance(weights, np.ndarray) and weights.ndim == 1
    return pick(held, np.flatnonzero(weights)) if by_row and weights.any() and not weights.all() else held


def _whole_batches(model: keras.Model, data: Sequence[Any], batch_size: int) -> Any:
    """The rows of whole batches: a model made for one batch size takes no others."""
    count = row_count(x=data[0])
    check_rows(model, count, batch_size)
    return pick(tuple(data), slice(count - count % batch_size))
