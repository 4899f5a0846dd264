"""Odd programs that override anything but the whole training step."""

from typing import Any

import keras
import numpy as np

from .odd_base import CLASSES, X, Y, layers, ops, program, small


@program
def step_of_the_instance(way: Any) -> Any:
    model = small()
    model.compile("adam", "mse")
    stock = model.train_step

    def step(state: Any, data: Any) -> Any:
        logs, state = stock(state, (data[0], data[1] * 2))
        return {**logs, "largest": ops.max(data[0]), "both": ops.stack([logs["loss"], 1.0])}, state

    model.train_step = step
    return way.fit(model, X, Y), model.get_weights()


@program
def loss_and_call_of_the_instance(way: Any) -> Any:
    model = small()
    model.compile("adam", "mse")
    call, layer_call = model.call, model.layers[1].call
    model.call = lambda x, training=None, mask=None: call(x) * 2.0
    model.layers[1].call = lambda x, **named: layer_call(x, **named) * 3.0
    model.compute_loss = lambda x=None, y=None, y_pred=None, *_, **__: ops.mean(ops.abs(y - y_pred))
    return way.fit(model, X, Y), way.evaluate(model, X, Y), way.predict(model, X), model.get_weights()


@program
def evaluation_that_returns_other_weights(way: Any) -> Any:
    class Halving(keras.Model):
        def test_step(self, state: Any, data: Any) -> Any:
            logs, (weights, fixed, metrics) = super().test_step(state, data)
            return logs, ([weight * 0.5 for weight in weights], fixed, metrics)

    model = small(Halving)
    model.compile("adam", "mse")
    return way.evaluate(model, X, Y), model.get_weights()


@program
def predictions_of_another_shape(way: Any) -> Any:
    class Means(keras.Model):
        def predict_step(self, state: Any, data: Any) -> Any:
            outputs, fixed = super().predict_step(state, data)
            mean = ops.mean(outputs, axis=0, keepdims=True)
            return {"mean": mean, "both": [outputs, ops.argmax(outputs, axis=-1)]}, fixed

    model = small(Means)
    model.compile("adam", "mse")
    return way.predict(model, X)


@program
def renamed_results_and_a_tracker(way: Any) -> Any:
    class Renamed(keras.Model):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.largest = keras.metrics.Mean(name="largest")

        def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            self.largest.update_state(ops.max(y_pred))
            return super().compute_metrics(x, y, y_pred, sample_weight)

        def get_metrics_result(self) -> Any:
            return {f"my_{name}": value for name, value in super().get_metrics_result().items()}

    model = small(Renamed)
    model.compile("adam", "mse", metrics=["mae"])
    return way.fit(model, X, Y, validation_data=(X, Y)), way.evaluate(model, X, Y)


@program
def added_losses(way: Any) -> Any:
    class Penalty(layers.Layer):
        def call(self, x: Any) -> Any:
            self.add_loss(0.01 * ops.sum(ops.square(x)))
            return x

    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(3)(Penalty()(layers.Dense(4)(inputs))))
    model.compile("adam")
    return way.fit(model, X), way.evaluate(model, X), model.get_weights()


@program
def state_in_call(way: Any) -> Any:
    class Average(layers.Layer):
        def build(self, shape: Any) -> None:
            self.mean = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False)
            self.passes = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, x: Any, training: bool = False) -> Any:
            self.passes.assign(self.passes + 1)
            if training:
                self.mean.assign(0.9 * self.mean + 0.1 * ops.mean(x, axis=0))
            return x - self.mean + 0.01 * self.passes

    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(2)(Average()(inputs)))
    model.compile("adam", "mse")
    trained = way.fit(model, X, Y)
    return trained, way.predict(model, X), way.evaluate(model, X, Y), model.get_weights()


