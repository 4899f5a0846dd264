"""``kilter.pretrain.gan``: a generator and a discriminator trained against each other."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax.numpy as jnp
import keras
import numpy as np

from kilter._array_types import Arrays, Samples
from kilter._engine.arrays import collect
from kilter._engine.epochs import epochs_told
from kilter._engine.feed import Order, ResidentFeed
from kilter._engine.history import History
from kilter._engine.inference import predict
from kilter._engine.interrupt import Interrupt
from kilter._engine.loop import Chunk, Runner
from kilter._engine.program_cache import shelf
from kilter._models.copying import copy_model
from kilter._models.variables import pull, push
from kilter._progress import Verbose
from kilter._records import Figure, drawn
from kilter._validation import whole_number
from kilter.errors import ModelError, OptionError
from kilter.pretrain.gan_networks import Diversity, make_discriminator, make_generator, measure_diversity
from kilter.pretrain.gan_step import (
    LossName,
    Objective,
    adversarial_step,
    begin_epoch,
    check_adversaries,
    checked_data,
    checked_objective,
)
from kilter.pretrain.running import Pretrained

# Samples with less than this share of the data's modes, or of its spread, have collapsed.
LEAST_MODES: Final = 0.5
LEAST_SPREAD: Final = 0.3
# Above this accuracy on rows and fakes the discriminator has won, and its gradient vanishes.
MOST_ACCURACY: Final = 0.98
# A discriminator that was never this far above chance has learnt nothing.
LEAST_ADVANTAGE: Final = 0.05

_GRID = 8


@dataclass(frozen=True, eq=False)
class Gan(Pretrained):
    """What :func:`kilter.pretrain.gan` trained.

    ``encoder`` is a copy of the discriminator's layers below its last one with weights; ``decoder`` is None.
    ``history`` has epoch means: ``discriminator_loss``, ``generator_loss``, the discriminator's
    ``accuracy_on_real`` and ``accuracy_on_fake`` before each update (near 0.5 if it cannot tell them apart),
    and ``spread`` (the summed variance of a batch of fakes over that of the rows). ``figures`` has the last
    epoch's accuracies and, from as many samples as rows at the end, ``spread``, ``modes`` and ``data_modes``,
    the effective number of the data's 20 k-means clusters that samples and rows fall into.
    """

    generator: keras.Model
    discriminator: keras.Model

    def sample(self, count: int, *, seed: int = 0) -> Samples:
        """``count`` new rows in the data's range, generated in inference mode."""
        return draw_samples(self.generator, count, seed=seed)

    def plot(self) -> Figure:
        """64 samples as images, from the darkest to the brightest of all their pixels.

        If samples are not images of one or three channels, the history.
        """
        samples = self.sample(_GRID * _GRID)
        if samples.ndim != 4 or samples.shape[-1] not in (1, 3):
            return self.history.plot()
        return drawn("image_grid", samples, f"samples after {len(self.history.epoch)} epochs")


def gan_record(
    encoder: keras.Model,
    generator: keras.Model,
    discriminator: keras.Model,
    history: History,
    diversity: Diversity,
) -> Gan:
    """The record with its figures and notes."""
    last = {name: values[-1] for name, values in history.history.items()}
    balance = {name: last[name] for name in ("accuracy_on_real", "accuracy_on_fake")}
    variety = {"spread": diversity.spread, "modes": diversity.modes, "data_modes": diversity.data_modes}
    both = zip(history.history["accuracy_on_real"], history.history["accuracy_on_fake"], strict=True)
    learnt = max((real + fake) / 2 for real, fake in both) > 0.5 + LEAST_ADVANTAGE
    return Gan(
        task="gan",
        encoder=encoder,
        decoder=None,
        history=history,
        figures=balance | variety,
        notes=_notes(balance["accuracy_on_real"], balance["accuracy_on_fake"], diversity, learnt),
        learnt=learnt,
        generator=generator,
        discriminator=discriminator,
    )


def draw_samples(generator: keras.Model, count: int, *, seed: int) -> np.ndarray:
    """The generator's output for ``count`` rows of normal noise, in inference mode."""
    noise = np.random.default_rng(seed).standard_normal((count, int(generator.input_shape[-1])))
    return predict(generator, noise.astype("float32"), verbose=0)


