"""Stages: which weights move and by how much, against closed forms; and what is refused before any does."""

import pytest

from . import models  # first: it chooses Keras's backend

# isort: split
import jax
import keras
import numpy as np

import kilter
from kilter._transfer.depth import RULES, depth_groups, depths, many_rates, one_rate
from kilter.errors import DataError, KilterError, ModelError, OptionError
from kilter.recipe.fine_tune import BY_DEPTH

layers = keras.layers
Stage = kilter.Stage
Y = np.arange(6) % 2


def student(keep=2):
    return kilter.reuse(models.stack(), keep=keep, head=2)


def values(model):
    return {v.path: np.array(v) for v in model.weights}


def moved(before, model):
    after = values(model)
    return {path.split("/")[-2] for path in after if not np.array_equal(after[path], before[path])}


def tune(model, stages, **options):
    return kilter.fine_tune(model, models.rows(), Y, stages=stages, verbose=0, **options)


@pytest.mark.parametrize(
    ("train", "layers_moved"),
    [
        ("head", {"head"}),
        (1, {"head"}),
        (2, {"head", "dense"}),
        ("all", {"head", "dense", "conv", "norm"}),
        (3, {"head", "dense", "conv", "norm"}),
        (["conv"], {"conv"}),
        (["norm", "head"], {"norm", "head"}),
    ],
)
def test_a_stage_moves_its_layers_and_no_bit_of_the_others(train, layers_moved):
    model = student()
    before = values(model)
    tune(model, [Stage(2, train, learning_rate=0.1)])
    assert moved(before, model) == layers_moved


def test_the_layers_of_nested_models_are_told_apart():
    model = kilter.reuse(models.nested(), keep=2, head=2)
    before = values(model)
    kilter.fine_tune(model, models.rows((6,)), Y, stages=[Stage(1, ["inner/two"], 0.1)], verbose=0)
    changed = [path for path, value in values(model).items() if not np.array_equal(value, before[path])]
    assert {path.split("/")[-2] for path in changed} == {"two"}
    kilter.fine_tune(model, models.rows((6,)), Y, stages=[Stage(1, ["inner"], 0.1)], verbose=0)
    assert [layer.trainable for layer in model.get_layer("inner").layers if layer.weights] == [True, True]


def test_frozen_batch_normalisations_stay_in_inference_mode_throughout():
    model = student()
    before = values(model)
    tune(model, [Stage(1, "head"), Stage(1, learning_rate=0.1)], freeze_batch_norm=True)
    assert moved(before, model) == {"head", "dense", "conv"}


def test_batch_normalisation_of_the_head_is_the_head_s():
    head = [layers.Dense(4), layers.BatchNormalization(name="own"), layers.Dense(2)]
    model = kilter.reuse(models.stack(), keep=2, head=head)
    before = values(model)
    tune(model, [Stage(1, "head", 0.1)], freeze_batch_norm=True)
    assert "own" in moved(before, model)


