"""Severity follows from the outcome: what falls short of a sound sibling, and what only looks wrong."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tests.diagnosis.programs import blobs, dense, one_hot, program

import kilter
from kilter._diagnosis import planned_trial
from kilter._diagnosis.diagnose import Asked, examined, read_context
from kilter._diagnosis.learnable import Learnable, learnable
from kilter._diagnosis.outcome import Outcome, skill_of
from kilter._diagnosis.planned_trial import Run, most_harmful, unaugmented
from kilter._diagnosis.severity import weighed
from kilter._diagnosis.sibling import sibling
from kilter._diagnosis.skill import features, row_skill
from kilter._engine.training_spec import TrainingSpec
from kilter._models.layers import LossFacts, OutputFacts
from kilter._progress import SILENT
from kilter._records import Finding

layers = keras.layers
SGD = keras.optimizers.SGD
X, Y = blobs()


@pytest.fixture(autouse=True)
def same_weights():
    keras.utils.set_random_seed(0)


def diagnosed(case, epochs: int = 60):
    return kilter.diagnose(case.model, case.x, case.y, epochs=epochs, steps=16, verbose=0)


def attention() -> keras.Model:
    """A transformer in Keras's own defaults."""
    inputs = keras.Input((6,), dtype="int32")
    value = layers.Embedding(20, 8)(inputs)
    value = layers.LayerNormalization()(value + layers.MultiHeadAttention(2, 4)(value, value))
    value = layers.LayerNormalization()(value + layers.Dense(8)(layers.Dense(16, "relu")(value)))
    return keras.Model(inputs, layers.Dense(2, "softmax")(layers.GlobalAveragePooling1D()(value)))


def tokens() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).integers(1, 20, (300, 6))
    return x, ((x < 8).sum(1) > 2).astype("int64")


