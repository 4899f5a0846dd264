"""kilter.pretrain.gan: the step against one written out by hand, what it reports, and what it refuses."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from kilter._engine.loop import Runner
from kilter._models.variables import pull
from kilter.errors import DataError, KilterError, ModelError, OptionError
from kilter.pretrain import gan
from kilter.pretrain.gan import Gan, gan_record
from kilter.pretrain.gan_networks import Diversity, make_discriminator, make_generator, measure_diversity
from kilter.pretrain.gan_step import LOGGED, Objective, adversarial_step, begin_epoch

ROWS = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")


def linear_networks():
    keras.utils.set_random_seed(0)
    generator = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    discriminator = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    )
    return generator, discriminator


def by_hand(generator, discriminator, rows, noise, rate, objective):
    """One step with plain gradient descent, in NumPy's terms: explicit formulas, JAX for the gradients."""
    w, b = (value.numpy() for value in generator.trainable_variables)
    judge = [jnp.asarray(value.numpy()) for value in discriminator.trainable_variables]

    def score(judge, x):
        return jnp.tanh(x @ judge[0] + judge[1]) @ judge[2] + judge[3]

    def make(made):
        return noise @ made[0] + made[1]

    def judged(judge):
        real, fake = score(judge, rows), score(judge, make([w, b]))
        if objective.loss == "hinge":
            return jnp.maximum(0, 1 - real).mean() + jnp.maximum(0, 1 + fake).mean()
        target = 1 - objective.label_smoothing
        probability = jax.nn.sigmoid(real)
        of_real = -(target * jnp.log(probability) + (1 - target) * jnp.log(1 - probability))
        return of_real.mean() - jnp.log(1 - jax.nn.sigmoid(fake)).mean()

    judge = [value - rate * slope for value, slope in zip(judge, jax.grad(judged)(judge), strict=True)]

    def fooled(made):
        fake = score(judge, make(made))
        return -fake.mean() if objective.loss == "hinge" else -jnp.log(jax.nn.sigmoid(fake)).mean()

    made = [w, b]
    made = [value - rate * slope for value, slope in zip(made, jax.grad(fooled)(made), strict=True)]
    return made, judge


@pytest.mark.parametrize(
    "objective", [Objective("hinge"), Objective("logistic", 0.1)], ids=lambda one: one.loss
)
def test_a_step_is_the_one_written_out(objective):
    generator, discriminator = linear_networks()
    for model in (generator, discriminator):
        model.compile(optimizer=keras.optimizers.SGD(0.1))
        model.optimizer.build(model.trainable_variables)
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(np.uint32(5)), 0), (64, 3))
    made, judge = by_hand(generator, discriminator, ROWS, noise, 0.1, objective)
    step = jax.jit(adversarial_step(generator, discriminator, objective))
    state = begin_epoch(pull(generator), pull(discriminator), jnp.int32(0))
    after, logs = step(state, (jnp.asarray(ROWS), None, None), np.uint32(5))
    for found, wanted in zip(
        [*after.generator.trainable, *after.discriminator.trainable], [*made, *judge], strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)  # float32, other orders of summing
    assert set(logs) == set(LOGGED)
    assert int(after.step) == 1


def test_the_carry_keeps_its_structure():
    generator = make_generator(3, (12, 12, 1), (0.0, 1.0), seed=0)
    discriminator = make_discriminator((12, 12, 1), (0.0, 1.0), seed=0)
    for model in (generator, discriminator):
        model.compile(optimizer="adam")
        model.optimizer.build(model.trainable_variables)
    step = adversarial_step(generator, discriminator, Objective("hinge"))
    state = begin_epoch(pull(generator), pull(discriminator), jnp.int32(0))
    batch = (jax.ShapeDtypeStruct((4, 12, 12, 1), np.uint8), None, None)
    after, _ = jax.eval_shape(step, state, batch, np.uint32(0))
    same = jax.tree.map(lambda new, old: (new.shape, new.dtype) == (old.shape, old.dtype), after, state)
    assert jax.tree.all(same)


@pytest.mark.long
def test_it_learns_a_ring_of_points_and_leaves_the_models_alone():
    angle = np.random.default_rng(1).uniform(0, 2 * np.pi, 512)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype("float32")
    generator, discriminator = (
        make_generator(8, (2,), (-1.0, 1.0), seed=1),
        make_discriminator((2,), (-1.0, 1.0), seed=1),
    )
    before = [value.numpy().copy() for model in (generator, discriminator) for value in model.variables]
    options = {"generator_optimizer": 1e-3, "discriminator_optimizer": 1e-3, "epochs": 40}
    found = gan(ring, generator=generator, discriminator=discriminator, **options)
    after = [value.numpy() for model in (generator, discriminator) for value in model.variables]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    radius = np.linalg.norm(found.sample(400), axis=1)
    assert abs(np.median(radius) - 1) < 0.25
    assert 0.5 < found.figures["spread"] < 1.5
    assert found.learnt
    assert found.figures["modes"] > 0.5 * found.figures["data_modes"]
    assert len(found.history.seconds) == len(found.history.epoch) == 40


