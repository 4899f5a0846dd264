"""The architectures of benchmarks/architectures.py: a compiled model, and the arguments of its fit."""

from __future__ import annotations

import kilter  # isort: skip  # noqa: F401  (before keras: it chooses the backend)
from collections.abc import Callable
from typing import Any, Final

import jax
import keras
import numpy as np
from keras import layers, ops

Trained = tuple[keras.Model, Any, Any]
ROWS: Final = 20  # with batches of eight the last one is partial


def _images(size: int, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, size, size, 3)).astype(keras.config.floatx())


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((ROWS, *shape)).astype(keras.config.floatx())


def _classes() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 5, ROWS)


def _classifier(model: keras.Model) -> keras.Model:
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _application(name: str, size: int = 32) -> Callable[[], Trained]:
    def make() -> Trained:
        build = getattr(keras.applications, name)
        return (
            _classifier(build(input_shape=(size, size, 3), weights=None, classes=5)),
            _images(size),
            _classes(),
        )

    return make


def _attended(flow: Any) -> Any:
    attention = layers.MultiHeadAttention(2, 8)
    if keras.config.floatx() == "float32":
        return attention(flow, flow)
    # JAX's own attention takes the softmax in float32; with the scores asked for, Keras computes it itself.
    return attention(flow, flow, return_attention_scores=True)[0]


def transformer() -> Trained:
    """Two encoder blocks, as in Keras Hub: attention with a mask, no dropout."""
    tokens = keras.Input((12,), dtype="int32")
    flow = layers.Embedding(50, 16, mask_zero=True)(tokens)
    for _ in range(2):
        flow = layers.LayerNormalization()(flow + _attended(flow))
        flow = layers.LayerNormalization()(flow + layers.Dense(16)(layers.Dense(32, "gelu")(flow)))
    outputs = layers.Dense(5, "softmax")(layers.GlobalAveragePooling1D()(flow))
    x = np.random.default_rng(0).integers(0, 50, (ROWS, 12)).astype("int32")
    return _classifier(keras.Model(tokens, outputs)), x, _classes()


def u_net() -> Trained:
    """Two levels with batch normalisation and skip connections."""

    def block(flow: Any, width: int) -> Any:
        flow = layers.Conv2D(width, 3, padding="same", use_bias=False)(flow)
        return layers.ReLU()(layers.BatchNormalization()(flow))

    images = keras.Input((16, 16, 3))
    first = block(images, 8)
    second = block(layers.MaxPooling2D()(first), 16)
    flow = block(layers.MaxPooling2D()(second), 16)
    for skip, width in ((second, 16), (first, 8)):
        flow = layers.Conv2DTranspose(width, 2, 2)(flow)
        flow = block(layers.Concatenate()([flow, skip]), width)
    model = keras.Model(images, layers.Conv2D(1, 1, activation="sigmoid")(flow))
    model.compile("adam", "binary_crossentropy")
    x = _images(16)
    return model, x, (x[..., :1] > 0).astype(x.dtype)


