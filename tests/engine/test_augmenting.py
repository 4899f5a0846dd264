"""Augmentation in the compiled step: seeded, resumable, and nothing but the training batches is touched."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest

from kilter._engine import loop
from kilter._engine.fit import fit
from kilter._engine.inference import evaluate
from kilter._engine.optax_optimizer import OptaxOptimizer
from kilter._engine.program_cache import shelf
from kilter.data.augmentation import Augmentation, Brightness, Cutmix, Cutout, Flip, Mixup, Rotate, Shift
from kilter.errors import KilterError

from .cases import BATCH, TOLERANCE, difference, same_bits

layers = keras.layers
QUIET: dict[str, Any] = {"batch_size": BATCH, "verbose": 0}
AUGMENT = Augmentation((Flip(), Shift(0.2), Cutout(2), Mixup(1.0)))
ROWS = 3 * BATCH


def images(count: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise of bytes [count, 6, 5, 3] and labels 0 to 2."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 6, 5, 3)).astype("uint8"), generator.integers(0, 3, count)


def network(optimizer: Any = "adam", shape: tuple[int, ...] = (6, 5, 3), **compiled: Any) -> keras.Model:
    """A dense network on images, compiled."""
    keras.utils.set_random_seed(1)
    stack = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(8, "elu"), layers.Dense(3)]
    model = keras.Sequential([keras.Input(shape), *stack])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, **({"loss": loss, "metrics": ["accuracy"]} | compiled))
    return model


def trained(
    augment: Any, *, seed: int = 0, epochs: int = 2, model: Any = None, rows: int = ROWS, **how: Any
) -> keras.Model:
    """A network after training on the images."""
    model = model or network()
    fit(model, *images(rows), augment=augment, seed=seed, epochs=epochs, **QUIET, **how)
    return model


def test_no_augmentation_leaves_every_bit_as_it_was():
    plain = network()
    fit(plain, *images(), epochs=2, **QUIET)
    assert same_bits(plain, trained(None))
    assert same_bits(plain, trained([]))
    assert difference(plain, trained(AUGMENT)) > 1e-3


@pytest.mark.long
def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    one = trained(AUGMENT, seed=5)
    assert same_bits(one, trained(AUGMENT, seed=5))
    # In the order of the rows the seed is not used: what differs is drawn.
    first, other = (trained(AUGMENT, seed=seed, shuffle=False) for seed in (5, 6))
    assert difference(first, other) > 1e-4


def test_each_step_is_that_of_keras_on_images_augmented_beforehand():
    """Key: the seed's, folded with the optimiser's count of steps."""
    augment = Augmentation((Flip("both"), Rotate(40), Cutout(2)))
    (x, y), model, twin = images(), network("sgd"), network("sgd")
    fit(model, x, y, augment=augment, seed=9, epochs=2, shuffle=False, **QUIET)
    make = jax.jit(augment)
    for step in range(6):
        rows = slice(step % 3 * BATCH, (step % 3 + 1) * BATCH)
        made, _ = make(jax.random.fold_in(jax.random.key(9), step), jnp.asarray(x[rows]))
        twin.train_on_batch(np.asarray(made), y[rows])
    # The last bit of a byte turns on how a product and a sum are rounded.
    assert difference(model, twin) < 10 * TOLERANCE
    assert difference(model, network("sgd")) > 100 * TOLERANCE


def test_the_same_rows_are_drawn_anew_in_every_step_and_epoch():
    model = network(keras.optimizers.SGD(0.0))
    x, y = (np.repeat(part[:1], 32, axis=0) for part in images())
    losses = fit(model, x, y, augment=[Shift(0.5)], epochs=6, shuffle=False, **QUIET).history["loss"]
    assert len(set(losses)) == 6


def test_validation_evaluation_and_training_rows_seen_again_are_not_augmented():
    x, y = images()
    model = network(keras.optimizers.SGD(0.0))
    history = fit(model, x, y, augment=AUGMENT, validation_data=(x, y), epochs=2, **QUIET).history
    plain = evaluate(network(keras.optimizers.SGD(0.0)), x, y, batch_size=BATCH)
    assert history["val_loss"] == [plain["loss"]] * 2
    assert history["val_accuracy"] == [plain["accuracy"]] * 2
    assert abs(history["loss"][0] - plain["loss"]) > 1e-3
    assert evaluate(model, x, y, batch_size=BATCH) == plain


def test_validating_changes_no_bit():
    assert same_bits(trained(AUGMENT), trained(AUGMENT, validation_data=images(20, seed=1)))


def test_a_training_in_two_parts_gives_the_bits_of_one():
    whole, parts = trained(AUGMENT, epochs=4), trained(AUGMENT, epochs=2)
    fit(parts, *images(), augment=AUGMENT, epochs=4, initial_epoch=2, **QUIET)
    assert same_bits(whole, parts)


def test_where_the_chunks_are_cut_changes_no_bit(monkeypatch):
    whole = trained(AUGMENT)
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)  # one step a chunk after the first
    assert same_bits(whole, trained(AUGMENT))


def test_streamed_rows_are_augmented_as_resident_ones(tmp_path: Path):
    x, y = images()
    mapped = np.memmap(tmp_path / "x", dtype=x.dtype, mode="w+", shape=x.shape)
    mapped[:] = x
    model = network()
    fit(model, mapped, y, augment=AUGMENT, epochs=2, **QUIET)
    assert difference(model, trained(AUGMENT)) < TOLERANCE


@pytest.mark.long
def test_one_program_serves_all_epochs_seeds_and_equal_augmentations():
    model = trained(AUGMENT, rows=50)
    programs, seconds = dict(shelf(model).programs), shelf(model).seconds
    assert len(programs) == 2  # full batches, and the last smaller one
    equal = Augmentation(list(AUGMENT.transforms))  # type: ignore[arg-type]
    trained(equal, seed=7, model=model, rows=50)
    assert (shelf(model).programs, shelf(model).seconds) == (programs, seconds)
    trained([Flip()], model=model, rows=50)
    assert len(shelf(model).programs) == 4


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=4),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
        lambda: OptaxOptimizer(optax.adam(0.01)),
    ],
    ids=["accumulating", "loss-scaling", "optax"],
)
def test_steps_are_counted_by_every_kind_of_optimizer(optimizer):
    """Eight steps on one row draw eight times, though gradients are summed over four."""
    x, y = (np.repeat(part[:1], 8, axis=0) for part in images())
    model, losses = network(optimizer()), []

    class Step(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            losses.append(logs["loss"])
            for weight, value in zip(model.trainable_weights, start, strict=True):
                weight.assign(value)

    start = [np.asarray(weight) for weight in model.trainable_weights]
    fit(model, x[:1], y[:1], augment=[Brightness(0.5)], epochs=8, callbacks=[Step()], **QUIET)
    assert len(set(losses)) == 8


def test_flat_images_train_as_square_ones():
    x, y = images()
    augment = Augmentation((Flip(), Mixup(1.0)), image_shape=(6, 5, 3))
    flat = network(shape=(90,))
    fit(flat, x.reshape(len(x), -1), y, augment=augment, epochs=2, **QUIET)
    assert difference(trained(Augmentation(augment.transforms)), flat) < TOLERANCE


@pytest.mark.parametrize("augment", ["flip", 3, [Flip], {"flip": True}])
def test_what_is_no_augmentation_is_refused(augment):
    with pytest.raises(KilterError, match="augmentation"):
        trained(augment)


def test_images_that_do_not_fit_are_refused_before_training():
    x, y = images()
    model = network(shape=(90,))
    with pytest.raises(KilterError, match="image_shape"):
        fit(model, x.reshape(len(x), -1), y, augment=[Flip()], **QUIET)
    assert not shelf(model).programs


@pytest.mark.long
def test_one_transformation_alone_needs_no_list_and_all_go_together():
    assert same_bits(trained(Flip()), trained([Flip()]))
    together = [Flip(), Rotate(20), Shift(0.2), Brightness(0.2), Cutout(2), Mixup(1.0), Cutmix()]
    assert same_bits(trained(together), trained(together))
