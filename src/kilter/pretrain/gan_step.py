"""One step of a generative adversarial network as a pure function: both networks' updates.

The generator makes a batch of fakes. The discriminator is updated on real rows and fakes, then the generator
through the new discriminator on the same fakes, so that its forward pass runs once per step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.arrays import Rows
from kilter._engine.step import Batch, Logs
from kilter._models.variables import State
from kilter._validation import one_of
from kilter.errors import DataError, ModelError, OptionError
from kilter.pretrain.targets import check_varied

USUAL_SMOOTHING = 0.1
LossName = Literal["hinge", "logistic"]
LOSSES: Final[tuple[LossName, ...]] = ("hinge", "logistic")


@dataclass(frozen=True)
class Objective:
    """The losses of both networks, given the discriminator's logits r of real rows and f of fakes.

    - "hinge" (Lim and Ye 2017, Geometric GAN): mean(max(0, 1 - r)) + mean(max(0, 1 + f)), and -mean(f) for
      the generator.
    - "logistic" (Goodfellow et al. 2014, the non-saturating form): the cross-entropy of "real" for r and
      "fake" for f; for the generator, of "real" for f. With ``label_smoothing`` s, real rows have the label
      1 - s and fakes keep 0 (one-sided, Salimans et al. 2016).
    """

    loss: LossName
    label_smoothing: float = 0.0

    def of_discriminator(self, real: jax.Array, fake: jax.Array) -> jax.Array:
        """The discriminator's loss, a scalar."""
        if self.loss == "hinge":
            return jax.nn.relu(1 - real).mean() + jax.nn.relu(1 + fake).mean()
        # -(1 - s) log σ(r) - s log(1 - σ(r)), in logits
        of_real = jax.nn.softplus(real) - (1 - self.label_smoothing) * real
        return of_real.mean() + jax.nn.softplus(fake).mean()

    def of_generator(self, fake: jax.Array) -> jax.Array:
        """The generator's loss, a scalar."""
        return -fake.mean() if self.loss == "hinge" else jax.nn.softplus(-fake).mean()


def checked_objective(loss: LossName, label_smoothing: float | None) -> Objective:
    """The objective; :class:`OptionError` for an unknown loss or a smoothing that does not fit it."""
    one_of("loss", loss, LOSSES)
    if label_smoothing is None:
        label_smoothing = USUAL_SMOOTHING if loss == "logistic" else 0.0
    smooth = isinstance(label_smoothing, int | float) and 0 <= label_smoothing < 0.5
    if not smooth or (label_smoothing and loss == "hinge"):
        raise OptionError(
            expected="label_smoothing from 0 to below 0.5, and 0 with the hinge loss, which has no labels",
            received=f"label_smoothing={label_smoothing!r} with loss={loss!r}",
            remedy="leave label_smoothing out",
        )
    return Objective(loss, float(label_smoothing))


def checked_data(rows: Rows, batch_size: int, *, ready: bool) -> np.ndarray:
    """The data as one host array. ``ready``: both networks are given, so that rows may have any shape."""
    data = rows.data[0]
    if not hasattr(data, "shape"):
        raise DataError(
            expected="x as one array", received=f"x of type {type(data).__name__}", remedy="pass one input"
        )
    if rows.count < batch_size:
        raise DataError(
            expected=f"at least one batch of {batch_size} rows",
            received=f"{rows.count} rows",
            remedy="pass a smaller batch_size, or more rows",
        )
    shape = data.shape[1:]
    if not ready and not (len(shape) == 1 or (len(shape) == 3 and min(shape[:2]) >= 8)):
        raise DataError(
            expected="x of shape (rows, features), or (rows, height, width, channels) from 8 pixels a side",
            received=f"x of shape {data.shape}",
            remedy="add a channel axis with x[..., None], or pass a generator and a discriminator",
        )
    host = np.asarray(data)
    check_varied(host)
    return host


def check_adversaries(
    generator: keras.Model, discriminator: keras.Model, shape: Sequence[int], latent: int | None
) -> None:
    """Raise :class:`ModelError` unless the models map noise to rows, and rows to one logit."""
    taken, given = generator.input_shape, generator.output_shape
    if not _is_shape(taken) or len(taken) != 2 or (latent is not None and taken[-1] != latent):
        raise ModelError(
            expected=f"a generator that takes ({latent or 'latent'},)",
            received=f"{generator.name!r}, which takes {_without_rows(taken)}",
            remedy="start it with keras.Input((latent,)), and leave latent out",
        )
    if given[1:] != tuple(shape):
        raise ModelError(
            expected=f"a generator that outputs rows of shape {tuple(shape)}, the shape of x",
            received=f"{generator.name!r}, which outputs {_without_rows(given)}",
            remedy="reshape its output, or x",
        )
    if discriminator.input_shape[1:] != tuple(shape) or discriminator.output_shape[1:] != (1,):
        raise ModelError(
            expected=f"a discriminator from rows of shape {tuple(shape)} to one logit, shape (1,)",
            received=f"{discriminator.name!r}, from {_without_rows(discriminator.input_shape)} to "
            f"{_without_rows(discriminator.output_shape)}",
            remedy="end it with keras.layers.Dense(1), without an activation",
        )
    last = discriminator.layers[-1]
    activation = keras.activations.serialize(getattr(last, "activation", None) or keras.activations.linear)
    if activation != "linear":
        raise ModelError(
            expected="a discriminator that ends in a logit",
            received=f"{last.name!r} with the activation {activation!r}",
            remedy="end it with keras.layers.Dense(1), without an activation",
        )
    for model in (generator, discriminator):
        if not model.trainable_variables:
            raise ModelError(
                expected="two models to train",
                received=f"{model.name!r} without trainable weights",
                remedy="set layer.trainable = True for its layers",
            )


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and all(side is None or isinstance(side, int) for side in shape)


