"""The usual generative adversarial network of Keras on JAX: a model with a ``train_step`` of its own.

As in Keras's guide to custom training steps: each network is updated on noise of its own, metrics are means,
``fit`` calls one compiled step a batch.
"""

from __future__ import annotations

from typing import Any

import keras
from jax import nn, value_and_grad
from jax import numpy as jnp


class TwoOptimizers(keras.optimizers.Optimizer):
    """Holds the variables of both optimisers, so that Keras's loop carries them."""

    def __init__(self, generator: keras.optimizers.Optimizer, discriminator: keras.optimizers.Optimizer):
        super().__init__(learning_rate=0.0)
        self.parts = (generator, discriminator)

    @property
    def variables(self) -> list[Any]:
        """Those of the generator's optimiser, then of the discriminator's."""
        return [variable for part in self.parts for variable in part.variables]

    def build(self, variables: list[Any]) -> None:
        """Both are built with their networks."""
        self.built = True


class UsualGan(keras.Model):
    """Both networks, trained by ``fit(x)`` with the hinge loss."""

    def __init__(self, generator: keras.Model, discriminator: keras.Model):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.seeds = keras.random.SeedGenerator(0)
        self.trackers = [keras.metrics.Mean(name=name) for name in ("generator_loss", "discriminator_loss")]
        self.built = True

    def call(self, noise: Any) -> Any:
        """What the generator makes of the noise."""
        return self.generator(noise)

    def train_step(self, state: Any, data: Any) -> Any:
        """One update of each network."""
        trainable, others, optimizer, metrics = state
        real = keras.utils.unpack_x_y_sample_weight(data)[0]
        makes, judges = _parted(trainable, len(self.generator.trainable_variables))
        seed, others = _parted(others, 1)  # the model's own variables come before its layers'
        makes_rest, judges_rest = _parted(others, len(self.generator.non_trainable_variables))
        first, second = self.optimizer.parts
        makes_slots, judges_slots = _parted(optimizer, len(first.variables))
        shape = (len(real), self.generator.input_shape[-1])
        with keras.StatelessScope(state_mapping=[(self.seeds.state, seed[0])]) as scope:
            noise = [keras.random.normal(shape, seed=self.seeds) for _ in range(2)]
        seed = [scope.get_current_value(self.seeds.state)]

        fake, makes_rest = self.generator.stateless_call(makes, makes_rest, noise[0], training=True)

        def judge(variables: Any) -> Any:
            rows = jnp.concatenate([real, fake])
            scores, rest = self.discriminator.stateless_call(variables, judges_rest, rows, training=True)
            of_real, of_fake = jnp.split(scores, 2)
            return nn.relu(1 - of_real).mean() + nn.relu(1 + of_fake).mean(), rest

        (judge_loss, judges_rest), gradients = value_and_grad(judge, has_aux=True)(judges)
        judges, judges_slots = second.stateless_apply(judges_slots, gradients, judges)

        def fool(variables: Any) -> Any:
            made, rest = self.generator.stateless_call(variables, makes_rest, noise[1], training=True)
            scores, seen = self.discriminator.stateless_call(judges, judges_rest, made, training=True)
            return -scores.mean(), (rest, seen)

        (loss, (makes_rest, judges_rest)), gradients = value_and_grad(fool, has_aux=True)(makes)
        makes, makes_slots = first.stateless_apply(makes_slots, gradients, makes)

        logs, kept = {}, []
        for tracker, value in zip(self.trackers, (loss, judge_loss), strict=True):
            held, metrics = _parted(metrics, len(tracker.variables))
            held = tracker.stateless_update_state(held, value)
            logs[tracker.name] = tracker.stateless_result(held)
            kept += held
        kept += metrics
        return logs, (makes + judges, seed + makes_rest + judges_rest, makes_slots + judges_slots, kept)


def _parted(values: Any, count: int) -> tuple[list[Any], list[Any]]:
    values = list(values)
    return values[:count], values[count:]