def _notes(on_real: float, on_fake: float, diversity: Diversity, learnt: bool) -> tuple[str, ...]:
    said = []
    if diversity.share < LEAST_MODES or diversity.spread < LEAST_SPREAD:
        said.append(
            f"The generator has collapsed: its samples cover {diversity.modes:.1f} modes, the data "
            f"{diversity.data_modes:.1f}; their variance is {diversity.spread:.0%} of the data's. Train "
            "longer, lower both rates, or use the other loss."
        )
    if min(on_real, on_fake) > MOST_ACCURACY:
        said.append(
            f"The discriminator has won: it classifies {on_real:.1%} of the rows and {on_fake:.1%} of the "
            "fakes correctly, so the generator learns little. Lower its rate, or raise the generator's."
        )
    if not learnt:
        said.append(
            "The discriminator was never better than chance: its layers have learnt nothing. Raise its rate, "
            "or train longer."
        )
    return tuple(said)


_LATENT = 64
_SAMPLES = 1_000
# Two rates (Heusel et al. 2017). Of those tried on 2,000 Fashion-MNIST images, these gave the most diverse
# fakes after 8 epochs: 13 modes, against 7 for equal rates of 2e-4 and 16.7 for the images.
_GENERATOR_RATE = 1e-3
_DISCRIMINATOR_RATE = 2e-4
# Momentum makes the networks oscillate (Radford et al. 2016).
_BETA_1 = 0.5