class VAE(keras.Model):
    """A variational autoencoder that draws from its own seed generator."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = layers.Dense(8), layers.Dense(6)
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x: Any, training: bool = False) -> Any:
        """The reconstruction; the divergence is an added loss."""
        mean, log_variance = ops.split(self.encoder(x), 2, axis=-1)
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds, dtype=mean.dtype)
        self.add_loss(0.1 * ops.mean(ops.square(mean) + ops.exp(log_variance) - log_variance))
        return self.decoder(mean + ops.exp(0.5 * log_variance) * noise)


def vae() -> Trained:
    """The above."""
    model = VAE()
    model.compile("adam", "mse")
    return model, _numbers(6), _numbers(6)


class GAN(keras.Model):
    """Two networks with an optimiser each; the second one's slots are weights of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.maker = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(6)])
        self.critic = keras.Sequential([keras.Input((6,)), layers.Dense(8, "tanh"), layers.Dense(1)])
        self.second = keras.optimizers.Adam(1e-3)
        self.second.build(self.maker.trainable_variables)
        self.slots = [
            self.add_weight(
                shape=one.shape, dtype=one.dtype, initializer="zeros", trainable=False, name=f"s{place}"
            )
            for place, one in enumerate(self.second.variables)
        ]
        self.noise = _numbers(4)

    def build(self, shape: Any) -> None:
        """Give the slots the second optimiser's values."""
        for slot, value in zip(self.slots, self.second.variables, strict=True):
            slot.assign(value)
        self.built = True

    def call(self, x: Any) -> Any:
        """The critic's judgement."""
        return self.critic(x)

    def train_step(self, state: Any, data: Any) -> Any:
        """One step of each."""
        weights, fixed, slots, metrics = state
        x = data
        noise = ops.convert_to_tensor(self.noise[: x.shape[0]])
        count = len(self.maker.trainable_variables)
        maker, critic = weights[:count], weights[count:]

        def judged(critic: Any, rows: Any) -> Any:
            return self.critic.stateless_call(critic, [], rows)[0]

        def critic_loss(critic: Any) -> Any:
            made = self.maker.stateless_call(maker, [], noise)[0]
            return ops.mean(ops.softplus(judged(critic, made))) + ops.mean(ops.softplus(-judged(critic, x)))

        loss, gradient = jax.value_and_grad(critic_loss)(critic)
        critic, slots = self.optimizer.stateless_apply(slots, gradient, critic)

        def maker_loss(maker: Any) -> Any:
            return ops.mean(ops.softplus(-judged(critic, self.maker.stateless_call(maker, [], noise)[0])))

        other, gradient = jax.value_and_grad(maker_loss)(maker)
        maker, fixed = self.second.stateless_apply(fixed, gradient, maker)
        return {"critic": loss, "maker": other}, ([*maker, *critic], list(fixed), slots, metrics)


def gan() -> Trained:
    """The above."""
    model = GAN()
    model.build((None, 6))
    optimizer = keras.optimizers.Adam(1e-3)
    model.compile(optimizer)
    optimizer.build(model.critic.trainable_variables)
    return model, _numbers(6), None


def siamese() -> Trained:
    """One encoder for two inputs, and a contrastive loss."""
    encoder = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(4)])
    one, other = keras.Input((6,)), keras.Input((6,))
    apart = layers.Lambda(lambda pair: ops.sum(ops.square(pair[0] - pair[1]), axis=-1, keepdims=True))
    model = keras.Model([one, other], apart([encoder(one), encoder(other)]))
    model.compile("adam", lambda y, far: y * far + (1 - y) * ops.square(ops.maximum(1 - far, 0)))
    x = _numbers(6)
    return model, [x, x[::-1].copy()], (_classes()[:, None] > 2).astype(x.dtype)


class Distiller(keras.Model):
    """A student that also follows a frozen teacher."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = (
            keras.Sequential([keras.Input((6,)), layers.Dense(width, "tanh"), layers.Dense(5)])
            for width in (4, 16)
        )
        self.teacher.trainable = False

    def call(self, x: Any, training: bool = False) -> Any:
        """The student's logits."""
        return self.student(x, training=training)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **named: Any) -> Any:
        """The mean of both losses."""
        apart = ops.mean(ops.square(self.teacher(x, training=False) - y_pred))
        return 0.5 * super().compute_loss(x, y, y_pred, *rest, **named) + 0.5 * apart


def distiller() -> Trained:
    """The above."""
    model = Distiller()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, _numbers(6), _classes()


def lora() -> Trained:
    """A fine-tune of two low-rank adapters."""
    model = keras.Sequential([keras.Input((6,)), layers.Dense(16, "tanh"), layers.Dense(5, "softmax")])
    for layer in model.layers:
        layer.enable_lora(2)
    return _classifier(model), _numbers(6), _classes()


def quantised() -> Trained:
    """Low-rank adapters on kernels of eight bits."""
    model, x, y = lora()
    model.quantize("int8")
    return _classifier(model), x, y


SMALL: Final[dict[str, Callable[[], Trained]]] = {
    one.__name__: one for one in (transformer, u_net, vae, gan, siamese, distiller, lora, quantised)
}
LARGE: Final[dict[str, Callable[[], Trained]]] = {
    name: _application(name) for name in ("MobileNetV2", "EfficientNetB0", "ResNet50", "ConvNeXtTiny")
}
