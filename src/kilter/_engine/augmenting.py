"""Augmentation inside the compiled step: a training step that first transforms its batch.

Random numbers depend only on the seed and the optimiser's step counter. So a resumed run, or one cut into
other chunks, draws the same numbers, each epoch draws new ones, and evaluation changes nothing.

A mixed row has two labels. Its loss is the cross-entropy against their shares; an accuracy needs one class,
and gets the dominant one. The model's own ``train_step`` calls both with one ``y``, the dominant label; while
a step is traced, :func:`mixed_losses` gives the losses the mixture instead.
"""

import contextlib
from collections.abc import Generator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras

from kilter._engine.stable_losses import OF_CLASSES, OF_LABELS, SPARSE, is_plain, losses_replaced
from kilter._engine.step import Batch, Logs, Step, with_parts
from kilter._models.keras_internals import LossFunctionWrapper
from kilter._models.optimizers import slot_index
from kilter._models.variables import State
from kilter.data.augmentation import Augmentation, Mixture, Transform
from kilter.errors import DataError, ModelError, OptionError


def of_classes(loss: Any) -> bool:
    """Whether ``loss`` is a cross-entropy, so that a mixed target has a dominant class."""
    return is_plain(loss) and loss.fn in (*OF_CLASSES, *OF_LABELS)


class MixedLoss(LossFunctionWrapper):
    """A cross-entropy against the mixture of ``labels``, whatever its target; ``used`` once it was called."""

    def __init__(self, loss: LossFunctionWrapper, labels: jax.Array, mixture: Mixture) -> None:
        self.sparse = loss.fn in SPARSE
        options = {name: value for name, value in loss._fn_kwargs.items() if name != "ignore_class"}
        fn = keras.losses.categorical_crossentropy if self.sparse else loss.fn
        super().__init__(fn, reduction=loss.reduction, name=loss.name, dtype=loss.dtype, **options)
        self.labels = labels
        self.mixture = mixture
        self.used: list[bool] = []

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of the outputs against the mixture; ``y_true`` is ignored."""
        self.used.append(True)
        labels = self.labels
        if self.sparse:
            labels = jax.nn.one_hot(labels.reshape(labels.shape[0]), y_pred.shape[-1], dtype=y_pred.dtype)
        mixed = self.mixture.blend(_floats(labels))
        return super().__call__(mixed, y_pred, sample_weight)

    def __copy__(self) -> "MixedLoss":
        """The same loss and mixture; Keras copies by saving and loading, which traced arrays do not allow."""
        twin = object.__new__(MixedLoss)
        twin.__dict__.update(self.__dict__)
        return twin


def mix_targets(model: keras.Model, y: jax.Array, mixture: Mixture) -> jax.Array:
    """The ``y`` for a step on mixed rows: dominant labels for a loss of classes, else mixed numbers."""
    return mixture.dominant(y) if of_classes(_loss(model)) else mixture.blend(_floats(y))


@contextlib.contextmanager
def mixed_losses(model: keras.Model, y: jax.Array, mixture: Mixture) -> Generator[None]:
    """While a step is traced within it, the model's loss of classes gets the mixture of the labels ``y``."""
    if not of_classes(_loss(model)):
        yield
        return
    mixed = MixedLoss(_loss(model), y, mixture)
    with losses_replaced(model, lambda _: mixed):
        yield
    if not mixed.used:
        raise ModelError(
            expected="a train_step that uses the compiled loss, for Mixup or Cutmix",
            received=f"model {model.name!r}, with its own train_step that computes another one",
            remedy="call self.compute_loss() in it, or mix rows there",
        )


def check_mixed_targets(model: keras.Model, y: Any) -> None:
    """Raise :class:`DataError` or :class:`ModelError` if the targets of a built model cannot be mixed."""
    leaves = jax.tree.leaves(y)
    compiled = getattr(model, "_compile_loss", None)
    if len(leaves) != 1 or compiled is None or len(compiled._flat_losses) != 1:
        losses = 0 if compiled is None else len(compiled._flat_losses)
        raise ModelError(
            expected="one target and one compiled loss, for Mixup or Cutmix",
            received=f"{len(leaves)} targets and {losses} losses",
            remedy="leave them out, or mix rows in your own train_step",
        )
    loss, (labels,) = _loss(model), leaves
    if getattr(loss, "fn", None) in SPARSE:
        _check_class_numbers(loss, labels)
    elif not of_classes(loss) and not jnp.issubdtype(labels.dtype, jnp.floating):
        raise DataError(
            expected="targets of floats, or a cross-entropy of Keras, for Mixup or Cutmix",
            received=f"y of {labels.dtype} and loss {getattr(loss, 'name', loss)!r}",
            remedy="pass quantities as float32; classes need a cross-entropy to be mixed",
        )


def _check_class_numbers(loss: Any, labels: jax.Array) -> None:
    if loss._fn_kwargs.get("ignore_class") is not None:
        raise ModelError(
            expected="a loss that ignores no class, for Mixup or Cutmix",
            received=f"ignore_class={loss._fn_kwargs['ignore_class']}",
            remedy="leave the rows of that class out",
        )
    if labels.ndim > 2 or (labels.ndim == 2 and labels.shape[1] != 1):
        raise DataError(
            expected="one class number a row, for Mixup or Cutmix",
            received=f"y of shape {labels.shape}",
            remedy="they cannot mix images with a label for each pixel",
        )


def _loss(model: keras.Model) -> Any:
    compiled: Any = model._compile_loss  # type: ignore[attr-defined]
    return compiled._flat_losses[0].loss


def _floats(labels: jax.Array) -> jax.Array:
    return labels if jnp.issubdtype(labels.dtype, jnp.floating) else labels.astype(jnp.float32)


Augment = Augmentation | Transform | Sequence[Transform]


def as_augmentation(augment: Augment | None) -> Augmentation | None:
    """``augment`` as an augmentation: one, a single transformation, a list of them, or None."""
    if augment is None or isinstance(augment, Augmentation):
        return augment
    if isinstance(augment, Transform):
        return Augmentation((augment,))
    if not isinstance(augment, Sequence) or isinstance(augment, str):
        raise OptionError(
            expected="augment as a kilter.data.augmentation.Augmentation, or a list of transforms",
            received=f"augment={augment!r}",
            remedy="for example augment=[Flip(), Shift(0.1)]",
        )
    return Augmentation(tuple(augment)) if augment else None


def check_augmentation(model: keras.Model, augmentation: Augmentation, example: tuple[Any, Any, Any]) -> None:
    """Raise a :class:`~kilter.errors.KilterError` if a batch cannot be augmented."""
    x, y, _ = example
    augmentation.check(x)
    if augmentation.mixes:
        check_mixed_targets(model, y)
    slot_index(model, "iterations")


def augmented(model: keras.Model, step: Step, augmentation: Augmentation) -> Step:
    """The training step on transformed batches; it takes a seed (uint32 array, shape ()) besides the batch.

    Targets and weights stay with their rows.
    """
    place = slot_index(model, "iterations")

    def augmented_step(state: State, batch: Batch, seed: jax.Array) -> tuple[State, Logs]:
        x, y, weight = batch
        key = jax.random.fold_in(jax.random.key(seed), state.optimizer[place])
        x, mixture = augmentation(key, x)
        if mixture is None:
            return step(state, with_parts(batch, x, y, weight))
        (labels,), structure = jax.tree.flatten(y)
        target = jax.tree.unflatten(structure, [mix_targets(model, labels, mixture)])
        with mixed_losses(model, labels, mixture):
            return step(state, with_parts(batch, x, target, weight))

    return augmented_step