def gan(
    x: Arrays,
    *,
    generator: keras.Model | None = None,
    discriminator: keras.Model | None = None,
    latent: int | None = None,
    loss: LossName = "logistic",
    label_smoothing: float | None = None,
    generator_optimizer: keras.optimizers.Optimizer | float = _GENERATOR_RATE,
    discriminator_optimizer: keras.optimizers.Optimizer | float = _DISCRIMINATOR_RATE,
    epochs: int = 20,
    batch_size: int = 64,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Verbose = "auto",
) -> Gan:
    """Train a generative adversarial network (Goodfellow et al. 2014) on rows without labels.

    Each step updates the discriminator on a batch of rows and as many fakes, then the generator on the same
    fakes; many steps run in one compiled call. Given models are copied.

    Args:
        x: images (rows, height, width, channels) of at least 8×8, or tables (rows, features), of any numeric
            type; at least ``batch_size`` rows. Epochs leave out a partial batch.
        generator: a Sequential or Functional model from ``latent`` numbers to a row in the data's range; by
            default one that fits the data, with batch normalisation.
        discriminator: a model from a row to one logit; by default one that fits the data, with strided
            convolutions or dense layers, leaky ReLU and dropout. Its batch normalisation, if any, sees rows
            and fakes together.
        latent: the size of the generator's input; 64, or that of the given generator.
        loss: "logistic" (Goodfellow et al. 2014, non-saturating) or "hinge" (Lim and Ye 2017).
        label_smoothing: for "logistic": real rows get the label 1 - label_smoothing; 0.1 by default.
        generator_optimizer, discriminator_optimizer: a Keras optimiser, which is copied, or the learning rate
            of an Adam with ``beta_1=0.5``.
        callbacks: called after each epoch, with the discriminator as their model.
        verbose: as in :func:`kilter.fit`.

    Raises a :class:`~kilter.errors.KilterError` before training starts if data, models or options do not fit,
    and :class:`~kilter.errors.ModelError` if a loss is no longer finite.

    Example::

        found = kilter.pretrain.gan(x_unlabelled, epochs=20)
        found.notes, found.plot()
        student = kilter.reuse(found.encoder, keep=3, head=10)
    """
    whole_number("batch_size", batch_size, 1)
    whole_number("epochs", epochs, 1)
    whole_number("latent", _LATENT if latent is None else latent, 1)
    whole_number("seed", seed, 0)
    objective = checked_objective(loss, label_smoothing)
    rows = collect(x)
    data = checked_data(rows, batch_size, ready=generator is not None and discriminator is not None)
    shape, value_range = data.shape[1:], (float(data.min()), float(data.max()))
    if generator is None:
        generator = make_generator(latent or _LATENT, shape, value_range, seed=seed)
    if discriminator is None:
        discriminator = make_discriminator(shape, value_range, seed=seed)
    generator, discriminator = copy_model(generator).model, copy_model(discriminator).model
    check_adversaries(generator, discriminator, shape, latent)
    encoder_of(discriminator)  # raises now rather than after training
    _give_optimizer(generator, generator_optimizer)
    _give_optimizer(discriminator, discriminator_optimizer)
    # A partial batch would have different statistics and unbalance the networks.
    order = Order(batch_size, shuffle=True, seed=seed, most=len(data) // batch_size)
    feed = ResidentFeed(rows, order)
    with epochs_told(verbose) as shown:
        history = _train(generator, discriminator, feed, objective, epochs, seed, [*callbacks, *shown])
    count = min(len(data), _SAMPLES)
    chosen = np.random.default_rng(seed).choice(len(data), count, replace=False)
    diversity = measure_diversity(draw_samples(generator, count, seed=seed), data[chosen], seed=seed)
    return gan_record(encoder_of(discriminator), generator, discriminator, history, diversity)


def encoder_of(discriminator: keras.Model) -> keras.Model:
    """A copy of the discriminator's layers below its last one with weights."""
    copy = copy_model(discriminator).model
    weighted = [layer for layer in copy.layers if layer.weights]
    last = weighted[-1]
    inputs = keras.tree.flatten(last.input)
    if len(weighted) < 2 or len(inputs) != 1 or len(last._inbound_nodes) != 1:
        raise ModelError(
            expected="a last discriminator layer with weights that has one input, from the layer below",
            received=f"{discriminator.name!r}, where {last.name!r} has {len(inputs)} inputs and "
            f"{len(weighted) - 1} layers with weights below",
            remedy="end the discriminator with one dense layer",
        )
    return keras.Model(copy.inputs, inputs[0], name="encoder")


def discriminator_of(encoder: keras.Model, *, seed: int) -> keras.Model:
    """A discriminator with a copy of ``encoder`` as its lower layers and one logit on the flattened codes."""
    copy = copy_model(encoder).model
    codes = copy.outputs[0]
    flat = codes if len(codes.shape) == 2 else keras.layers.Flatten(name="judged")(codes)
    start: Any = keras.initializers.GlorotUniform(seed=seed)
    judge = keras.layers.Dense(1, kernel_initializer=start, name="judge")
    return keras.Model(copy.inputs, judge(flat), name="discriminator")


def _train(
    generator: keras.Model,
    discriminator: keras.Model,
    feed: ResidentFeed,
    objective: Objective,
    epochs: int,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> History:
    """Train both models in place."""
    history = History()
    callback_list = keras.callbacks.CallbackList([*callbacks, history], model=discriminator, epochs=epochs)
    runner = Runner(
        generator,
        ("adversarial", objective),
        lambda: adversarial_step(generator, discriminator, objective),
        (discriminator, discriminator.optimizer),
        (np.uint32(seed % 2**32),),
    )
    step = jnp.int32(0)
    discriminator.stop_training = False
    callback_list.on_train_begin()
    with Interrupt() as interrupt:

        def between(chunk: Chunk) -> Any:
            return None if interrupt.asked() else chunk.state

        for epoch in range(epochs):
            began, compiled = time.perf_counter(), shelf(generator).seconds
            callback_list.on_epoch_begin(epoch)
            state: Any = begin_epoch(pull(generator), pull(discriminator), step)
            chunk = runner.run(feed, epoch, state, between)
            interrupt.check()
            assert chunk is not None, "there is at least one batch"
            state, logs = chunk.state, {name: float(value) for name, value in (chunk.logs or {}).items()}
            _check_finite(logs, epoch)
            push(state.generator, generator)
            push(state.discriminator, discriminator)
            step = state.step
            compiling = shelf(generator).seconds - compiled
            history.compile_seconds += compiling
            history.seconds.append(time.perf_counter() - began - compiling)
            callback_list.on_epoch_end(epoch, logs)
            if discriminator.stop_training:
                break
    callback_list.on_train_end()
    return history


def _give_optimizer(model: keras.Model, given: keras.optimizers.Optimizer | float) -> None:
    """Compile the model with a copy of the optimiser, or with Adam at that rate."""
    if isinstance(given, keras.optimizers.Optimizer):
        optimizer = type(given).from_config(given.get_config())
    elif isinstance(given, int | float) and given > 0:
        optimizer = keras.optimizers.Adam(given, beta_1=_BETA_1)
    else:
        raise OptionError(
            expected="a Keras optimizer, or a learning rate above 0",
            received=repr(given),
            remedy="pass a rate such as 2e-4",
        )
    model.compile(optimizer=optimizer)
    optimizer.build(model.trainable_variables)


def _check_finite(logs: Mapping[str, float], epoch: int) -> None:
    if not np.isfinite([logs["discriminator_loss"], logs["generator_loss"]]).all():
        raise ModelError(
            expected="finite losses",
            received=", ".join(f"{name} {value}" for name, value in logs.items()) + f" in epoch {epoch + 1}",
            remedy="lower both rates, or scale x to about -1 to 1",
        )
