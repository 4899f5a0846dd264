"""Remedies for the training: batch size, order, length, class weights, trainable layers."""

import json
import math
from typing import Any, Final

import keras
import numpy as np

from kilter._diagnosis.targets import labels
from kilter._diagnosis.thresholds import Thresholds
from kilter._engine.training_spec import EarlyStopping
from kilter._models.code import compile_code
from kilter._models.optimizers import compiled_like
from kilter._models.tracing import fixed_batch_size
from kilter._records import Finding
from kilter._text import counted
from kilter._treatment.remedies.base import changed, remedies
from kilter._treatment.subject import Subject, copy_of
from kilter.errors import ModelError

_SIZES: Final = (16, 32, 64, 128)


def change_batch_size(subject: Subject, finding: Finding) -> Subject | None:
    """Batches of 32 if they are smaller, else twice the size up to 256, with at least 10 steps an epoch.

    Batches that are too large become the largest that give the training enough steps.
    """
    now, policy = subject.training.batch_size, subject.policy.remedies
    if finding.code == "batch-too-large":
        epochs, least = subject.training.epochs, 2 * Thresholds().few_steps
        enough = [one for one in _SIZES if epochs * math.ceil(subject.rows / one) >= least]
        size = max(enough, default=_SIZES[0])
        words = f"batches of {now}", f"batches of {size}"
        return _fitted(subject, "training", "batch_size", size, *words)
    wanted = policy.usual_batch if now < policy.usual_batch else min(2 * now, policy.largest_batch)
    size = min(wanted, max(1, subject.rows // policy.batch_steps))
    if size <= now:
        return None
    fixed = fixed_batch_size(subject.model)
    if fixed is not None:
        raise ModelError(
            expected="a model that takes batches of any size",
            received=f"one that is made for batches of {fixed} rows",
            remedy="build it with keras.Input(shape) without a batch size, and without stateful layers",
        )
    words = f"batches of {now}", f"batches of {size}"
    return _fitted(subject, "training", "batch_size", size, *words)


def shuffle(subject: Subject, finding: Finding) -> Subject | None:
    """Shuffle the rows in every epoch."""
    if subject.training.shuffle:
        return None
    words = "rows in the given order", "a new order in every epoch"
    return _fitted(subject, "data", "shuffle", True, *words)


def stop_early(subject: Subject, finding: Finding) -> Subject | None:
    """Early stopping with a patience of a fifth of the epochs; the best weights are restored."""
    own, policy = subject.training, subject.policy.remedies
    if own.early_stopping is not None or own.validation_data is None:
        return None
    if any(isinstance(one, keras.callbacks.EarlyStopping) for one in own.callbacks):
        return None
    patience = max(policy.stop_patience, int(own.epochs * policy.stop_share))
    before = counted(own.epochs, "epoch")
    after = f"until the validation loss has not fallen for {patience} epochs; the best weights are kept"
    return changed(
        subject,
        ("training",),
        (before, after),
        training={"early_stopping": EarlyStopping(patience=patience)},
        snippet=f"keras.callbacks.EarlyStopping(patience={patience}, restore_best_weights=True)",
        recipe=(f"train.early_stopping={{ patience = {patience} }}",),
    )


def train_longer(subject: Subject, finding: Finding) -> Subject | None:
    """Twice as many epochs."""
    now, wanted = subject.training.epochs, 2 * subject.training.epochs
    words = f"{now} epochs", f"{wanted} epochs"
    return _fitted(subject, "training", "epochs", wanted, *words)


def _fitted(subject: Subject, where: str, key: str, value: int, before: str, after: str) -> Subject:
    """Another ``value`` of the argument ``key`` of fit."""
    recipe = f"train.{key}={json.dumps(value)}"
    return changed(subject, (where,), (before, after), training={key: value}, recipe=(recipe,))


def class_weights(subject: Subject, finding: Finding) -> Subject | None:
    """Class weights of rows / (classes · rows of the class), so that all classes have equal weight."""
    outputs = subject.facts[1]
    found = labels(outputs[0].targets) if len(outputs) == 1 else None
    given = subject.training.class_weight
    kept = given is not None and finding.code != "row-weights"
    if kept or subject.training.sample_weight is not None or found is None:
        return None
    classes, counts = np.unique(found, return_counts=True)
    if len(classes) < 2 or counts.min() == counts.max():
        return None
    weights = dict(zip(classes.tolist(), (len(found) / (len(classes) * counts)).tolist(), strict=True))
    before = "equal weight for every row" if given is None else "more weight for the common class"
    after = "equal weight for every class"
    recipe = ("train.class_weight=balanced",)
    return changed(subject, ("data",), (before, after), training={"class_weight": weights}, recipe=recipe)


def equal_weights(subject: Subject, finding: Finding) -> Subject | None:
    """Train on all rows alike: without the weights of rows and classes. None if there are none."""
    given = subject.training
    named = [name for name in ("sample_weight", "class_weight") if getattr(given, name) is not None]
    if not named:
        return None
    words = f"weights of rows that silence most of them ({', '.join(named)})", "every row counts the same"
    snippet = f"model.fit(x_train, y_train)  # without {' and '.join(named)}"
    return changed(subject, ("data",), words, training=dict.fromkeys(named), snippet=snippet)


def unfreeze(subject: Subject, finding: Finding) -> Subject | None:
    """Make every layer trainable, and compile again."""
    frozen = [layer for layer in subject.model._flatten_layers() if not layer.trainable]
    if not frozen:
        return None
    model = copy_of(subject.model)
    for layer in [model, *model._flatten_layers(include_self=False)]:
        layer.trainable = True
    return changed(
        subject,
        tuple(layer.name for layer in frozen),
        ("frozen", "trainable"),
        model=compiled_like(subject.model, model),
        snippet="model.trainable = True\n" + compile_code(subject.model),
    )


def recompile(subject: Subject, finding: Finding) -> Subject | None:
    """Compile again with the same arguments, so that the optimiser knows the trainable weights."""
    optimizer: Any = subject.optimizer.optimizer
    known = {id(variable) for variable in getattr(optimizer, "_trainable_variables", ())}
    if not known or known == {id(variable) for variable in subject.model.trainable_variables}:
        return None
    words = "an optimiser built for other weights than the trainable ones", "compiled again"
    snippet = f"{compile_code(subject.model)}  # after each change of layer.trainable"
    return changed(subject, ("optimizer",), words, model=subject.copy(), snippet=snippet)


REMEDIES = remedies(change_batch_size, shuffle, stop_early, train_longer, class_weights) | remedies(
    equal_weights, unfreeze, recompile
)