def gradients(model):
    """The gradient of the mean cross-entropy of all rows, by JAX, for each variable by its path."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    fixed = [v.value for v in model.non_trainable_variables]

    def mean_loss(trainable):
        answer, _ = model.stateless_call(trainable, fixed, models.rows(), training=False)
        return loss(Y, answer)

    found = jax.grad(mean_loss)([v.value for v in model.trainable_variables])
    return {v.path: np.asarray(g) for v, g in zip(model.trainable_variables, found, strict=True)}


def test_one_step_of_sgd_is_the_gradient_times_the_rate_of_its_depth():
    """w' = w - rate / decay^depth * gradient, with frozen statistics and no dropout."""
    model = student()
    model.get_layer("dropout").rate = 0.0
    for layer in model.layers:
        layer.trainable = layer.name != "norm"
    found, before, deep = gradients(model), values(model), depths(model)
    assert {path.split("/")[-2]: depth for path, depth in deep.items()} == {
        "conv": 2,
        "norm": 2,
        "dense": 1,
        "head": 0,
    }
    tune(model, [Stage(1, ["conv", "dense", "head"], 0.5, decay=3.0, optimizer="sgd")], batch_size=6)
    for path, gradient in found.items():
        expected = before[path] - 0.5 / 3.0 ** deep[path] * gradient
        np.testing.assert_allclose(values(model)[path], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_with_one_rate_is_keras_s_optimizer(name):
    """With decay 1 it must be the optimiser of that name."""
    rng = np.random.default_rng(0)
    start, steps = rng.normal(size=5).astype("float32"), rng.normal(size=(4, 5)).astype("float32")
    ours, theirs = keras.Variable(start, name="a"), keras.Variable(start, name="b")
    by_depth = many_rates(name, 0.01, 1.0, {ours.path: 3}, [ours])
    plain = one_rate(name, 0.01)
    for gradient in steps:
        by_depth.apply([keras.ops.convert_to_tensor(gradient)], [ours])
        plain.apply([keras.ops.convert_to_tensor(gradient)], [theirs])
    np.testing.assert_allclose(np.asarray(ours) - start, np.asarray(theirs) - start, rtol=2e-4)


def test_recipes_name_the_rules_there_are():
    assert set(BY_DEPTH) == set(RULES)


def test_groups_hold_a_layer_and_what_belongs_to_it():
    names = [[layer.name for layer in group] for group in depth_groups(models.stack())]
    assert names == [["conv", "norm"], ["dense"], ["output"]]
    names = [[layer.name for layer in group] for group in depth_groups(models.repeated())]
    assert names == [["again"], ["output"]]


def test_epochs_are_counted_through_and_the_stages_told():
    model = student()
    rows = (models.rows(seed=2), Y)
    found = tune(
        model,
        [Stage(2, "head"), *Stage.gradual(2), Stage(3, schedule="cosine")],
        validation_data=rows,
    )
    assert found.epoch == list(range(7))
    assert found.stages == [0, 0, 1, 2, 3, 3, 3]
    assert {len(column) for column in found.history.values()} == {7}
    rates = found.history["learning_rate"]
    assert np.isnan(rates[:4]).all()
    assert rates[4] > rates[5] > rates[6] > 0
    figure = found.plot()
    assert [note.text for note in figure.layout.annotations] == ["stage 2", "stage 3", "stage 4"]
    assert [shape.x0 for shape in figure.layout.shapes] == [1.5, 2.5, 3.5]


def test_the_default_stages():
    found = tune(student(), None, validation_split=0.34)
    assert found.stages[:5] == [0] * 5
    assert set(found.stages[5:]) == {1}
    assert "val_accuracy" in found.history


def test_patience_ends_a_stage_with_its_best_weights_and_the_next_goes_on():
    model = student()
    wrong = (models.rows(), 1 - Y)  # what is learnt makes this loss rise
    found = tune(model, [Stage(20, "head", 0.5, patience=1), Stage(1, "head", 1e-9)], validation_data=wrong)
    first = [
        value for value, stage in zip(found.history["val_loss"], found.stages, strict=True) if stage == 0
    ]
    assert len(first) < 20
    assert found.stages[-1] == 1
    assert found.history["val_loss"][-1] == pytest.approx(min(first), rel=1e-4)


def test_a_callback_that_stops_stops_all():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True  # type: ignore[union-attr]

    assert tune(student(), [Stage(3, "head"), Stage(3)], callbacks=Stop()).epoch == [0]


def test_the_same_seed_gives_the_same_bits():
    source = models.stack()

    def run():
        model = kilter.reuse(source, keep="relu", head=2, seed=4)
        tune(model, [Stage(2, "head"), Stage(2, decay=2.0, optimizer="adamw")], batch_size=4, seed=3)
        return [np.asarray(v).tobytes() for v in model.weights]

    assert run() == run()


MULTI = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 1]])
CLASSES = np.arange(6) % 3
SPARSE, ONE_HOT, BINARY = "sparse_categorical", "categorical", "binary"

# Name: the units of the head, its activation, the targets, and the cross-entropy; None for squared errors.
LOSSES = {
    "labels": (2, None, Y, SPARSE),
    "labels as floats": (3, None, CLASSES.astype("float32"), SPARSE),
    "labels in a column": (3, None, CLASSES[:, None], SPARSE),
    "labels for a softmax": (3, "softmax", CLASSES, SPARSE),
    "two classes, one output": (1, None, Y, BINARY),
    "two classes as floats, one sigmoid": (1, "sigmoid", Y.astype("float32"), BINARY),
    "two classes as bools in a column": (1, None, Y[:, None] > 0, BINARY),
    "one-hot rows": (2, None, np.eye(2)[Y], ONE_HOT),
    "one-hot rows of ints, softmax": (3, "softmax", np.eye(3, dtype=int)[CLASSES], ONE_HOT),
    "one-hot rows for a sigmoid": (3, "sigmoid", np.eye(3)[CLASSES], BINARY),
    "several labels": (3, None, MULTI, BINARY),
    "several labels as floats, sigmoid": (3, "sigmoid", MULTI.astype("float32"), BINARY),
    "several labels as bools": (3, None, MULTI > 0, BINARY),
    "numbers": (1, None, np.linspace(0, 1, 6), None),
    "columns of numbers": (3, None, np.linspace(0, 1, 18).reshape(6, 3), None),
    "counts": (1, None, np.arange(6), None),
    "counts as floats": (1, None, np.arange(6.0), None),
}


