"""Optax transformations as Keras optimisers, against loops written in JAX and optax alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest

from kilter._engine.fit import fit
from kilter._engine.optax_optimizer import OptaxOptimizer
from kilter.errors import DataError, ModelError, OptionError

from .cases import BATCH, CLASSES, FEATURES, agree, assert_parity, classifier, rows, same_bits

QUIET = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
STEPS = 8  # two epochs of four batches, the last one of 2 rows


def _decayed_kernels(parameters: dict[str, Any]) -> dict[str, bool]:
    return {name: name.endswith("kernel") for name in parameters}


TRANSFORMATIONS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adamw": lambda: optax.adamw(0.02, weight_decay=0.1, mask=_decayed_kernels),
    "lion": lambda: optax.lion(0.01),
    "clipped, with a schedule": lambda: optax.chain(
        optax.clip_by_global_norm(0.2), optax.nadam(optax.cosine_decay_schedule(0.1, STEPS))
    ),
    "injected": lambda: optax.inject_hyperparams(optax.sgd)(learning_rate=0.2, momentum=0.8),
    "by layer": lambda: optax.multi_transform(
        {"kernel": optax.adam(0.05), "bias": optax.sgd(0.1)},
        lambda parameters: {name: name.rsplit("/", 1)[-1] for name in parameters},
    ),
    "noisy": lambda: optax.chain(optax.add_noise(0.01, 0.5, jax.random.key(3)), optax.sgd(0.1)),
    "several steps": lambda: optax.MultiSteps(optax.adam(0.05), 3).gradient_transformation(),
}


def by_hand(
    transformation: optax.GradientTransformation, start: keras.Model, x: Any, y: Any
) -> dict[str, Any]:
    """Two epochs of a network of two dense layers, in nothing but JAX and optax."""
    parameters = {variable.path: jnp.asarray(variable.value) for variable in start.trainable_variables}
    names = list(parameters)

    def loss(values: dict[str, Any], x: Any, y: Any) -> Any:
        for kernel, bias in zip(names[::2], names[1::2], strict=True):
            x = x @ values[kernel] + values[bias]
            x = x if kernel == names[-2] else jnp.tanh(x)
        return optax.softmax_cross_entropy_with_integer_labels(x, y).mean()

    @jax.jit
    def step(values: Any, state: Any, x: Any, y: Any) -> Any:
        updates, state = transformation.update(jax.grad(loss)(values, x, y), state, values)
        return optax.apply_updates(values, updates), state

    state = transformation.init(parameters)
    for first in [*range(0, len(x), BATCH)] * 2:
        parameters, state = step(parameters, state, x[first : first + BATCH], y[first : first + BATCH])
    return parameters


def network(optimizer: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = [
        keras.layers.Dense(8, activation="tanh", name="hidden"),
        keras.layers.Dense(CLASSES, name="output"),
    ]
    model = keras.Sequential([keras.Input((FEATURES,)), *layers], name="network")
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_training_is_that_of_a_loop_written_with_optax(name: str):
    x, y = rows()
    make = TRANSFORMATIONS[name]
    expected = by_hand(make(), network("sgd"), x, y)
    ours, theirs = network(OptaxOptimizer(make())), network(OptaxOptimizer(make()))
    fit(ours, x, y, epochs=2, **QUIET)
    theirs.fit(x, y, epochs=2, **QUIET)
    for model in (ours, theirs):
        for variable in model.trainable_variables:
            got = np.asarray(variable.value)
            np.testing.assert_allclose(
                got, expected[variable.path], rtol=1e-4, atol=1e-5, err_msg=variable.path
            )


def test_an_injected_rate_is_keras_learning_rate():
    x, y = rows()
    injected = optax.inject_hyperparams(optax.sgd)(learning_rate=0.2)
    ours, plain = network(OptaxOptimizer(injected)), network(keras.optimizers.SGD(0.2))
    halved = [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)]
    got = fit(ours, x, y, epochs=3, callbacks=halved, **QUIET)
    agree(got.history, fit(plain, x, y, epochs=3, callbacks=halved, **QUIET).history)
    assert float(ours.optimizer.learning_rate) == pytest.approx(0.2 / 8)
    assert float(ours.optimizer.state.hyperparams["learning_rate"]) == pytest.approx(0.2 / 8)
    for one, other in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [lambda: optax.sgd(1.0), lambda: optax.inject_hyperparams(optax.sgd)(1.0)])
def test_a_schedule_given_to_fit_sets_the_rate(make: Any):
    x, y = rows(48)
    ours, plain = network(OptaxOptimizer(make())), network(keras.optimizers.SGD(9.0))
    for model in (ours, plain):
        fit(model, x, y, schedule=lambda step: 0.3 / (1 + step), **QUIET)
    for one, other in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_rate_that_optax_schedules_is_not_keras_to_set():
    scheduled = optax.inject_hyperparams(optax.sgd)(learning_rate=optax.linear_schedule(0.2, 0.0, 10))
    x, y = rows(48)
    model = network(OptaxOptimizer(scheduled))
    fit(model, x, y, **QUIET)
    assert float(model.optimizer.learning_rate) == 1.0
    assert float(model.optimizer.state.hyperparams["learning_rate"]) == pytest.approx(0.2 * (1 - 2 / 10))


@pytest.mark.parametrize(
    "options",
    [{"global_clipnorm": 0.1}, {"use_ema": True, "ema_momentum": 0.5}, {"gradient_accumulation_steps": 2}],
)
def test_keras_own_options_work_around_the_update(options: dict[str, Any]):
    x, y = rows()
    ours = network(OptaxOptimizer(optax.sgd(0.3), **options))
    plain = network(keras.optimizers.SGD(0.3, **options))
    for model in (ours, plain):
        fit(model, x, y, epochs=2, **QUIET)
    for one, other in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_features_of_the_model_agree_with_keras_own_adam():
    x, y = rows()
    build = {"hidden": lambda: [keras.layers.BatchNormalization()], "use_bias": False}
    optimizer = lambda: OptaxOptimizer(optax.adam(0.01, eps=1e-7))  # noqa: E731
    ours, _ = assert_parity(lambda: classifier(optimizer(), **build), x, y, epochs=3)
    plain = classifier(keras.optimizers.Adam(0.01), **build)
    plain.fit(x, y, epochs=3, **QUIET)
    for one, other in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_a_training_goes_on_from_the_state_that_was_kept():
    x, y = rows()
    once, twice = (network(OptaxOptimizer(optax.adam(0.02))) for _ in range(2))
    fit(once, x, y, epochs=2, **QUIET)
    fit(twice, x, y, epochs=1, **QUIET)
    resumed = network(OptaxOptimizer(optax.adam(0.02)))
    resumed.optimizer.build(resumed.trainable_variables)
    resumed.set_weights(twice.get_weights())
    for slot, kept in zip(resumed.optimizer.variables, twice.optimizer.variables, strict=True):
        slot.assign(kept.value)
    fit(resumed, x, y, epochs=2, initial_epoch=1, **QUIET)
    assert same_bits(resumed, once)


def test_a_saved_model_is_loaded_without_its_optimizer(tmp_path: Any):
    x, y = rows(48)
    model = network(OptaxOptimizer(optax.adam(0.02)))
    fit(model, x, y, **QUIET)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path, compile=False)
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])
    with pytest.raises(ModelError, match="compile=False"):
        keras.models.load_model(path)


def test_what_is_no_transformation_and_what_needs_the_loss():
    with pytest.raises(OptionError, match=r"optax\.GradientTransformation"):
        OptaxOptimizer(0.1)  # type: ignore[arg-type]
    x, y = rows(48)
    searched = OptaxOptimizer(optax.chain(optax.sgd(0.1), optax.scale_by_backtracking_linesearch(5)))
    with pytest.raises(DataError, match="value"):
        fit(network(searched), x, y, **QUIET)
    assert OptaxOptimizer(optax.sgd(0.1)).state is None