# A program, and what is severe of it: all of these, or nothing.
OUTCOMES = {
    "sound": (lambda: program(), ()),
    "a rate too low": (lambda: program(optimizer=SGD(1e-5)), ("learning-rate-range", "falls-short")),
    "a rate too high": (lambda: program(optimizer=SGD(1e3)), ("falls-short",)),
    "identical units": (
        lambda: program(dense(init="zeros")),
        ("constant-initializer", "falls-short"),
    ),
    "a sigmoid under a categorical cross-entropy that learns": (
        lambda: program(dense(output="sigmoid"), "categorical_crossentropy", data=(X, one_hot(Y))),
        (),
    ),
    "raw inputs that do no harm": (lambda: program(data=(blobs()[0] * 5, blobs()[1])), ()),
    "a transformer": (lambda: program(attention(), data=tokens()), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTCOMES)
def test_severe_is_what_falls_short(name: str):
    make, severe = OUTCOMES[name]
    case = make()
    before = [np.array(one) for one in case.model.variables]
    found = diagnosed(case)
    assert set(severe) <= set(found.codes("severe")), found.codes()
    assert found.ok == (not severe), [(one.code, one.explanation) for one in found.findings]
    assert all(np.array_equal(one, other) for one, other in zip(before, case.model.variables, strict=True))
    if name == "a transformer":
        assert not {"linear-hidden", "unpaired-initializer"} & set(found.codes())


def test_a_shortfall_names_its_cause_and_comes_after_it():
    found = diagnosed(program(optimizer=SGD(1e-5)))
    (short,) = [one for one in found.findings if one.code == "falls-short"]
    assert short.explained_by in found.codes("severe")
    assert found.codes("severe").index(short.explained_by) < found.codes("severe").index("falls-short")


def noisy_numbers():
    """Noise on which the training diverges: it falls behind baselines that learn nothing themselves."""
    random = np.random.default_rng(24)
    x, y = random.normal(size=(80, 5)), 50 * random.normal(size=(80, 1))
    return program(dense(1, units=16, outputs=1, output=None, features=5), "mse", SGD(0.5), (x, y))


def shuffled_classes():
    return program(data=(X, np.random.default_rng(1).permutation(Y)))


@pytest.mark.parametrize("make", [shuffled_classes, noisy_numbers])
def test_on_noise_the_labels_are_named_and_nothing_else_is_severe(make):
    assert diagnosed(make()).codes("severe") == ("shuffled-labels",)


def test_several_labels_a_row_are_measured_one_by_one():
    """Under a categorical loss too; one-hot rows are classes."""
    case = program(dense(outputs=4), "categorical_crossentropy", data=(X, np.float32(X[:, :4] > 0)))
    output = read_context(case.model, case.x, case.y, TrainingSpec()).outputs[0]
    several = np.tile(np.float32([[1, 1, 0, 0], [0, 0, 1, 1]]), (20, 1))
    first = np.tile(np.float32([[0.9, 0.1, 0, 0], [0, 0, 0.9, 0.1]]), (20, 1))
    for targets, wanted in ((several, 0.5), (np.round(first), 1.0)):
        skill = row_skill(output, first, targets)
        assert skill is not None
        assert np.isclose(skill.mean(), wanted)


def test_the_sibling_of_a_softmax_for_several_labels_has_sigmoids():
    case = program(dense(outputs=4), "binary_crossentropy", data=(X, np.float32(X[:, :4] > 0)))
    made = sibling(read_context(case.model, case.x, case.y, TrainingSpec()), 0)
    assert made.layers[-1].activation is keras.activations.sigmoid


def test_ids_count_in_the_same_columns_whichever_rows_are_asked_for():
    x, y = tokens()
    model = attention()
    model.compile("adam", "sparse_categorical_crossentropy")
    context = read_context(model, x, y, TrainingSpec())
    whole = features(context, x)
    assert whole is not None
    np.testing.assert_array_equal(features(context, x[40:60]), whole[40:60])


def test_the_same_call_gives_the_same_diagnosis():
    case = program(optimizer=SGD(1e-3))
    assert diagnosed(case) == diagnosed(case)


def told(x: np.ndarray, y: np.ndarray, seed: int = 0):
    model = keras.Sequential([keras.Input(x.shape[1:]), layers.Flatten(), layers.Dense(int(y.max()) + 1)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return learnable(read_context(model, x, y, TrainingSpec()), seed)


def test_what_can_be_learnt_is_told_from_noise():
    random = np.random.default_rng(0)
    flat = random.normal(size=(300, 4)).astype("float32")
    ring = (np.square(flat[:, :2]).sum(1) > 1.4).astype("int64")
    crossed = ((flat[:, 0] > 0) ^ (flat[:, 1] > 0)).astype("int64")
    for y in ((flat[:, 0] > 0).astype("int64"), ring, crossed):
        assert told(flat, y).learnable is True
    ids = random.integers(0, 30, (300, 2)).astype("float32")
    named = (random.normal(size=30)[ids.astype(int)].sum(axis=1) > 0).astype("int64")
    assert told(ids, named).learnable is True
    # An exact test rejects noise as often as its level says: 5 of 100 at 0.05.
    wrong = [told(flat, random.permutation(ring), seed).p <= 0.05 for seed in range(12)]
    assert sum(wrong) <= 3


@pytest.mark.parametrize(
    ("best", "rising", "steps", "weak"),
    [
        (0.25, 0.0, 90, True),  # such as classes of which three in four are wrong
        (0.25, 0.1, 90, False),  # it still improves
        (0.25, 0.0, 30, False),  # not yet tried in full
        (0.6, 0.0, 90, False),
        (0.0, 0.0, 90, False),  # nothing learns anything: the permutation test decides
    ],
)
def test_targets_that_nothing_predicts_well_are_pointed_out(
    best: float, rising: float, steps: int, weak: bool
):
    case = program()
    context = read_context(case.model, case.x, case.y, TrainingSpec())
    outcome = Outcome(90, steps, best, best, sibling=best, rising=rising, baseline=best - 0.05)
    found = {one.code: one.severity for one in weighed([], context, outcome)}
    assert found.get("weak-relation") == ("note" if weak else None)


@pytest.mark.parametrize(
    ("code", "reached", "learns", "severe"),
    [
        ("validation-scale", 0.8, True, False),  # a split by site or time to which the network carries over
        ("validation-scale", 0.3, True, True),
        ("validation-class-order", 0.8, True, True),
        ("receptive-field", 0.4, True, True),  # the sibling has it too
        ("receptive-field", 0.95, True, False),
        ("targets-loss", 0.0, False, True),  # what hides a relation is named, not the labels
        ("missing-positions", 0.0, False, True),  # simple learners do not see the order either
        ("unscaled-inputs", 0.0, False, False),
    ],
)
def test_severity_from_what_was_reached(code: str, reached: float, learns: bool, severe: bool):
    case = program()
    context = read_context(case.model, case.x, case.y, TrainingSpec())
    tested = None if learns else Learnable(False, 0.6, "nothing")
    outcome = Outcome(90, 90, reached, reached, sibling=reached, learnable=tested)
    given = Finding(code, "severe", ("data",), (), "", (), "")
    found = {one.code: one.severity for one in weighed([given], context, outcome)}
    assert (found[code] == "severe") is severe
    assert ("shuffled-labels" in found) is (not learns and not severe)


def test_an_augmentation_is_the_cause_where_training_without_it_ends_ahead():
    case = program()
    context = read_context(case.model, case.x, case.y, TrainingSpec())
    labels = Finding("shuffled-labels", "warning", ("targets",), (), "", (), "")
    rest: Any = {"sibling": 0.35, "plain": 0.8, "harmful": ("flip",)}
    found = {one.code: one for one in weighed([labels], context, Outcome(90, 90, 0.3, 0.3, **rest))}
    assert [*found] == ["augmentation-harms", "falls-short"]  # others learn from these labels
    assert found["augmentation-harms"].where == ("flip",)
    assert found["falls-short"].explained_by == "augmentation-harms"
    sound = weighed([], context, Outcome(90, 90, 0.7, 0.7, **rest | {"sibling": 0.75}))
    assert "augmentation-harms" not in [one.code for one in sound]


def test_the_augmentation_that_costs_most_is_named():
    stack = [layers.RandomFlip("horizontal", name="flip"), layers.RandomContrast(1e-6, name="contrast")]
    model = keras.Sequential([keras.Input((4, 4, 1)), *stack, layers.Flatten(), layers.Dense(1)])
    x = np.tile(np.arange(4, dtype="float32")[:, None], (8, 4, 1, 1))
    case = program(model, "mse", data=(x, np.zeros(8)))
    context = read_context(case.model, case.x, case.y, TrainingSpec())
    assert most_harmful(context, x, lambda given: float((given[:, :, 0] == 0).mean())) == ("flip",)
    bare = unaugmented(context)
    assert [type(one).__name__ for one in bare.layers] == ["Flatten", "Dense"]


@pytest.mark.parametrize("units", [1, 2])
def test_a_rare_class_is_judged_by_its_ranking_too(units: int):
    random = np.random.default_rng(0)
    rare = (np.arange(300) % 15 == 0).astype("int64")
    share = np.clip(0.2 * rare + random.normal(0.2, 0.05, 300), 0, 0.49)[:, None]  # none above one half
    given = share if units == 1 else np.concatenate([1 - share, share], axis=1)
    loss = LossFacts("binary_crossentropy" if units == 1 else "sparse_categorical_crossentropy")
    output = OutputFacts("last", "sigmoid" if units == 1 else "softmax", units, (300, units), loss, rare)
    rows = row_skill(output, given, rare)
    assert rows is not None
    assert rows.mean() == pytest.approx((0 + 2 * roc_auc_score(rare, share) - 1) / 2)


def test_distances_of_a_loss_of_ones_own_are_cut_where_they_tell_most():
    random = np.random.default_rng(0)
    matching = random.random(300) < 0.5
    distance = np.where(matching, 0.1, 0.9) + random.normal(0, 0.1, 300)
    own = OutputFacts("last", None, 1, (300, 1), LossFacts(None), matching)
    known = OutputFacts("last", "sigmoid", 1, (300, 1), LossFacts("binary_crossentropy"), matching)
    targets = matching.astype("int64")
    assert row_skill(own, distance[:, None], targets).mean() > 0.95
    assert row_skill(known, distance[:, None], targets).mean() < 0  # a probability means what it says
    assert abs(row_skill(own, random.random((300, 1)), targets).mean()) < 0.25


@pytest.mark.parametrize("name", [None, "mean_squared_error"])
def test_a_quantile_is_not_blamed_for_being_no_mean(name: str | None):
    output = OutputFacts("last", None, 1, (200, 1), LossFacts(name), None)
    wanted = np.random.default_rng(0).normal(size=(200, 1))
    shifted = row_skill(output, wanted + 3, wanted)
    assert shifted is not None
    assert shifted.mean() == pytest.approx(1.0 if name is None else -3.0, abs=0.5)


def test_a_training_of_the_caller_stands_for_the_trial_if_it_can_be_trained():
    case, calls = program(), list[int]()
    other = dense()  # what the caller's training ends with: it scores otherwise than a trial of the program
    held = (X[:100], Y[:100])

    def known(model: Any) -> Outcome | None:
        def trained() -> Any:
            calls.append(1)
            return model

        spec = TrainingSpec(epochs=1, validation_data=held)
        found = examined(case.model, X, Y, spec, SILENT, Asked(steps=2, trained=trained))
        if found.outcome is not None and found.rows is not None:
            assert found.outcome.reached == pytest.approx(skill_of(found.rows, other))
            assert found.outcome.is_whole
        return found.outcome

    assert known(other) is not None
    assert known(None) is None
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("reached", "steps"),
    [
        (0.0, [10]),  # the sibling is far ahead after a quarter of the plan
        (0.85, [10]),  # level with it, so the rest of the plan would not take it far enough ahead
        (0.7, [10, 32]),  # that is open
    ],
)
def test_a_long_training_of_the_caller_is_held_against_a_quarter_of_it_first(
    reached: float, steps: list[int], monkeypatch
):
    runs, rows = list[int](), np.full(100, reached)
    monkeypatch.setattr(planned_trial, "_LEAST_STEPS", 10)
    monkeypatch.setattr(planned_trial, "_MOST_STEPS", 32)
    monkeypatch.setattr(planned_trial, "row_skills", lambda *_: rows)
    monkeypatch.setattr("kilter._diagnosis.outcome.baseline", lambda *_: 0.5)

    def run(trial: Any, model: Any, **_: Any) -> Run:
        runs.append(trial.steps)
        return Run(np.full(100, 0.8), 0.8, trial.steps)

    monkeypatch.setattr(planned_trial.PlannedTrial, "run", run)
    case = program()
    spec = TrainingSpec(epochs=4, validation_data=(X[:100], Y[:100]), batch_size=40)  # 40 steps
    found = examined(case.model, X, Y, spec, SILENT, Asked(steps=2, trained=lambda: case.model)).outcome
    assert found is not None
    assert runs[: len(steps)] == steps
    assert (found.given, found.steps, found.reached) == (40, steps[-1], found.expected)


def normalised(momentum: float, optimizer: Any, *, masks: bool) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """A network with batch normalisation on pictures with a bright disc; its classes, or its mask."""
    r = np.random.default_rng(0)
    rows, columns = np.mgrid[:12, :12]
    middle = r.integers(3, 9, (160, 2, 1, 1))
    disc = ((rows - middle[:, 0]) ** 2 + (columns - middle[:, 1]) ** 2 < 9)[..., None]
    x = (0.5 + 0.2 * disc + r.normal(0, 0.04, disc.shape)).astype("float32")
    y = disc.astype("float32") if masks else (middle[:, 0, 0, 0] > 5).astype("int64")

    def block(value: Any, filters: int) -> Any:
        value = layers.Conv2D(filters, 3, padding="same", use_bias=False)(value)
        return layers.Activation("relu")(layers.BatchNormalization(momentum=momentum)(value))

    inputs = keras.Input((12, 12, 1))
    high = block(block(inputs, 8), 8)
    low = block(block(layers.MaxPooling2D()(high), 16), 16)
    if masks:
        value = block(layers.Concatenate()([layers.UpSampling2D()(low), high]), 8)
        model = keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(value))
    else:
        model = keras.Model(inputs, layers.Dense(2, "softmax")(layers.Flatten()(low)))
    model.compile(optimizer, "binary_crossentropy" if masks else "sparse_categorical_crossentropy")
    return model, x, y


@pytest.mark.parametrize("masks", [True, False], ids=["U-Net", "convolutions"])
def test_averages_that_lag_are_a_warning_and_a_wrong_rate_beside_them_is_severe(masks: bool):
    found = {}
    for name, optimizer in (("sound", keras.optimizers.Adam(3e-3)), ("slow", SGD(1e-6))):
        keras.utils.set_random_seed(0)
        model, x, y = normalised(0.99, optimizer, masks=masks)
        before = model.get_weights()
        found[name] = kilter.diagnose(model, x, y, epochs=4, batch_size=16, verbose=0)
        assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))
        assert {one.momentum for one in model.layers if hasattr(one, "moving_mean")} == {0.99}
    assert found["sound"].ok
    (lag,) = (one for one in found["sound"].findings if one.code == "stale-batch-norm")
    assert (lag.severity, lag.remedies) == ("warning", ("repair-batch-norm",))
    assert "falls-short" in found["slow"].codes("severe")
