"""Odd programs after the examples and guides of Keras, made small."""

from typing import Any

import jax
import keras
import numpy as np

from .odd_base import CLASSES, X, Y, layers, ops, program, small

TOKENS = np.random.default_rng(1).integers(1, 9, size=(16, 5))


class Diffusion(keras.Model):
    """Denoising, with a second network that follows the first slowly, and a seed of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.normalizer = layers.Normalization()
        self.normalizer.adapt(X)
        self.network, self.slow = (keras.Sequential([keras.Input((4,)), layers.Dense(3)]) for _ in range(2))
        self.slow.set_weights(self.network.get_weights())
        self.seeds, self.noise_loss = keras.random.SeedGenerator(5), keras.metrics.Mean("noise_loss")
        self.built = True

    @property
    def metrics(self) -> Any:
        return [self.noise_loss]

    def call(self, x: Any) -> Any:
        return self.slow(x)

    def train_step(self, state: Any, data: Any) -> Any:
        weights, fixed, slots, metrics = state
        with keras.StatelessScope(list(zip(self.non_trainable_variables, fixed, strict=True))) as scope:
            x = self.normalizer(data)
            noise = keras.random.normal(ops.shape(x), seed=self.seeds)
            time = keras.random.uniform((ops.shape(x)[0], 1), seed=self.seeds)
        fixed = [scope.get_current_value(one) for one in self.non_trainable_variables]
        count = len(self.network.trainable_variables)

        def loss(weights: Any) -> Any:
            noisy = ops.concatenate([ops.cos(time) * x + ops.sin(time) * noise, time], axis=1)
            return ops.mean(ops.abs(self.network.stateless_call(weights[:count], [], noisy)[0] - noise))

        value, gradient = jax.value_and_grad(loss)(weights)
        weights, slots = self.optimizer.stateless_apply(slots, gradient, weights)
        pairs = zip(weights[:count], weights[count:], strict=True)
        weights = [*weights[:count], *(0.9 * slow + 0.1 * fast for fast, slow in pairs)]
        with keras.StatelessScope(list(zip(self.metrics_variables, metrics, strict=True))) as scope:
            self.noise_loss.update_state(value)
            logs = {"noise_loss": self.noise_loss.result()}
        metrics = [scope.get_current_value(one) for one in self.metrics_variables]
        return logs, (weights, fixed, slots, metrics)


@program
def diffusion(way: Any) -> Any:
    model = Diffusion()
    model.compile(keras.optimizers.AdamW(0.01))
    return way.fit(model, X), model.get_weights()


class Contrastive(keras.Model):
    """Two views of a batch by random layers, and a probe whose accuracy is tracked in the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.views = keras.Sequential([keras.Input((3,)), layers.GaussianNoise(0.1), layers.Dropout(0.1)])
        self.encoder, self.probe = keras.Sequential([keras.Input((3,)), layers.Dense(4)]), layers.Dense(2)
        self.accuracy = keras.metrics.SparseCategoricalAccuracy("probed")

    def call(self, x: Any, training: bool = False) -> Any:
        return self.probe(self.encoder(x))

    def compute_loss(self, x: Any = None, y: Any = None, *_: Any, **__: Any) -> Any:
        one, other = (ops.normalize(self.encoder(self.views(x, training=True))) for _ in range(2))
        alike = ops.matmul(one, ops.transpose(other)) / 0.5
        outputs = self.probe(ops.stop_gradient(self.encoder(x)))
        self.accuracy.update_state(y, outputs)
        entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return entropy(ops.arange(ops.shape(x)[0]), alike) + entropy(y, outputs)


@program
def contrastive(way: Any) -> Any:
    model = Contrastive()
    model.compile("adam")
    return way.fit(model, X, CLASSES), way.evaluate(model, X, CLASSES), model.get_weights()


@program
def masked_language_model(way: Any) -> Any:
    tokens = TOKENS.copy()
    tokens[:, 4:] = 0
    inputs = keras.Input((5,), dtype="int32")
    flow = layers.Embedding(9, 4, mask_zero=True)(inputs)
    flow = layers.LayerNormalization()(flow + layers.MultiHeadAttention(2, 2)(flow, flow))
    model = keras.Model(inputs, layers.Dense(9, "softmax")(flow))
    entropy = keras.losses.SparseCategoricalCrossentropy(ignore_class=0)
    model.compile("adam", entropy, weighted_metrics=["sparse_categorical_accuracy"])
    shown = (np.random.default_rng(2).random((16, 5)) < 0.5).astype("float32")
    trained = way.fit(model, tokens, tokens, sample_weight=shown)
    return trained, way.predict(model, tokens), model.get_weights()


@program
def tied_embeddings(way: Any) -> Any:
    inputs, embedding = keras.Input((5,), dtype="int32"), layers.ReversibleEmbedding(9, 4)
    hidden = layers.SimpleRNN(4, return_sequences=True)(embedding(inputs))
    model = keras.Model(inputs, embedding(hidden, reverse=True))
    model.compile("nadam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return way.fit(model, TOKENS, np.roll(TOKENS, -1, axis=1)), model.get_weights()


class Penalised(keras.Model):
    """A penalty on the gradient by the inputs: a gradient of a gradient."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **__: Any) -> Any:
        slope = jax.grad(lambda rows: ops.sum(self(rows)))(x)
        steep = ops.sqrt(ops.sum(ops.square(slope), axis=1) + 1e-8)
        return ops.mean(ops.square(y - y_pred)) + ops.mean(ops.square(steep - 1))


@program
def penalised_gradient(way: Any) -> Any:
    model = small(Penalised)
    model.compile("rmsprop")
    return way.fit(model, X, Y), model.get_weights()


@program
def dataset_that_changes_between_epochs(way: Any) -> Any:
    class Changing(keras.utils.PyDataset):
        def __init__(self, batches: int, by: int) -> None:
            super().__init__()
            self.batches, self.by, self.order = batches, by, np.arange(16)

        def __len__(self) -> int:
            return self.batches

        def __getitem__(self, index: int) -> Any:
            rows = self.order[index * 4 : index * 4 + 4]
            return X[rows], Y[rows]

        def on_epoch_begin(self) -> None:
            self.order = np.roll(self.order, 3)

        def on_epoch_end(self) -> None:
            self.batches += self.by
            self.order = self.order[::-1].copy()

    model = small()
    model.compile("adam", "mse")
    histories = [
        way.fit(model, Changing(*how), validation_data=Changing(1, 1), batch_size=None)
        for how in ((2, 1), (4, -1))
    ]
    return (
        histories,
        way.predict(model, Changing(4, 0)),
        way.evaluate(model, Changing(2, 1)),
        model.get_weights(),
    )
