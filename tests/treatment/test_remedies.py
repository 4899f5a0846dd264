"""Every remedy on a model that needs it, and on one that cannot be cut: one table holds them all."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import kilter
from kilter import _backend  # noqa: F401

# isort: split
import keras
from keras import layers
from tests.treatment.cause_cases import CAUSES, MASKS, PICTURES, numbered, two_outputs
from tests.treatment.sequence_remedies import SEQUENCES
from tests.treatment.subjects import (
    IMAGES,
    LABELS,
    THREE,
    Written,
    X,
    convolutional,
    dense,
    finding,
    nested,
    runs_as_written,
    subject,
)

from kilter._diagnosis.catalogue import CATALOGUE
from kilter._diagnosis.checks.output import check_output, check_targets
from kilter._diagnosis.easing import Easing
from kilter._engine.training_spec import EarlyStopping
from kilter._treatment.program import program
from kilter._treatment.remedies import REMEDIES, optimization
from kilter._treatment.remedies.normalization import fitting_momentum
from kilter._treatment.sound_sibling import sound_sibling
from kilter._treatment.subject import Subject
from kilter._tuning.find_lr import find_lr_by_steps
from kilter.errors import ModelError
from kilter.nn.gain import weight_moment

RAW = X * 40 + 100
NOT_FINITE = np.where(np.arange(96)[:, None] == 5, np.nan, X)
IMBALANCED = (np.arange(96) % 8 == 0).astype("int32")


def _frozen() -> Subject:
    model = dense()
    model.trainable = False
    return subject(model)


def _stale() -> Subject:
    found = subject(dense())
    found.model.optimizer.build(found.model.trainable_variables)
    found.model.layers[0].trainable = False
    return found


def _bn() -> layers.Layer:
    return layers.BatchNormalization()


def _answers(model: Any, x: Any) -> np.ndarray:
    return model.predict(x, verbose=0)


def _layer(model: keras.Model, name: str) -> Any:
    return next(layer for layer in model._flatten_layers() if layer.name == name)


def _kinds(model: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers if type(layer).__name__ != "InputLayer"]


def _activations(treated: Subject) -> set[Any]:
    return {one.activation for one in treated.layers if one.is_weighted and not one.is_output}


def _he(treated: Subject) -> bool:
    hidden = [one for one in treated.layers if one.is_weighted and not one.is_output]
    return all(type(one.initializer).__name__ == "HeNormal" for one in hidden)


def _standardized(treated: Subject) -> bool:
    seen = np.asarray(treated.model.layers[0](treated.x))
    return np.allclose(seen.mean(axis=0), 0, atol=1e-2) and np.allclose(seen.std(axis=0), 1, atol=1e-2)


def _rate(treated: Subject) -> float:
    rate = treated.optimizer.learning_rate
    assert rate is not None
    return rate


# code: a subject that needs it, and whether the treated one has what the remedy promises
CASES: dict[str, tuple[Callable[[], Subject], Callable[[Subject], object]]] = {
    **SEQUENCES,
    "standardize-inputs": (lambda: subject(dense(), RAW), _standardized),
    "rescale-outputs": (
        lambda: subject(dense(output=None), y=5_000 + 300 * X[:, 1], loss="mse"),
        lambda p: (
            _kinds(p.model)[-1] == "Normalization"
            and np.std(_answers(p.model, X)) > 100
            and abs(np.mean(_answers(p.model, X)) - 5_000) < 300
        ),
    ),
    "repair-output": (
        lambda: subject(dense(output="softmax"), loss="mse"),
        lambda p: (
            (p.facts[1][0].activation, getattr(p.facts[1][0].loss, "name", ""))
            == ("sigmoid", "binary_crossentropy")
        ),
    ),
    "replace-activation": (
        lambda: subject(dense(activation="sigmoid")),
        lambda p: _activations(p) == {"elu"} and _he(p) and p.facts[1][0].activation == "sigmoid",
    ),
    "self-normalize": (
        lambda: subject(dense(activation="relu", between=(lambda: layers.Dropout(0.1), _bn))),
        lambda p: (
            _kinds(p.model) == ["Dense", "AlphaDropout"] * 3 + ["Dense"] and _activations(p) == {"selu"}
        ),
    ),
    "insert-batch-norm": (
        lambda: subject(dense()),
        lambda p: _kinds(p.model) == ["Dense", "BatchNormalization", "Activation"] * 3 + ["Dense"],
    ),
    "repair-batch-norm": (
        lambda: subject(convolutional(axis=1, momentum=0.999), IMAGES, LABELS[:64]),
        lambda p: (_layer(p.model, "norm").axis, _layer(p.model, "norm").momentum) == (-1, 0.5),
    ),
    "remove-redundant-bias": (
        lambda: subject(dense(activation="linear", between=(_bn, lambda: layers.Activation("relu")))),
        lambda p: not any(_layer(p.model, f"hidden_{i}").use_bias for i in range(3)),
    ),
    "reorder-dropout": (
        lambda: subject(dense(between=(lambda: layers.Dropout(0.3), _bn))),
        lambda p: _kinds(p.model) == ["Dense", "BatchNormalization"] * 3 + ["Dropout", "Dense"],
    ),
    "alpha-dropout": (
        lambda: subject(dense(activation="selu", between=(lambda: layers.Dropout(0.3),))),
        lambda p: (
            _kinds(p.model) == ["Dense", "AlphaDropout"] * 3 + ["Dense"] and p.model.layers[1].rate == 0.3
        ),
    ),
    "add-residuals": (
        lambda: subject(dense(9)),
        lambda p: _kinds(p.model).count("Add") == 4 and _kinds(p.model).count("EinsumDense") == 4,
    ),
    "ease-regularization": (
        lambda: subject(dense(between=(lambda: layers.Dropout(0.9),))),
        lambda p: {one.rate for one in p.model.layers if isinstance(one, layers.Dropout)} == {0.2},
    ),
    "add-dropout": (
        lambda: subject(dense()),
        lambda p: _kinds(p.model) == ["Dense", "Dropout"] * 3 + ["Dense"],
    ),
    "add-l2": (lambda: subject(dense()), lambda p: len(p.model.losses) == 3),
    "add-max-norm": (
        lambda: subject(dense()),
        lambda p: all(_layer(p.model, f"hidden_{i}").kernel_constraint.max_value == 3 for i in range(3)),
    ),
    "clean-data": (
        lambda: subject(dense(), NOT_FINITE),
        lambda p: p.rows == 95 and np.isfinite(p.x).all() and len(p.x_val) == 31,
    ),
    "reinitialize-paired": (
        lambda: subject(dense(activation="relu", initializer="ones")),
        lambda p: _he(p) and len(np.unique(_layer(p.model, "hidden_0").kernel)) == 36,
    ),
    "reinitialize-lsuv": (
        lambda: subject(dense(initializer=keras.initializers.RandomNormal(stddev=1e-3))),
        lambda p: 0.8 < np.std(X @ np.asarray(_layer(p.model, "hidden_0").kernel)) < 1.2 and p.unit_variance,
    ),
    "unfreeze": (_frozen, lambda p: len(p.model.trainable_variables) == 8),
    "recompile": (_stale, lambda p: len(p.model.trainable_variables) == 6),
    "find-learning-rate": (
        lambda: subject(dense(), optimizer=keras.optimizers.SGD(1e-7)),
        lambda p: 1e-4 <= _rate(p) <= 1,
    ),
    "clip-gradients": (lambda: subject(dense()), lambda p: 0 < p.optimizer.optimizer.global_clipnorm < 10),
    "change-optimizer": (
        lambda: subject(dense()),
        lambda p: (p.optimizer.name, _rate(p)) == ("nadam", pytest.approx(1e-3)),
    ),
    "one-cycle": (lambda: subject(dense()), lambda p: p.cycle == pytest.approx(0.01)),
    "change-batch-size": (lambda: subject(dense(), batch_size=2), lambda p: p.training.batch_size == 9),
    "shuffle": (lambda: subject(dense(), shuffle=False), lambda p: p.training.shuffle),
    "class-weights": (
        lambda: subject(dense(), y=IMBALANCED),
        lambda p: p.training.class_weight == pytest.approx({0: 96 / (2 * 84), 1: 96 / (2 * 12)}),
    ),
    "augment": (
        lambda: subject(convolutional(), IMAGES, LABELS[:64]),
        lambda p: len(p.training.augment.transforms) == 2,
    ),
    "stop-early": (
        lambda: subject(dense(), epochs=50),
        lambda p: p.fit_arguments()["callbacks"][0].patience == 10,
    ),
    "train-longer": (lambda: subject(dense()), lambda p: p.training.epochs == 4),
    **CAUSES,
}
# What changes again when it is applied again, as it says.
REPEATED = {"change-batch-size", "train-longer"}


def bits(model: keras.Model) -> list[bytes]:
    variables = [*model.variables, *model.optimizer.variables]
    flags = [repr(layer.trainable) for layer in model._flatten_layers()]
    return [np.asarray(one).tobytes() for one in variables] + [
        repr(model.get_config()).encode(),
        *map(str.encode, flags),
    ]


def test_a_rate_that_a_short_search_does_not_find_is_searched_for_longer(monkeypatch):
    asked = []

    def by_steps(model, state, x, y, *, steps, **options):
        asked.append(steps)
        if steps == 100:
            raise ModelError(expected="", received="", remedy="")
        return find_lr_by_steps(model, state, x, y, steps=steps, **options)

    monkeypatch.setattr(optimization, "find_lr_by_steps", by_steps)
    ill = subject(dense(), optimizer=keras.optimizers.SGD(1e-7))
    treated = REMEDIES["find-learning-rate"].apply(ill, finding())
    assert asked == [100, 300]
    assert treated is not None
    assert "found" in treated.changes[0].after


@pytest.mark.parametrize("epochs", [1, 2, 20])
def test_a_cycle_goes_up_and_down_over_all_epochs_and_is_neither_stopped_nor_searched_for(epochs: int):
    cycled = REMEDIES["one-cycle"].apply(
        subject(dense(), epochs=20, early_stopping=EarlyStopping(patience=3)), finding()
    )
    assert cycled is not None
    assert REMEDIES["find-learning-rate"].apply(cycled, finding()) is None
    options = cycled.fit_arguments(epochs)
    _, stop = options["callbacks"]
    assert stop.patience == epochs
    schedule = kilter.schedules.one_cycle(0.01, length=epochs * 1000, momentum=None)
    wanted = [float(schedule(epoch * 1000 + 500)) for epoch in range(epochs)]
    history = kilter.fit(cycled.copy(), **options).history
    np.testing.assert_allclose(history["learning_rate"], wanted, rtol=0.03)
    assert max(wanted) <= 0.01


@pytest.mark.parametrize(
    ("steps", "momentum"), [(1, 0.5), (6, 0.5), (12, 0.8), (56, 0.8), (57, 0.9), (117, 0.95), (600, 0.99)]
)
def test_averages_of_an_inserted_norm_follow_within_half_an_epoch(steps, momentum):
    assert fitting_momentum(steps) == momentum


def test_the_table_is_whole():
    named = {remedy for entry in CATALOGUE.values() for remedy in entry.remedies}
    assert set(CASES) == set(REMEDIES)
    assert named <= set(REMEDIES)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("code", CASES)
def test_a_remedy_does_what_it_says(code: str, tmp_path: Path):
    make, promised = CASES[code]
    ill = make()
    before = bits(ill.model)
    treated = REMEDIES[code].apply(ill, finding())
    assert treated is not None
    assert bits(ill.model) == before
    assert promised(treated)

    (change,) = treated.changes
    assert change.remedy == code
    assert change.before
    assert change.after
    assert change.before != change.after
    runs_as_written(change.snippet, ill)
    runs_as_written(program(ill, treated), ill)
    assert all("=" in one for one in change.recipe)
    if code not in REPEATED:
        assert REMEDIES[code].apply(treated, finding()) is None

    model, kept = treated.copy(), bits(treated.model)
    options = {**treated.fit_arguments(1), "batch_size": treated.rows // 3}
    history = kilter.fit(model, **options)
    assert np.isfinite(history.history["loss"]).all()
    assert bits(treated.model) == kept
    model.save(tmp_path / "model.keras")
    loaded: Any = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(_answers(loaded, treated.x), _answers(model, treated.x))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("code", REMEDIES)
def test_a_model_that_cannot_be_cut_is_treated_without_a_cut_or_not_at_all(code: str):
    model = Written()
    model.build((None, 6))
    ill = subject(model, batch_size=2, shuffle=False, y=IMBALANCED)
    before = [np.asarray(one).tobytes() for one in model.variables]
    treated = REMEDIES[code].apply(ill, finding())
    assert [np.asarray(one).tobytes() for one in model.variables] == before
    if REMEDIES[code].needs_surgery:
        assert treated is None
    elif treated is not None:
        kilter.fit(treated.copy(), **treated.fit_arguments(1))


def test_biases_far_from_zero_are_drawn_anew_too():
    ill = subject(dense(activation="relu", initializer="he_normal"))
    for layer in ill.model.layers[:3]:
        layer.bias.assign(np.full(6, -10.0))
    treated = REMEDIES["reinitialize-paired"].apply(ill, finding())
    assert treated is not None
    assert not np.any([_layer(treated.model, f"hidden_{i}").bias for i in range(3)])


def test_reinitialising_works_on_a_model_that_cannot_be_cut():
    model = Written()
    model.build((None, 6))
    treated = REMEDIES["reinitialize-paired"].apply(subject(model), finding())
    assert treated is not None
    kernel = np.asarray(treated.model.hidden.kernel)
    assert np.mean(kernel**2) == pytest.approx(weight_moment("glorot_uniform", (6, 6)), rel=0.6)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "make", [lambda: dense(functional=True, activation="sigmoid"), nested], ids=["functional", "nested"]
)
@pytest.mark.parametrize(
    "code", ["replace-activation", "insert-batch-norm", "standardize-inputs", "add-dropout"]
)
def test_functional_and_nested_models_are_cut_too(make: Callable[[], keras.Model], code: str, tmp_path: Path):
    ill = subject(make(), RAW)
    before = bits(ill.model)
    treated = REMEDIES[code].apply(ill, finding())
    assert treated is not None
    assert bits(ill.model) == before
    model = treated.copy()
    kilter.fit(model, **treated.fit_arguments(1))
    model.save(tmp_path / "model.keras")
    loaded: Any = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(_answers(loaded, treated.x), _answers(model, treated.x))


def test_with_a_layer_all_of_its_activation_are_changed_where_nothing_was_learnt_yet():
    treated = REMEDIES["replace-activation"].apply(subject(dense(activation="sigmoid")), finding("hidden_1"))
    assert treated is not None
    assert [one.activation for one in treated.layers] == ["elu", "elu", "elu", "sigmoid"]


def test_in_a_trained_model_only_the_layers_named_are_changed():
    ill = replace(subject(dense(activation="sigmoid")), trained=True)
    treated = REMEDIES["replace-activation"].apply(ill, finding("hidden_1"))
    assert treated is not None
    assert [one.activation for one in treated.layers] == ["sigmoid", "elu", "sigmoid", "sigmoid"]
    for name in ("hidden_0", "hidden_2", "output"):
        ours, theirs = _layer(treated.model, name).get_weights(), _layer(ill.model, name).get_weights()
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    "code", ["remove-redundant-bias", "add-l2", "add-max-norm", "add-dropout", "alpha-dropout"]
)
def test_what_is_computed_stays(code: str):
    ill = CASES[code][0]()
    for layer in ill.model.layers:  # statistics and biases as after training
        layer.set_weights([np.abs(weight) + 0.1 for weight in layer.get_weights()])
    treated = REMEDIES[code].apply(ill, finding())
    assert treated is not None
    # A moving mean takes the bias up in float32: a few roundings of values of about 10.
    assert np.allclose(_answers(treated.model, X), _answers(ill.model, X), atol=1e-5)


SPARSE = "sparse_categorical_crossentropy"
ONE_HOT = np.eye(3, dtype="float32")[THREE]
NUMBERS = X @ np.arange(6, dtype="float32")
OUTPUTS = [  # units, activation, loss, targets -> units, activation, loss; None where it is right
    (1, "softmax", "binary_crossentropy", LABELS, (1, "sigmoid", "binary_crossentropy")),
    (1, "relu", "mse", LABELS, (1, "sigmoid", "binary_crossentropy")),
    (1, None, "binary_crossentropy", LABELS, (1, "sigmoid", "binary_crossentropy")),
    (2, "sigmoid", SPARSE, LABELS, (2, "softmax", SPARSE)),
    (3, "softmax", "categorical_crossentropy", THREE, (3, "softmax", SPARSE)),
    (3, "softmax", SPARSE, ONE_HOT, (3, "softmax", "categorical_crossentropy")),
    (3, "softmax", "mse", ONE_HOT, (3, "softmax", "categorical_crossentropy")),
    (1, "sigmoid", "binary_crossentropy", THREE, (3, "softmax", SPARSE)),
    (2, "softmax", SPARSE, THREE, (3, "softmax", SPARSE)),
    (3, "softmax", keras.losses.SparseCategoricalCrossentropy(from_logits=True), THREE,
     (3, "softmax", SPARSE)),
    (1, "relu", "mse", NUMBERS, (1, "linear", "mean_squared_error")),
    (1, "sigmoid", "mae", NUMBERS, (1, "linear", "mean_absolute_error")),
    (1, "softmax", "binary_crossentropy", NUMBERS, (1, "linear", "mean_squared_error")),
    (1, "sigmoid", "binary_crossentropy", LABELS, None),
    (2, "softmax", SPARSE, LABELS, None),
    (3, "softmax", "categorical_crossentropy", ONE_HOT, None),
    (3, "sigmoid", "binary_crossentropy", ONE_HOT, None),
    (3, None, keras.losses.SparseCategoricalCrossentropy(from_logits=True), THREE, None),
    (1, None, "huber", NUMBERS, None),
    (1, "softplus", "poisson", np.abs(NUMBERS), None),
    (1, "relu", "poisson", np.floor(np.abs(NUMBERS)), (1, "exponential", "poisson")),
    (1, None, "poisson", np.abs(NUMBERS), (1, "exponential", "poisson")),
]  # fmt: skip


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "case",
    OUTPUTS,
    ids=[
        f"{u}-{a}-{loss if isinstance(loss, str) else 'logits'}-{i}"
        for i, (u, a, loss, _, _) in enumerate(OUTPUTS)
    ],
)
def test_the_output_is_repaired_to_fit_the_targets(case: Any):
    units, activation, loss, y, expected = case
    ill = subject(dense(1, units=units, output=activation), y=y, loss=loss, metrics=())
    treated = REMEDIES["repair-output"].apply(ill, finding())
    if expected is None:
        assert treated is None
        _no_complaint(ill)
        return
    assert treated is not None
    (output,) = treated.facts[1]
    assert output.loss is not None
    assert not output.loss.from_logits
    assert (output.units, output.activation, output.loss.name) == expected
    _no_complaint(treated)
    history = kilter.fit(treated.copy(), **treated.fit_arguments(1))
    assert np.isfinite(history.history["loss"]).all()
    hidden, was = _layer(treated.model, "hidden_0"), _layer(ill.model, "hidden_0")
    assert np.array_equal(hidden.kernel, was.kernel)


def _no_complaint(one: Subject) -> None:
    seen: Any = SimpleNamespace(outputs=one.facts[1])  # all that these checks look at
    assert not [*check_output(seen), *check_targets(seen)]


def test_a_rare_pixel_and_a_constant_one_are_standardised_to_bounded_numbers():
    x = np.zeros((1000, 3), dtype="float32")
    x[7, 0] = 255.0
    x[:, 1] = np.random.default_rng(0).normal(size=1000) * 30 + 100
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    treated = REMEDIES["standardize-inputs"].apply(subject(model, x, x[:, 1], loss="mse"), finding())
    assert treated is not None
    unseen = np.asarray([[255.0, 100.0, 255.0]], dtype="float32")
    assert np.abs(np.asarray(treated.model.layers[0](unseen))).max() <= 20.1


def test_of_several_outputs_those_that_cannot_learn_are_repaired():
    inputs = keras.Input((6,))
    value = layers.Dense(8, "relu")(inputs)
    ends = [layers.Dense(1, "sigmoid", name="hours")(value), layers.Dense(1, "sigmoid", name="large")(value)]
    came = subject(
        keras.Model(inputs, ends), y=[NUMBERS + 5, LABELS], loss=["mse", "binary_crossentropy"], metrics=()
    )
    treated = REMEDIES["repair-output"].apply(came, finding())
    assert treated is not None
    assert [one.activation for one in treated.facts[1]] == ["linear", "sigmoid"]
    weights = treated.model._compile_config.config["loss_weights"]  # type: ignore[attr-defined]
    assert weights[0] != 1 == weights[1]
    assert [one.loss.name for one in treated.facts[1]] == ["mean_squared_error", "binary_crossentropy"]
    assert REMEDIES["repair-output"].apply(treated, finding()) is None


def test_of_several_outputs_those_of_amounts_are_scaled():
    came = two_outputs(900.0)
    treated = REMEDIES["rescale-outputs"].apply(came, finding())
    assert treated is not None
    assert _kinds(treated.model).count("Normalization") == 1
    assert np.std(treated.model.predict(X, verbose=0)[0]) > 50
    amount, large = treated.model._compile_config.config["loss_weights"]  # type: ignore[attr-defined]
    assert amount < 1e-3
    assert large == 1
    assert REMEDIES["rescale-outputs"].apply(treated, finding()) is None


@pytest.mark.parametrize("code", ["unscaled-inputs", "scaled-twice"])
def test_scaling_that_does_not_fit_gives_way_to_standardisation(code: str):
    twice = [layers.Normalization(mean=0.5, variance=9.0)] if code == "scaled-twice" else []
    model = keras.Sequential(
        [keras.Input((6,)), *twice, layers.Rescaling(1 / 255), layers.Dense(1, "sigmoid")]
    )
    treated = REMEDIES["standardize-inputs"].apply(subject(model, RAW), replace(finding(), code=code))
    assert treated is not None
    assert _kinds(treated.model) == ["Normalization", "Dense"]
    assert _standardized(treated)


def test_columns_beside_ids_are_standardised_and_the_ids_are_not():
    rows, ids = keras.Input((6,)), keras.Input((1,), dtype="int32")
    both = layers.Concatenate()([rows, layers.Flatten()(layers.Embedding(9, 3)(ids))])
    model = keras.Model([rows, ids], layers.Dense(1, "sigmoid")(both))
    came = subject(model, [RAW, np.arange(len(RAW), dtype="int32")[:, None] % 9])
    for treated in (REMEDIES["standardize-inputs"].apply(came, finding()), sound_sibling(came)):
        assert treated is not None
        assert "standardize-inputs" in treated.remedies
        scaled = [one for one in treated.model.layers if isinstance(one, layers.Normalization)]
        (mean,) = [np.asarray(one.mean).ravel() for one in scaled]
        np.testing.assert_allclose(mean, RAW.mean(axis=0), rtol=1e-4)


def test_a_finding_of_one_layer_draws_all_that_were_not_trained():
    small = keras.initializers.RandomNormal(stddev=0.01, seed=1)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            *[layers.Dense(32, activation="relu", kernel_initializer=small) for _ in range(3)],
        ]
    )
    trained = np.random.default_rng(0).normal(size=(32, 32)).astype("float32")
    model.layers[1].kernel.assign(trained)
    came = subject(model)
    paths = [one.path for one in came.layers]
    treated = REMEDIES["reinitialize-paired"].apply(came, finding(paths[0]))
    assert treated is not None
    kernels = [np.asarray(layer.kernel) for layer in treated.model.layers]
    assert kernels[0].std() == pytest.approx(np.sqrt(2 / 6), rel=0.3)
    assert kernels[2].std() == pytest.approx(np.sqrt(2 / 32), rel=0.3)
    np.testing.assert_array_equal(kernels[1], trained)
    assert treated.changes[0].where == (paths[0], paths[2])


@pytest.mark.parametrize("code", ["focal-loss", "dice-loss"])
def test_masks_of_class_numbers_get_losses_of_class_numbers(code: str):
    ends = keras.layers.Conv2D(2, 1, activation="softmax")
    model = keras.Sequential([keras.Input((8, 8, 1)), ends])
    numbers = MASKS[..., 0].astype("int32")
    ill = subject(model, PICTURES, numbers, loss="sparse_categorical_crossentropy", metrics=())
    treated = REMEDIES[code].apply(ill, finding())
    assert treated is not None
    assert "kilter.nn.Sparse" in treated.changes[0].snippet
    kilter.fit(treated.copy(), PICTURES, numbers, epochs=1, verbose=0)


def test_penalties_that_outweigh_the_loss_are_all_eased():
    """A small one of an output may be large in total; one on a kernel becomes L2 of 1e-4."""
    members = (
        layers.Dense(6, activity_regularizer="l1", kernel_regularizer="l2"),
        layers.Dense(1, "sigmoid"),
    )
    given = subject(keras.Sequential([keras.Input((6,)), *members]))
    assert REMEDIES["ease-regularization"].apply(given, finding()) is None
    asked = replace(finding(), code="penalty-outweighs-loss")
    treated = REMEDIES["ease-regularization"].apply(given, asked)
    assert treated is not None
    hidden = treated.model.layers[0]
    assert hidden.activity_regularizer is None
    assert float(hidden.kernel_regularizer.l2) == pytest.approx(1e-4)


def test_ids_that_no_table_can_hold_are_left_as_they_are():
    """Too many rows, or more digits than float32 has."""
    given, embed = numbered(), REMEDIES["embed-ids"]
    assert embed.apply(given, finding()) is not None
    for factor, shift in ((1, 1e8), (1e6, 0)):
        wide = np.where([1, 1, 0], given.x.astype("float64") * factor + shift, given.x)
        held = replace(given.training, validation_data=(wide[:40], given.y[:40]))
        assert embed.apply(replace(given, x=wide, training=held), finding()) is None


def test_ids_are_embedded_once():
    embed = REMEDIES["embed-ids"]
    treated = embed.apply(numbered(), finding())
    assert treated is not None
    assert embed.apply(treated, finding()) is None


@pytest.mark.parametrize("config", [{"dropout": True}, {"rate": 16_000}, {"rate": 2.0}, {"units": 3}])
def test_what_is_no_rate_of_dropout_is_not_eased(config: dict[str, Any]):
    """Keys of custom layers may have these names."""
    assert Easing().eased(config) == config