@pytest.mark.long
def test_images_give_an_encoder_a_picture_and_the_same_bits_again():
    images = np.random.default_rng(0).integers(0, 256, (40, 10, 9, 1)).astype("uint8")
    first, second = (gan(images, epochs=2, batch_size=16, latent=4, seed=3) for _ in range(2))
    for one, other in zip(first.generator.weights, second.generator.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    samples = first.sample(5)
    assert samples.shape == (5, 10, 9, 1)
    assert 0 <= samples.min() <= samples.max() <= 255
    assert (
        first.encoder.count_params() == first.discriminator.count_params() - 129 * 4 + 3
    )  # 512 inputs, 1 bias
    np.testing.assert_array_equal(
        first.encoder.layers[-1].output.shape[1:], first.discriminator.layers[-1].input.shape[1:]
    )
    assert np.asarray(first.plot().data[0].z).shape == (80, 72, 3)
    other = gan(images, epochs=2, batch_size=16, latent=4, seed=4)
    assert not np.array_equal(other.generator.weights[0].numpy(), first.generator.weights[0].numpy())


@pytest.mark.long
def test_the_encoder_is_a_copy_of_the_trained_layers():
    found = gan(ROWS, epochs=1, batch_size=32)
    codes = found.encoder.predict(ROWS, verbose=0)
    kernel, bias = found.discriminator.layers[-1].get_weights()
    np.testing.assert_allclose(
        codes @ kernel + bias, found.discriminator.predict(ROWS, verbose=0), rtol=1e-4, atol=1e-5
    )
    before = found.discriminator.get_weights()
    found.encoder.set_weights([np.zeros_like(one) for one in found.encoder.get_weights()])
    for one, other in zip(before, found.discriminator.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def record(on_real, on_fake, diversity):
    history = keras.callbacks.History()
    history.history = {"accuracy_on_real": on_real, "accuracy_on_fake": on_fake}
    return gan_record(None, None, None, history, diversity)


def test_collapse_victory_and_idleness_are_told():
    sound = Diversity(spread=0.9, modes=15.0, data_modes=18.0)
    assert record([0.6, 0.8], [0.6, 0.8], sound).notes == ()
    assert "collapsed" in record([0.8], [0.8], Diversity(0.9, 2.0, 18.0)).notes[0]
    assert "collapsed" in record([0.8], [0.8], Diversity(0.1, 15.0, 18.0)).notes[0]
    assert "has won" in record([0.8, 0.99], [0.8, 0.99], sound).notes[0]
    idle = record([0.9, 0.5], [0.1, 0.52], sound)
    assert not idle.learnt
    assert "learnt nothing" in idle.notes[0]


def test_diversity_of_halves_and_points():
    rows = np.repeat(np.eye(4), 100, axis=0) * 10
    found = measure_diversity(rows[:200], rows)
    assert found.modes == pytest.approx(2)
    assert found.data_modes == pytest.approx(4)
    assert found.share == pytest.approx(0.5)
    scaled = np.random.default_rng(0).normal(size=(1000, 3))
    assert measure_diversity(scaled / 2, scaled).spread == pytest.approx(0.25)
    assert np.isnan(measure_diversity(rows, np.ones((50, 4))).spread)


def dense(*layers, inputs=2):
    return keras.Sequential([keras.Input((inputs,)), *layers])


D = keras.layers.Dense
BAD = {
    "NaN": (lambda: gan(np.full((64, 2), np.nan)), DataError, "finite"),
    "one row": (lambda: gan(ROWS[:10]), DataError, "one batch of 64"),
    "equal rows": (lambda: gan(np.ones((64, 2))), DataError, "differ"),
    "grey images without channels": (lambda: gan(np.zeros((64, 28, 28))), DataError, "channels"),
    "tiny images": (lambda: gan(np.zeros((64, 4, 4, 1))), DataError, "8 pixels"),
    "unknown loss": (lambda: gan(ROWS, loss="wasserstein"), OptionError, "hinge"),
    "smoothed hinge": (lambda: gan(ROWS, loss="hinge", label_smoothing=0.1), OptionError, "hinge loss"),
    "no epochs": (lambda: gan(ROWS, epochs=0), OptionError, "epochs"),
    "rate 0": (lambda: gan(ROWS, generator_optimizer=0.0), OptionError, "rate"),
    "generator of other rows": (lambda: gan(ROWS, generator=dense(D(3))), ModelError, "shape (2,)"),
    "generator of other noise": (lambda: gan(ROWS, generator=dense(D(2)), latent=9), ModelError, "(9,)"),
    "discriminator of classes": (
        lambda: gan(ROWS, discriminator=dense(D(4), D(2))),
        ModelError,
        "one logit",
    ),
    "discriminator of probabilities": (
        lambda: gan(ROWS, discriminator=dense(D(4), D(1, "sigmoid"))),
        ModelError,
        "logit",
    ),
    "discriminator of one layer": (
        lambda: gan(ROWS, discriminator=dense(D(1))),
        ModelError,
        "from the layer below",
    ),
    "discriminator of other rows": (
        lambda: gan(ROWS, discriminator=dense(D(4), D(1), inputs=3)),
        ModelError,
        "shape (2,)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_before_training(name, monkeypatch):
    monkeypatch.setattr(Runner, "run", lambda *_: pytest.fail("it trained"))
    call, kind, said = BAD[name]
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, KilterError)
    assert said in str(caught.value)


def test_rates_that_explode_are_told():
    with pytest.raises(ModelError, match="finite losses"):
        gan(ROWS, epochs=3, generator_optimizer=keras.optimizers.SGD(1e30), latent=2)


def test_the_record_is_one_of_pretraining():
    found = gan(ROWS, epochs=1)
    assert isinstance(found, Gan)
    assert found.to_json()["task"] == "gan"
    assert found.decoder is None
    assert found.plot().data  # rows of a table are no pictures: the history