@program
def a_weight_that_a_callback_warms_up(way: Any) -> Any:
    class Weighted(keras.Model):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.beta = keras.Variable(0.0, trainable=False, name="beta")

        def compute_loss(
            self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **named: Any
        ) -> Any:
            return ops.mean(ops.square(y - y_pred)) + self.beta * ops.mean(ops.square(y_pred))

    class WarmUp(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.beta.assign(0.5 * (epoch + 1))

    model = small(Weighted)
    model.compile("adam", "mse")
    return way.fit(model, X, Y, callbacks=[WarmUp()]), model.get_weights()


@program
def frozen_and_free_again(way: Any) -> Any:
    model, histories = small(), []
    for free in (True, False, True):
        model.layers[1].trainable = free
        model.compile("sgd", "mse")
        histories.append(way.fit(model, X, Y))
    return histories, model.get_weights()


@program
def inputs_and_outputs_by_name(way: Any) -> Any:
    one, other = keras.Input((3,), name="one"), keras.Input((3,), name="other")
    both = layers.Concatenate()([one, other])
    model = keras.Model(
        {"one": one, "other": other},
        {"p": layers.Dense(2, name="p")(one), "q": layers.Dense(1, name="q")(both)},
    )
    model.compile("adam", {"p": "mse", "q": "mae"}, loss_weights={"p": 1.0, "q": 0.3}, metrics={"p": ["mae"]})
    x, y = {"one": X, "other": X * 2}, {"p": Y, "q": Y[:, :1]}
    trained = way.fit(model, x, y, validation_data=(x, y))
    return trained, way.evaluate(model, x, y), way.predict(model, x), model.get_weights()


@program
def an_output_without_loss(way: Any) -> Any:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(1)(inputs)])
    model.compile("adam", ["mse", None])
    return way.fit(model, X, [Y, Y[:, :1]]), model.get_weights()


@program
def accumulation_averages_and_clipping(way: Any) -> Any:
    model = small()
    options = {"gradient_accumulation_steps": 3, "use_ema": True, "ema_momentum": 0.9, "global_clipnorm": 0.5}
    model.compile(keras.optimizers.Adam(0.01, **options), "mse", steps_per_execution=2)
    return way.fit(model, X, Y, epochs=3), model.get_weights()


@program
def an_optimizer_of_its_own(way: Any) -> Any:
    class Sign(keras.optimizers.Optimizer):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * ops.sign(gradient))

    model = small()
    model.compile(Sign(0.01), "mse")
    first = way.fit(model, X, Y)
    model.optimizer.learning_rate = 0.001
    return first, way.fit(model, X, Y), model.get_weights()


@program
def a_metric_with_several_results(way: Any) -> Any:
    class Range(keras.metrics.Metric):
        def __init__(self) -> None:
            super().__init__(name="range")
            self.high = self.add_weight(shape=(), initializer="zeros")

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            self.high.assign(ops.maximum(self.high, ops.max(y_pred)))

        def result(self) -> Any:
            return {"high": self.high + 0, "twice": self.high * 2}

    model = small()
    model.compile("adam", "mse", metrics=[Range()])
    return way.fit(model, X, Y, validation_data=(X, Y)), way.evaluate(model, X, Y)


@program
def a_siamese_network(way: Any) -> Any:
    encoder, one, other = small(), keras.Input((3,)), keras.Input((3,))
    apart = layers.Lambda(lambda pair: ops.sum(ops.square(pair[0] - pair[1]), axis=-1, keepdims=True))
    model = keras.Model([one, other], apart([encoder(one), encoder(other)]))
    model.compile("adam", lambda y, far: y * far + (1 - y) * ops.square(ops.maximum(1 - far, 0)))
    return way.fit(model, [X, X[::-1].copy()], CLASSES[:, None].astype("float32")), model.get_weights()


@program
def class_weights_and_weighted_metrics(way: Any) -> Any:
    model = small(last="softmax")
    model.compile(
        "adam", "sparse_categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy"]
    )
    return way.fit(model, X, CLASSES, class_weight={0: 1.0, 1: 3.0}), model.get_weights()


@program
def float32_after_half_precision(way: Any) -> Any:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = keras.Input((3,))
        logits = layers.Dense(2)(layers.Dense(4, "relu")(inputs))
        model = keras.Model(inputs, layers.Activation("softmax", dtype="float32")(logits))
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return way.fit(model, X, CLASSES), way.evaluate(model, X, CLASSES)
    finally:
        keras.config.set_dtype_policy(before)


@program
def adapters_of_low_rank(way: Any) -> Any:
    model = small()
    for layer in model.layers[1:]:
        layer.enable_lora(2)
    model.compile("adam", "mse")
    return way.fit(model, X, Y), way.predict(model, X), model.get_weights()


@program
def eight_bits(way: Any) -> Any:
    model = small()
    model.quantize("int8")
    return way.predict(model, X)


@program
def a_stateful_recurrent_layer(way: Any) -> Any:
    inputs = keras.Input((2, 3), batch_size=8)
    model = keras.Model(inputs, layers.Dense(1)(layers.GRU(3, stateful=True)(inputs)))
    model.compile("adam", "mse")
    x = np.stack([X, X * 0.5], axis=1)
    return way.fit(model, x, Y[:, :1]), way.predict(model, x), model.get_weights()