@pytest.mark.parametrize("case", LOSSES)
def test_the_loss_fits_the_targets(case):
    outputs, activation, y, kind = LOSSES[case]
    head = layers.Dense(outputs, activation=activation)
    model = kilter.reuse(models.stack(), keep=2, head=head)
    history = kilter.fine_tune(model, models.rows(), y, stages=[Stage(1, "head")], verbose=0).history
    loss = model._compile_config.config["loss"]
    assert loss.name == (f"{kind}_crossentropy" if kind else "mean_squared_error")
    assert ("accuracy" in history) == bool(kind)
    if kind:
        assert loss.get_config()["from_logits"] == (activation is None)


def test_names_of_classes_as_targets_are_refused():
    names = np.array(["cat", "dog"])[Y]
    model = student()
    with pytest.raises(DataError, match=r"'cat'.*np.unique\(y, return_inverse=True\)"):
        kilter.fine_tune(model, models.rows(), names, stages=[Stage(1)], verbose=0)


def test_the_model_s_own_loss_and_metrics_are_kept_and_a_given_loss_goes_before_them():
    model = student()
    model.compile("sgd", loss="mae", metrics=["mse"])
    y = np.ones((6, 2), "float32")
    found = kilter.fine_tune(model, models.rows(), y, stages=[Stage(1), Stage(1)], verbose=0)
    assert set(found.history) == {"loss", "mse"}
    found = kilter.fine_tune(model, models.rows(), y, stages=[Stage(1)], loss="mse", verbose=0)
    assert set(found.history) == {"loss"}


def test_any_model_can_be_fine_tuned():
    model = models.Own()
    model(models.rows((6,)))
    options = {"loss": "mse", "verbose": 0}
    kilter.fine_tune(model, models.rows((6,)), np.ones((6, 3)), stages=[Stage(1, "head")], **options)
    assert model.trainable_variables


def frozen():
    model = student()
    model.trainable = False
    return model


BAD_STAGES = {
    "no epochs": {"epochs": 0},
    "no rate": {"epochs": 1, "learning_rate": 0.0},
    "a rate of no end": {"epochs": 1, "learning_rate": float("inf")},
    "a rate in words": {"epochs": 1, "learning_rate": "1e-3"},
    "rates that rise downward": {"epochs": 1, "decay": 0.5},
    "no optimizer": {"epochs": 1, "optimizer": "adem"},
    "an optimizer object": {"epochs": 1, "optimizer": 3},
    "no rule": {"epochs": 1, "optimizer": "lamb", "decay": 2.0},
    "no schedule": {"epochs": 1, "schedule": "linear"},
    "no patience": {"epochs": 1, "patience": 0},
}


@pytest.mark.parametrize("case", BAD_STAGES)
def test_a_stage_that_makes_no_sense(case):
    with pytest.raises(OptionError) as caught:
        Stage(**BAD_STAGES[case])
    name = list(BAD_STAGES[case])[-1]
    assert f"{name if case != 'no rule' else 'optimizer'}=" in str(caught.value)


BAD = {
    "everything frozen": (frozen, [Stage(1, "head")], "every layer is frozen"),
    "no stages": (student, [], "a list of kilter.Stage"),
    "words for stages": (student, ["head"], "a list of kilter.Stage"),
    "a stage alone": (student, Stage(1), "a list of kilter.Stage"),
    "too many layers": (student, [Stage(1), Stage(1, 4)], "train from 1 to 3"),
    "no layers": (student, [Stage(1, 0)], "train from 1 to 3"),
    "an unknown word": (student, [Stage(1, "top")], "train='top'"),
    "an unknown name": (student, [Stage(1, ["dence"])], "did you mean 'dense'?"),
    "a layer without weights": (student, [Stage(1, ["relu"])], "names of layers with weights"),
    "patience without validation": (student, [Stage(1, patience=2)], "validation data"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_stages_are_named_before_any_trains(case):
    make, stages, says = BAD[case]
    model = make()
    before = values(model)
    with pytest.raises(OptionError) as caught:
        tune(model, stages)
    assert says in str(caught.value)
    assert moved(before, model) == set()
    assert not model.compiled


def test_what_else_does_not_fit_is_named():
    with pytest.raises(ModelError, match="not built"):
        tune(keras.Sequential([layers.Flatten(), layers.Dense(2)]), [Stage(1)])
    with pytest.raises(ModelError, match="one output of shape"):
        kilter.fine_tune(student(), models.rows(), np.linspace(0, 1, 6), verbose=0)
    with pytest.raises(OptionError, match=r"a loss, for targets"):
        kilter.fine_tune(student(), [(models.rows(), Y)], verbose=0)
    with pytest.raises(KilterError):
        kilter.fine_tune(student(), models.rows(), Y + 5, verbose=0)
    with pytest.raises(KilterError, match="x of shape"):
        kilter.fine_tune(student(), models.rows((5, 5, 3)), Y, verbose=0)
