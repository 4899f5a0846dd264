"""Odd programs with training steps of their own."""

from typing import Any

import jax
import jax.numpy as jnp
import keras

from .odd_base import X, Y, layers, loss_of, ops, program, small


class Gan(keras.Model):
    """Two networks with an optimiser each, of which one has its slots among the weights; trackers, a seed."""

    def __init__(self) -> None:
        super().__init__()
        self.maker = keras.Sequential([keras.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(3)])
        self.critic = keras.Sequential([keras.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(1)])
        self.maker_loss, self.critic_loss = keras.metrics.Mean("maker"), keras.metrics.Mean("critic")
        self.seeds = keras.random.SeedGenerator(3)
        self.second = keras.optimizers.SGD(0.01, momentum=0.9)
        self.second.build(self.maker.trainable_variables)
        self.slots = [
            self.add_weight(shape=one.shape, dtype=one.dtype, initializer="zeros", trainable=False)
            for one in self.second.variables
        ]

    @property
    def metrics(self) -> Any:
        return [self.maker_loss, self.critic_loss]

    def call(self, x: Any) -> Any:
        return self.critic(x)

    def train_step(self, state: Any, data: Any) -> Any:
        weights, fixed, slots, metrics = state
        x, count = data, len(self.maker.trainable_variables)
        maker, critic = weights[:count], weights[count:]
        with keras.StatelessScope(list(zip(self.non_trainable_variables, fixed, strict=True))) as scope:
            noise = keras.random.normal(x.shape, seed=self.seeds)
        fixed = [scope.get_current_value(one) for one in self.non_trainable_variables]
        slots_of_maker = set(map(id, self.slots))
        places = [
            place for place, one in enumerate(self.non_trainable_variables) if id(one) in slots_of_maker
        ]

        def judged(critic: Any, rows: Any) -> Any:
            return self.critic.stateless_call(critic, [], rows)[0]

        def of_critic(critic: Any) -> Any:
            made = self.maker.stateless_call(maker, [], noise)[0]
            return ops.mean(ops.softplus(judged(critic, made)) + ops.softplus(-judged(critic, x)))

        loss, gradient = jax.value_and_grad(of_critic)(critic)
        critic, slots = self.optimizer.stateless_apply(slots, gradient, critic)

        def of_maker(maker: Any) -> Any:
            return ops.mean(ops.softplus(-judged(critic, self.maker.stateless_call(maker, [], noise)[0])))

        other, gradient = jax.value_and_grad(of_maker)(maker)
        held = [fixed[place] for place in places]
        maker, held = self.second.stateless_apply(held, gradient, maker)
        for place, value in zip(places, held, strict=True):
            fixed[place] = value
        with keras.StatelessScope(list(zip(self.metrics_variables, metrics, strict=True))) as scope:
            self.critic_loss.update_state(loss)
            self.maker_loss.update_state(other)
            logs = {one.name: one.result() for one in self.metrics}
        metrics = [scope.get_current_value(one) for one in self.metrics_variables]
        return logs, ([*maker, *critic], fixed, slots, metrics)


@program
def gan(way: Any) -> Any:
    model = Gan()
    model.compile(keras.optimizers.Adam(0.01))
    model.build((None, 3))
    model.optimizer.build(model.critic.trainable_variables)
    return way.fit(model, X), model.get_weights()


class Distiller(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = small(), small()
        self.teacher.trainable = False

    def call(self, x: Any, training: bool = False) -> Any:
        return self.student(x, training=training)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **named: Any) -> Any:
        apart = ops.mean(ops.square(self.teacher(x, training=False) - y_pred))
        return super().compute_loss(x, y, y_pred, *rest, **named) + apart


@program
def distiller(way: Any) -> Any:
    model = Distiller()
    model.compile("adam", "mse", metrics=["mae"])
    return way.fit(model, X, Y, validation_data=(X, Y)), way.evaluate(model, X, Y), model.get_weights()


class TwoPasses(keras.Model):
    """The step passes twice through the model, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.second = layers.Dense(4), layers.Dropout(0.3, seed=1), layers.Dense(2)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.second(self.drop(self.first(x), training=training))

    def train_step(self, state: Any, data: Any) -> Any:
        _, (_, fixed, _, _) = loss_of(self, state, data)
        weights, _, slots, metrics = state
        return loss_of(self, (weights, fixed, slots, metrics), (data[0] * 1.1, data[1]))


@program
def two_passes(way: Any) -> Any:
    model = TwoPasses()
    model.compile("adam", "mse")
    return way.fit(model, X, Y), model.get_weights()


class Sharpness(keras.Model):
    """Sharpness-aware minimisation: two gradients by Keras's own function."""

    def train_step(self, state: Any, data: Any) -> Any:
        weights, fixed, slots, metrics = state
        both = jax.value_and_grad(self.compute_loss_and_updates, has_aux=True)
        given = (fixed, metrics, *data, None)
        how = {"training": True, "optimizer_variables": slots}
        _, gradient = both(weights, *given, **how)
        norm = jnp.sqrt(sum(jnp.sum(one * one) for one in gradient)) + 1e-12
        up = [weight + 0.05 * one / norm for weight, one in zip(weights, gradient, strict=True)]
        (_, (loss, outputs, fixed, metrics)), gradient = both(up, *given, **how)
        weights, slots = self.optimizer.stateless_apply(slots, gradient, weights)
        logs, metrics = self._update_metrics_variables(metrics, loss, *data, outputs, None)
        return logs, (weights, fixed, slots, metrics)


@program
def sharpness(way: Any) -> Any:
    model = small(Sharpness)
    model.compile("sgd", "mse", metrics=["mae"])
    return way.fit(model, X, Y), model.get_weights()


@program
def no_optimizer(way: Any) -> Any:
    class Plain(keras.Model):
        def train_step(self, state: Any, data: Any) -> Any:
            weights, fixed, slots, metrics = state
            x, y = data
            value, gradient = jax.value_and_grad(
                lambda weights: ops.mean(ops.square(self.stateless_call(weights, fixed, x)[0] - y))
            )(weights)
            moved = [weight - 0.1 * one for weight, one in zip(weights, gradient, strict=True)]
            return {"loss": value}, (moved, fixed, slots, metrics)

    model = small(Plain)
    model.compile(optimizer="sgd")
    return way.fit(model, X, Y), model.get_weights()


@program
def compile_of_its_own(way: Any) -> Any:
    class Scaled(keras.Model):
        def compile(self, *given: Any, alpha: float = 1.0, **named: Any) -> None:
            super().compile(*given, **named)
            self.alpha = alpha

        def train_step(self, state: Any, data: Any) -> Any:
            return loss_of(self, state, data, self.alpha)

    model, optimizer = small(Scaled), keras.optimizers.Adam()
    model.compile(optimizer, "mse", alpha=1.0)
    first = way.fit(model, X, Y)
    model.compile(optimizer, "mae", alpha=3.0)
    return first, way.fit(model, X, Y), way.evaluate(model, X, Y), model.get_weights()
