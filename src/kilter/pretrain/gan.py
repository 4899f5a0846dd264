"""``kilter.pretrain.gan``: a generator and a discriminator against each other, on rows without labels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.arrays import check_batch_size, collect
from kilter._engine.epochs import epochs_told
from kilter._engine.feed import Order, ResidentFeed
from kilter._engine.fit import check_whole_numbers
from kilter._engine.history import History
from kilter._engine.inference import predict
from kilter._engine.interrupt import Interrupt
from kilter._engine.loop import Chunk, Runner
from kilter._engine.program_cache import shelf
from kilter._models.copying import copy_model
from kilter._models.variables import pull, push
from kilter._plotting import Figure, drawn
from kilter._progress import Verbose
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

# Below this share of the data's modes, or of its spread, samples are said to have collapsed.
LEAST_MODES: Final = 0.5
LEAST_SPREAD: Final = 0.3
# Above this accuracy on both kinds of rows the discriminator has won, and its gradient says little.
MOST_ACCURACY: Final = 0.98
# A discriminator that was never further above chance has learnt nothing.
LEAST_ADVANTAGE: Final = 0.05

_GRID = 8


@dataclass(frozen=True, eq=False)
class Gan(Pretrained):
    """What :func:`kilter.pretrain.gan` trained.

    ``encoder`` is a copy of the discriminator's layers below its last with weights; there is no ``decoder``.
    ``history`` has the means of each epoch: ``discriminator_loss``, ``generator_loss``, ``accuracy_on_real``
    and ``accuracy_on_fake`` (of the discriminator, before each update; both near 0.5 where it cannot tell),
    and ``spread`` (the summed variance of a batch of fakes over that of the rows). ``figures`` has the last
    epoch's accuracies, and ``spread``, ``modes`` and ``data_modes`` of
    :class:`~kilter.pretrain.gan_networks.Diversity`, of as many samples as rows at the end.
    """

    generator: keras.Model
    discriminator: keras.Model

    def sample(self, count: int, *, seed: int = 0) -> np.ndarray:
        """``count`` new rows, in inference mode, in the data's range."""
        return draw_samples(self.generator, count, seed=seed)

    def plot(self) -> Figure:
        """64 samples as images, from the darkest to the brightest of all their pixels.

        The history instead, if samples are not images of one or three channels.
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
    """The record, with its figures and what they say."""
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
    """What a generator makes of ``count`` rows of normal noise, in inference mode."""
    noise = np.random.default_rng(seed).standard_normal((count, int(generator.input_shape[-1])))
    return predict(generator, noise.astype("float32"), verbose=0)


def _notes(on_real: float, on_fake: float, diversity: Diversity, learnt: bool) -> tuple[str, ...]:
    said = []
    if diversity.share < LEAST_MODES or diversity.spread < LEAST_SPREAD:
        said.append(
            f"The generator has collapsed: its samples are of {diversity.modes:.1f} kinds where the data are "
            f"of {diversity.data_modes:.1f}, with {diversity.spread:.0%} of their spread. Train longer, at "
            "lower rates, or with the other loss."
        )
    if min(on_real, on_fake) > MOST_ACCURACY:
        said.append(
            f"The discriminator has won: it is right about {on_real:.1%} of the rows and {on_fake:.1%} of "
            "the fakes, so the generator learns little from it. Lower its rate, or raise the generator's."
        )
    if not learnt:
        said.append(
            "The discriminator never told rows from fakes better than chance: its layers have learnt "
            "nothing. Raise its rate, or train longer."
        )
    return tuple(said)


_LATENT = 64
_SAMPLES = 1_000
# Two rates (Heusel et al. 2017). Of those tried on 2,000 Fashion-MNIST images these gave the most varied
# fakes after 8 epochs: of 13 kinds, where equal rates of 2e-4 had 7 and the images are of 16.7.
_GENERATOR_RATE = 1e-3
_DISCRIMINATOR_RATE = 2e-4
# Momentum makes the two networks chase each other (Radford et al. 2016).
_BETA_1 = 0.5


def gan(
    x: Any,
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

    Each step updates the discriminator on a batch of rows and as many fakes, then the generator through it by
    the same fakes; many steps run in one compiled call. Models that are given are copied and stay as they
    are.

    Args:
        x: images (rows, height, width, channels) of at least 8×8, or tables (rows, features); numbers of any
            type, at least ``batch_size`` rows. An epoch leaves out the rows that fill no batch.
        generator: a Sequential or Functional model from ``latent`` numbers to a row; its outputs should be in
            the data's range. If None one that fits the data, with batch normalisation.
        discriminator: one from a row to one number, a logit. If None one that fits the data: strided
            convolutions, or dense layers, with leaky ReLU and dropout. Batch normalisation in it sees rows
            and fakes together.
        latent: how many numbers the generator starts from; 64, or what the given one takes.
        loss: "logistic" or "hinge", see :class:`~kilter.pretrain.gan_step.Objective`.
        label_smoothing: for "logistic": what real rows' labels lie below 1; 0.1 if None.
        generator_optimizer: a Keras optimiser, which is copied, or the rate of an Adam with ``beta_1=0.5``;
            and ``discriminator_optimizer``.
        callbacks: told of each epoch, with the discriminator as their model.
        verbose: as of :func:`kilter.fit`.

    Raises a :class:`~kilter.errors.KilterError` before anything is trained where data, models and options do
    not fit; :class:`~kilter.errors.ModelError` where a loss is no longer finite.

    Example::

        found = kilter.pretrain.gan(x_unlabelled, epochs=20)
        found.notes, found.plot()
        student = kilter.reuse(found.encoder, keep=3, head=10)
    """
    check_batch_size(batch_size)
    check_whole_numbers(1, epochs=epochs, latent=_LATENT if latent is None else latent)
    check_whole_numbers(seed=seed)
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
    encoder_of(discriminator)  # refused now, not after the training
    _give_optimizer(generator, generator_optimizer)
    _give_optimizer(discriminator, discriminator_optimizer)
    # Other statistics for the one step of a partial batch would unbalance the two.
    order = Order(batch_size, shuffle=True, seed=seed, most=len(data) // batch_size)
    feed = ResidentFeed(rows, order)
    with epochs_told(verbose) as shown:
        history = _train(generator, discriminator, feed, objective, epochs, seed, [*callbacks, *shown])
    count = min(len(data), _SAMPLES)
    chosen = np.random.default_rng(seed).choice(len(data), count, replace=False)
    diversity = measure_diversity(draw_samples(generator, count, seed=seed), data[chosen], seed=seed)
    return gan_record(encoder_of(discriminator), generator, discriminator, history, diversity)


def encoder_of(discriminator: keras.Model) -> keras.Model:
    """A copy of the discriminator's layers below its last one with weights: what it knows of the rows.

    Raises :class:`~kilter.errors.ModelError` where that layer is not the only way to the output.
    """
    copy = copy_model(discriminator).model
    weighted = [layer for layer in copy.layers if layer.weights]
    last = weighted[-1]
    inputs = keras.tree.flatten(last.input)
    if len(weighted) < 2 or len(inputs) != 1 or len(last._inbound_nodes) != 1:
        raise ModelError(
            expected="a discriminator whose last layer with weights takes what one lower layer gives",
            received=f"{discriminator.name!r}, where {last.name!r} takes {len(inputs)} inputs and "
            f"{len(weighted) - 1} layers with weights are below",
            remedy="end the discriminator with one dense layer",
        )
    return keras.Model(copy.inputs, inputs[0], name="encoder")


def discriminator_of(encoder: keras.Model, *, seed: int) -> keras.Model:
    """A discriminator whose lower layers are a copy of ``encoder``: one logit of its codes, laid flat.

    Raises :class:`~kilter.errors.ModelError` as :func:`kilter._models.copying.copy_model` does.
    """
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
    """Train both, and leave the variables of the last epoch in them."""
    history = History()
    told = keras.callbacks.CallbackList([*callbacks, history], model=discriminator, epochs=epochs)
    runner = Runner(
        generator,
        ("adversarial", objective),
        lambda: adversarial_step(generator, discriminator, objective),
        (discriminator, discriminator.optimizer),
        (np.uint32(seed % 2**32),),
    )
    step = jnp.int32(0)
    discriminator.stop_training = False
    told.on_train_begin()
    with Interrupt() as interrupt:

        def between(chunk: Chunk) -> Any:
            return None if interrupt.pending else chunk.state

        for epoch in range(epochs):
            began, compiled = time.perf_counter(), shelf(generator).seconds
            told.on_epoch_begin(epoch)
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
            told.on_epoch_end(epoch, logs)
            if discriminator.stop_training:
                break
    told.on_train_end()
    return history


def _give_optimizer(model: keras.Model, given: keras.optimizers.Optimizer | float) -> None:
    """Compile the model with a copy of the optimiser, or with Adam at that rate."""
    if isinstance(given, keras.optimizers.Optimizer):
        optimizer = type(given).from_config(given.get_config())
    elif isinstance(given, int | float) and given > 0:
        optimizer = keras.optimizers.Adam(given, beta_1=_BETA_1)
    else:
        raise OptionError(
            expected="an optimiser of Keras, or a learning rate above 0",
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
            remedy="lower both rates, or bring x to a range near -1 to 1",
        )
