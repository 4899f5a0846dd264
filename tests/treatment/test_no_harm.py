"""No output comes back worse than the given model has it: measures, tolerance, and what is returned."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score

from kilter import _backend  # noqa: F401

# isort: split
import keras
from keras import layers

import kilter
from kilter._engine.history import History
from kilter._engine.training_spec import TrainingSpec
from kilter._models.variables import pull
from kilter._treatment.full_training import AsGiven, Trained
from kilter._treatment.own_measures import kind_of, own_answers, own_measures
from kilter._treatment.policy import Policy
from kilter._treatment.request import subject_of
from kilter._treatment.safeguard import _direction, compared, measured, safest
from kilter._treatment.scoring import scoring_of
from kilter._treatment.subject import Subject

from . import faulty

RNG = np.random.default_rng(0)
ROWS = 120
SEQUENCE = RNG.integers(0, 3, (ROWS, 5))
MASK = (RNG.random((ROWS, 4, 4, 1)) > 0.7).astype("float32")
RARE = (np.arange(ROWS) % 12 == 0).astype("int32")
FEW = np.where(RARE, 2, np.arange(ROWS) % 2)
NUMBERS = RNG.normal(size=(ROWS, 2)) * [1.0, 1000.0]


def echo(outputs: Any, y: Any, loss: Any, metrics: Any = None, scale: float = 1.0) -> Subject:
    """A subject that answers ``outputs`` on its validation rows, times ``scale``."""
    outputs = keras.tree.map_structure(lambda one: np.asarray(one, "float32"), outputs)
    inputs = keras.tree.map_structure(lambda one: keras.Input(one.shape[1:]), outputs)
    answered = keras.tree.map_structure(lambda one: layers.Rescaling(scale)(one), inputs)
    model = keras.Model(inputs, answered)
    model.compile("sgd", loss, metrics=metrics)
    return Subject(model, outputs, y, TrainingSpec(epochs=1, validation_data=(outputs, y)))


def found(outputs: Any, y: Any, loss: Any) -> dict[str, float]:
    one = echo(outputs, y, loss)
    given = keras.tree.flatten(keras.tree.map_structure(np.asarray, outputs))
    judged = own_measures(own_answers(one, one, given))
    return {each.named(measure): each.value(measure) for each, measure in judged}


HALF = np.where(np.arange(ROWS) % 2, 0.9, 0.1)
ROWWISE = keras.utils.to_categorical((SEQUENCE + (np.arange(ROWS) % 4 == 0)[:, None]) % 3, 3)
NOISY = NUMBERS + np.array([0.5, 30.0])
MEASURES = {
    "classes": (
        np.stack([1 - HALF, HALF], 1), np.arange(ROWS) % 2,
        "sparse_categorical_crossentropy", {"accuracy": 1.0},
    ),
    "a rare class": (
        HALF[:, None], RARE, "binary_crossentropy",
        {
            "balanced_accuracy": balanced_accuracy_score(RARE, HALF > 0.5),
            "average_precision": average_precision_score(RARE, HALF),
        },
    ),
    "a rare class that has no output": (
        HALF[:, None], FEW, "binary_crossentropy",
        {
            "balanced_accuracy": balanced_accuracy_score(FEW, HALF > 0.5),
            "average_precision": np.mean([
                average_precision_score(one == FEW, share)
                for one, share in enumerate([1 - HALF, HALF, np.zeros(ROWS)])
            ]),
        },
    ),
    "counts": (HALF[:, None], FEW, "poisson", {"rmse": np.sqrt(np.mean((FEW - HALF) ** 2))}),
    "logits": (
        HALF[:, None] - 0.5, np.arange(ROWS) % 2,
        keras.losses.BinaryCrossentropy(from_logits=True), {"accuracy": 1.0},
    ),
    "classes of a sequence": (ROWWISE, SEQUENCE, "sparse_categorical_crossentropy", {"accuracy": 0.75}),
    "one-hot of a sequence": (
        ROWWISE, keras.utils.to_categorical(SEQUENCE, 3), "categorical_crossentropy", {"accuracy": 0.75},
    ),
    "a mask": (
        np.ones_like(MASK), MASK, "binary_crossentropy", {"pixel_accuracy": MASK.mean(), "iou": MASK.mean()},
    ),
    "a mask of bytes": (
        np.where(MASK > 0, 200.0, 90.0), 255 * MASK, "poisson", {"pixel_accuracy": 1.0, "iou": 1.0},
    ),
    "numbers": (
        NOISY, NUMBERS, "mse",
        {"rmse": np.sqrt((0.25 + 900) / 2), "rmse of column 0": 0.5, "rmse of column 1": 30.0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MEASURES)
def test_each_output_is_measured_by_what_its_targets_are(case):
    outputs, y, loss, expected = MEASURES[case]
    assert found(outputs, y, loss) == pytest.approx(expected, rel=1e-5)


def test_several_outputs_are_measured_each_by_its_name():
    outputs = {"b": HALF[:, None], "a": NOISY[:, :1]}
    y = {"b": np.arange(ROWS) % 2, "a": NUMBERS[:, :1]}
    names = found(outputs, y, {"b": "binary_crossentropy", "a": "mse"})
    assert names == pytest.approx({"rmse of a": 0.5, "accuracy of b": 1.0}, rel=1e-5)


def test_an_output_without_a_measure_of_its_own_has_the_loss():
    def distance(wanted: Any, given: Any) -> Any:
        return keras.ops.mean(keras.ops.abs(given), axis=-1)

    near, far = (echo(np.full((ROWS, 3), value), NUMBERS[:, :1], distance) for value in (0.5, 0.7))
    assert kind_of(near.facts[1][0]) is None
    elsewhere = near.with_training(validation_data=far.training.validation_data)
    (check,) = compared(
        measured(near, near, near.model),
        measured(near, elsewhere, near.model),
    )
    assert (check.measure, check.verdict) == ("loss", "worse")


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("auc", "max"), ("auc_1", "max"), ("out_f1_score", "max"), ("mean_io_u_3", "max"),
        ("recall", "max"),
        ("mean_absolute_error", "min"), ("mae", "min"), ("binary_crossentropy_2", "min"),
        ("false_negatives", None), ("mine", None),
    ],
)  # fmt: skip
def test_a_metric_is_compared_only_where_it_is_known_which_way_is_better(name, direction):
    assert _direction(name) == direction


def checks(given: Any, other: Any, y: Any, loss: Any, metrics: Any = None) -> dict[str, str]:
    first, second = (echo(outputs, y, loss, metrics) for outputs in (given, other))
    for one in (first, second):
        kilter.evaluate(one.model, one.x_val, one.y_val)
    made = compared(*(measured(first, one, one.model) for one in (first, second)))
    return {one.measure: one.verdict for one in made}


def flipped(classes: np.ndarray, rows: Any) -> np.ndarray:
    """Certain answers, right but for these rows."""
    answers = classes.astype(float).copy()
    answers[rows] = 1 - answers[rows]
    return answers[:, None]


EVEN = np.arange(ROWS) % 2
BCE = "binary_crossentropy"


def test_what_is_alike_better_and_worse():
    some, more = np.arange(5), np.arange(30)
    assert checks(flipped(EVEN, some), flipped(EVEN, some + 60), EVEN, BCE) == {"accuracy": "alike"}
    assert checks(flipped(EVEN, some), flipped(EVEN, more), EVEN, BCE) == {"accuracy": "worse"}
    assert checks(flipped(EVEN, more), flipped(EVEN, some), EVEN, BCE) == {"accuracy": "better"}


def test_a_rare_class_that_is_no_longer_answered_is_harm_though_the_accuracy_gains():
    alarms = flipped(RARE, np.arange(1, 12) * 10 + 1)  # every rare row found, with false alarms
    none = np.zeros((ROWS, 1))
    verdicts = checks(alarms, none, RARE, BCE)
    assert verdicts["balanced_accuracy"] == "worse"


def test_the_recall_of_a_constant_answer_is_not_to_be_kept():
    constant, good = np.ones((ROWS, 1)), flipped(EVEN, np.arange(1, 30, 2))
    recall = lambda: [keras.metrics.Recall(name="recall")]  # noqa: E731
    assert checks(constant, good, EVEN, BCE, recall()) == {"accuracy": "better"}
    assert checks(flipped(EVEN, [0]), good, EVEN, BCE, recall()) == {"accuracy": "worse", "recall": "worse"}


def test_answers_that_are_not_finite_are_worse_than_any():
    wrong = flipped(EVEN, np.arange(100))
    finite, lost = (echo(wrong, EVEN, BCE, scale=scale) for scale in (1.0, np.nan))
    for one, other, verdict in ((finite, lost, "worse"), (lost, finite, "better"), (lost, lost, "alike")):
        (check,) = compared(*(measured(finite, each, each.model) for each in (one, other)))
        assert check.verdict == verdict


@dataclass(frozen=True)
class Answers:
    """Models of one linear layer an output: a ``share`` of 1 is right, of 0 wrong; numbers are ``off``."""

    share: float
    off: float

    def trained(self, came: Subject) -> Trained:
        twin = came.copy()
        twin.get_layer("kind").set_weights(
            [np.array([[self.share], [0.0], [1 - self.share]]) * 40, np.array([-20.0])]
        )
        twin.get_layer("price").set_weights([np.array([[0.0], [1.0], [0.0]]), np.array([self.off])])
        history = History()
        history.epoch = [0]
        score = scoring_of(came).score(came, twin)
        return Trained(came, twin, pull(twin), history, score)


@pytest.fixture(scope="module")
def two() -> Subject:
    """Two outputs: a class that the first column gives, a number that the second one gives."""
    x = np.stack([np.arange(ROWS) % 2, RNG.normal(size=ROWS), np.arange(ROWS) % 10 < 5], 1).astype("float32")
    inputs = keras.Input((3,))
    named = layers.Dense(1, "sigmoid", name="kind")(inputs), layers.Dense(1, name="price")(inputs)
    model = keras.Model(inputs, list(named))
    model.compile("sgd", ["binary_crossentropy", "mse"])
    y = [x[:, 0], 100 * x[:, 1]]
    return Subject(model, x, y, TrainingSpec(epochs=1, validation_data=(x, y)))


GOOD, HARMED, LOST = Answers(1.0, 0.0), Answers(0.0, -300.0), Answers(np.nan, np.nan)
RETURNED = {
    "nothing is worse": (GOOD, HARMED, HARMED, HARMED, False, "treated", ""),
    "a class is worse, the number better": (
        Answers(0.0, 0.0), Answers(1.0, -300.0), HARMED, HARMED, False, "given", "accuracy of kind",
    ),
    "the number is worse, a class better": (
        Answers(1.0, -300.0), Answers(0.0, 0.0), HARMED, HARMED, False, "given", "rmse of price",
    ),
    "the best epoch is worse than the last": (None, GOOD, HARMED, HARMED, False, "last", ""),
    "more training harms what it knew": (None, HARMED, HARMED, GOOD, True, "before", "after more training"),
    "so does the treatment": (HARMED, HARMED, HARMED, GOOD, True, "before", "with the changes"),
    "weights that were loaded know too": (None, HARMED, HARMED, GOOD, False, "before", "after more training"),
}  # fmt: skip


@pytest.mark.parametrize("case", RETURNED)
def test_what_comes_back_is_never_worse(case, two):
    treated, last, best, before, knows, expected, said = RETURNED[case]
    came = replace(two, trained=knows)
    given = AsGiven(
        last.trained(came), (best if expected == "last" else last).trained(came), before.trained(came)
    )
    changed = None if treated is None else treated.trained(came)
    returned = safest(came, changed, given, scoring_of(came))
    sides = {"treated": changed, "given": given.best, "last": given.last, "before": given.before}
    assert returned.trained is sides[expected]
    assert said in returned.kept
    assert bool(returned.kept) == (said != "")
    assert bool(returned.checks) == (treated is not None)


def answering(answers: np.ndarray) -> Trained:
    """A model that gives these answers to EVEN."""
    one = echo(answers, EVEN, BCE)
    return Trained(one, one.model, pull(one.model), History(), scoring_of(one).score(one, one.model))


@pytest.mark.parametrize(("wrong", "kept"), [(6, True), (5, False), (4, False)])
def test_changes_that_lose_within_chance_on_what_decides_are_not_kept(wrong, kept):
    came = echo(flipped(EVEN, np.arange(5)), EVEN, BCE)
    last, changed = answering(flipped(EVEN, np.arange(5))), answering(flipped(EVEN, np.arange(wrong) + 60))
    returned = safest(came, changed, AsGiven(last, last, last), scoring_of(came))
    assert (returned.trained is last) == kept
    assert ("val_accuracy" in returned.kept) == kept


@pytest.mark.parametrize(("wrong", "expected"), [(6, "last"), (5, "best"), (4, "best")])
def test_of_the_given_training_those_weights_come_back_that_decide_better(wrong, expected):
    came = echo(flipped(EVEN, np.arange(5)), EVEN, BCE)
    last, best = answering(flipped(EVEN, np.arange(5))), answering(flipped(EVEN, np.arange(wrong) + 60))
    sides = {"last": last, "best": best}
    given = AsGiven(sides["last"], sides["best"], answering(np.full((ROWS, 1), 0.5)))
    assert safest(came, None, given, scoring_of(came)).trained is sides[expected]


LOSSES = [(6, False, "alike"), (6, True, "worse"), (5, True, "alike")]


@pytest.mark.parametrize(("wrong", "decides", "verdict"), LOSSES)
def test_of_several_outputs_each_may_lose_no_more_than_what_matters(wrong, decides, verdict):
    def both(rows: np.ndarray) -> Subject:
        return echo([flipped(EVEN, rows), flipped(EVEN, [0])], [EVEN, EVEN], [BCE, BCE])

    came, changed = both(np.arange(5)), both(np.arange(wrong) + 60)
    given, now = (measured(came, one, one.model) for one in (came, changed))
    found = compared(given, now, deciding=[given[0].name] if decides else [])
    assert found[0].verdict == verdict


@pytest.mark.parametrize(
    ("learnt", "wrong", "verdict"), [(False, 6, "alike"), (False, 20, "worse"), (True, 6, "worse")]
)
def test_an_output_that_learns_for_the_first_time_may_cost_others_a_little(learnt, wrong, verdict):
    def both(rows: np.ndarray, second: np.ndarray) -> Subject:
        return echo([flipped(EVEN, rows), flipped(EVEN, second)], [EVEN, EVEN], [BCE, BCE])

    before = np.arange(6) if learnt else np.arange(ROWS // 2)  # half of the rows wrong: nothing learnt
    came, changed = both(np.arange(4), before), both(np.arange(wrong) + 60, np.arange(1))
    given, now = (measured(came, one, one.model) for one in (came, changed))
    assert compared(given, now, deciding=[one.name for one in given])[0].verdict == verdict


def test_validation_rows_of_weight_0_are_not_judged():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y, weights = np.arange(20.0).reshape(10, 2), np.arange(10.0), np.array([0.0, 1.0] * 5)
    for held, wanted in (((x, y, weights), [1, 3, 5, 7, 9]), ((x, y), list(range(10)))):
        made = subject_of(model, x, y, TrainingSpec(validation_data=held), Policy())
        np.testing.assert_array_equal(made.y_val, wanted)


@pytest.mark.parametrize(("given", "treated", "kept"), [(LOST, HARMED, True), (HARMED, HARMED, False)])
def test_finite_answers_that_learnt_nothing_replace_only_a_training_that_diverged(given, treated, kept, two):
    nothing = replace(scoring_of(two), chance=0.0)  # no loss is below it
    was, now = given.trained(two), treated.trained(two)
    returned = safest(two, now, AsGiven(was, was, was), nothing)
    assert (returned.trained is now) == kept


def test_a_model_that_was_trained_does_not_come_back_worse_than_it_went_in():
    keras.utils.set_random_seed(0)
    model, x, y = faulty.healthy_blobs()
    kilter.fit(model, x, y, epochs=25, verbose=0)
    model.optimizer.learning_rate = 0.05
    right = np.mean(kilter.predict(model, x[400:]).argmax(1) == y[400:])
    options: dict[str, Any] = {"validation_data": (x[400:], y[400:]), "epochs": 2, "remedies": {}}
    treatment = kilter.treat(model, x[:400], (y[:400] + 1) % 3, **options)  # labels that unteach it
    again = np.mean(kilter.predict(treatment.model, x[400:]).argmax(1) == y[400:])
    assert right > 0.9
    assert again >= right
    assert treatment.changes == ()
    assert "after more training" in " ".join(treatment.summary())
    assert treatment.after.measures["accuracy"] == pytest.approx(again)


@pytest.mark.long
@pytest.mark.parametrize("first", ["kind", "price"])
def test_a_treatment_does_not_give_up_one_output_for_another(first):
    """The loss of prices hides that of classes: a higher rate lowers the sum and unlearns the classes."""
    x = RNG.normal(size=(1600, 10)).astype("float32")
    y = {"kind": x[:, :4].argmax(1), "price": (250_000 + 90_000 * x[:, 5]).astype("float32")}
    heads = {"kind": (4, "softmax", faulty.SPARSE), "price": (1, None, "mse")}
    names = [first, *(set(heads) - {first})]
    keras.utils.set_random_seed(0)
    inputs = value = keras.Input((10,))
    for _ in range(2):
        value = layers.Dense(32, activation="relu", kernel_initializer="he_normal")(value)
    outputs = [layers.Dense(heads[name][0], heads[name][1], name=name)(value) for name in names]
    model = keras.Model(inputs, outputs)
    model.compile("adam", [heads[name][2] for name in names])
    train, held = ([y[name][rows] for name in names] for rows in (slice(1200), slice(1200, None)))
    treatment = kilter.treat(model, x[:1200], train, validation_data=(x[1200:], held), epochs=15)
    plain, after = treatment.before.measures, treatment.after.measures
    assert set(plain) == {"accuracy of kind", "rmse of price"}
    assert after["accuracy of kind"] >= plain["accuracy of kind"] - 0.03
    assert after["rmse of price"] <= 1.01 * plain["rmse of price"]
    assert treatment.kept or treatment.changes
