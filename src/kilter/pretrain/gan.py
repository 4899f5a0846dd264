"""``kilter.pretrain.gan``: a generator and a discriminator against each other, on rows without labels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._engine.arrays import check_batch_size, collect
from kilter._engine.epochs import epochs_told
from kilter._engine.feed import Order, ResidentFeed
from kilter._engine.fit import check_whole_numbers
from kilter._engine.history import History
from kilter._engine.interrupt import Interrupt
from kilter._engine.loop import Chunk, Runner
from kilter._engine.program_cache import shelf
from kilter._models.copying import copy_model
from kilter._models.variables import pull, push
from kilter._progress import Verbose
from kilter.errors import ModelError, OptionError
from kilter.pretrain.adversarial_checks import check_adversaries, checked_data, checked_objective
from kilter.pretrain.diversity import measure_diversity
from kilter.pretrain.gan_networks import make_discriminator, make_generator
from kilter.pretrain.gan_record import Gan, draw_samples, gan_record
from kilter.pretrain.gan_step import LossName, Objective, adversarial_step, begin_epoch

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