def _without_rows(shape: Any) -> str:
    return str(tuple(shape[1:])) if _is_shape(shape) else str(shape)


# A step's logs, as means over the epoch so far.
LOGGED: Final = ("discriminator_loss", "generator_loss", "accuracy_on_real", "accuracy_on_fake", "spread")


class Adversaries(NamedTuple):
    """The states of both networks, the number of steps, and the sums of the epoch's logs.

    ``sums``: float32 [len(LOGGED) + 1]; the last element counts the steps.
    """

    generator: State
    discriminator: State
    step: jax.Array
    sums: jax.Array


def begin_epoch(generator: State, discriminator: State, step: jax.Array) -> Adversaries:
    """The state at the start of an epoch, after ``step`` steps (int32, shape ())."""
    return Adversaries(generator, discriminator, step, jnp.zeros(len(LOGGED) + 1, jnp.float32))


def adversarial_step(generator: keras.Model, discriminator: keras.Model, objective: Objective) -> Any:
    """The step ``(state, (x, None, None), seed) -> (state, logs)`` of two compiled models.

    ``seed`` (uint32, shape ()) and the step's number determine the noise. Logs are means over the epoch so
    far.
    """
    width = int(generator.input_shape[-1])

    def step(state: Adversaries, batch: Batch, seed: jax.Array) -> tuple[Adversaries, Logs]:
        made, judge = state.generator, state.discriminator
        real = jnp.asarray(batch[0], keras.config.floatx())
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        noise = jax.random.normal(key, (len(real), width), real.dtype)

        def generate(trainable: Any) -> Any:
            fake, rest, penalty = _call(generator, trainable, made.non_trainable, noise)
            return (fake, penalty), rest

        (fake, penalty), backward, made_rest = jax.vjp(generate, made.trainable, has_aux=True)

        def judge_both(trainable: Any) -> Any:
            rows = jnp.concatenate([real, fake.astype(real.dtype)])
            scores, rest, penalties = _call(discriminator, trainable, judge.non_trainable, rows)
            of_real, of_fake = jnp.split(scores, 2)
            return objective.of_discriminator(of_real, of_fake) + penalties, (rest, of_real, of_fake)

        (judge_loss, (judge_rest, of_real, of_fake)), gradients = jax.value_and_grad(
            judge_both, has_aux=True
        )(judge.trainable)
        judge = _updated(discriminator, judge, gradients, judge_rest)

        def fool(images: jax.Array) -> Any:
            scores, rest, _ = _call(discriminator, judge.trainable, judge.non_trainable, images)
            return objective.of_generator(scores), rest

        (loss, judge_rest), by_fake = jax.value_and_grad(fool, has_aux=True)(fake)
        (gradients,) = backward((by_fake, jnp.ones_like(penalty)))
        made = _updated(generator, made, gradients, made_rest)
        seen = (
            judge_loss,
            loss + penalty,
            (of_real > 0).mean(),
            (of_fake < 0).mean(),
            fake.var(axis=0).sum() / jnp.maximum(real.var(axis=0).sum(), jnp.finfo(real.dtype).tiny),
            jnp.ones(()),
        )
        sums = state.sums + jnp.stack([value.astype(jnp.float32) for value in seen])
        judge = judge._replace(non_trainable=judge_rest)
        means = sums[:-1] / sums[-1]
        return Adversaries(made, judge, state.step + 1, sums), dict(zip(LOGGED, means, strict=True))

    return step


def _call(model: keras.Model, trainable: Any, non_trainable: Any, x: jax.Array) -> tuple[Any, Any, jax.Array]:
    """Outputs in training mode, the updated other variables, and the sum of the model's penalties."""
    called: Any = model.stateless_call(trainable, non_trainable, x, training=True, return_losses=True)
    outputs, rest, penalties = called
    return outputs, rest, jnp.asarray(sum(penalties, start=jnp.zeros(())), jnp.float32)


def _updated(model: keras.Model, state: State, gradients: Any, rest: Any) -> State:
    trainable, optimizer = model.optimizer.stateless_apply(state.optimizer, gradients, state.trainable)
    return State(trainable, rest, optimizer, state.metrics)
