"""kilter.reuse_study and kilter.search_reuse: fair pairs, honest records, and what they refuse."""

import json

import keras
import numpy as np
import pytest

import kilter
from kilter._studies import reuse_study as module
from kilter._studies.encoders import READY, Plan, Pretraining, Way, ready, small_encoder
from kilter._studies.reuse_study import class_numbers, labelled_first
from kilter.errors import DataError, KilterError, OptionError

CLASSES, FEATURES = 3, 40


def spots(count, *, seed):
    """Points around three centres, which only two of the features tell: hard to find out from a few."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, CLASSES, count)
    x = generator.normal(size=(count, FEATURES)).astype("float32")
    x[:, :2] += 4 * np.array([[0, 0], [1, 0], [0, 1]], np.float32)[y]
    return x, y


X, Y = spots(240, seed=0)
TEST = spots(100, seed=1)
SMALL = {"labels": (12, 24), "pairs": 2, "epochs": 2, "batch_size": 12, "learning_rate": 0.05}


def encoder(seed):
    start = keras.initializers.GlorotUniform(seed=seed)
    return keras.Sequential(
        [keras.Input((FEATURES,)), keras.layers.Dense(4, "tanh", kernel_initializer=start)]
    )


def knowing(unlabelled, seed):
    """An encoder that gives the two features that tell."""
    model = encoder(seed)
    kernel = np.zeros((FEATURES, 4), np.float32)
    kernel[0, 0] = kernel[1, 1] = 0.5
    model.layers[-1].set_weights([kernel, np.zeros(4, np.float32)])
    return model


@pytest.fixture(scope="module")
def study():
    seen = []

    def source(unlabelled, seed):
        seen.append((unlabelled.copy(), seed))
        return knowing(unlabelled, seed)

    told = []
    result = kilter.reuse_study(
        X,
        Y,
        test_data=TEST,
        encoder=encoder,
        ways={"knowing": Way(source, stages=(kilter.Stage(20, train="head", learning_rate=0.3),))},
        **(SMALL | {"epochs": 20, "learning_rate": 0.05}),
        progress=told.append,
    )
    return result, seen, told


def test_every_way_and_number_of_labels_is_scored_on_the_same_seeds(study):
    result, seen, told = study
    assert result.labels == (12, 24)
    for comparison in result.comparisons:
        assert [one.name for one in comparison.candidates] == ["scratch", "knowing"]
        assert all([run.seed for run in one.runs] == [0, 1] for one in comparison.candidates)
        assert all(len(run.history) == 20 for one in comparison.candidates for run in one.runs)
    assert [one.done for one in told] == list(range(1, 9))
    assert told[-1].total == 8
    assert [seed for _, seed in seen] == [0, 1]  # pretrained once a pair, not once a number of labels
    assert result.tested == 100
    assert set(result.pretraining) == {"knowing"}


def test_the_unlabelled_rows_are_those_that_no_number_of_labels_takes(study):
    result, seen, _ = study
    assert result.unlabelled == 240 - 24
    for unlabelled, seed in seen:
        labelled = X[labelled_first(Y, seed=seed)[:24]]
        together = np.concatenate([labelled, unlabelled])
        assert np.array_equal(np.sort(together, axis=0), np.sort(X, axis=0))


def test_knowing_what_matters_helps(study):
    result, _, _ = study
    assert all(one.differences[0].mean > 0.1 for one in result.comparisons)


def test_the_record_tells_all(study):
    result, _, _ = study
    rows = result.table()
    assert [(row["labels"], row["name"], row["pairs"]) for row in rows] == [
        (count, name, 2) for count in (12, 24) for name in ("scratch", "knowing")
    ]
    assert any("knowing" in said and said.startswith("12 labels") for said in result.verdicts())
    assert json.loads(result.to_json())["labels"] == [12, 24]
    lines = result.plot().data
    assert [line.name for line in lines] == ["scratch", "knowing"]
    assert lines[1].y[0] == pytest.approx(np.mean(result.comparisons[0].candidates[1].scores))


def test_a_way_that_is_scratch_has_the_scores_of_scratch():
    plan = Plan(CLASSES, 2, 0.05, 12)
    same = Way(lambda _, seed: encoder(seed), stages=plan.from_scratch())
    result = kilter.reuse_study(X, Y, test_data=TEST, encoder=encoder, ways={"same": same}, **SMALL)
    for comparison in result.comparisons:
        first, second = comparison.candidates
        assert first.scores == second.scores
        assert comparison.differences[0].verdict == "too few pairs"


def test_labels_are_nested_and_in_their_shares():
    y = np.repeat([0, 1, 2], [60, 30, 10])
    order = labelled_first(y, seed=3)
    assert np.array_equal(np.sort(order), np.arange(100))
    for count in (10, 20, 50, 100):
        assert np.bincount(y[order[:count]]).tolist() == [0.6 * count, 0.3 * count, 0.1 * count]
    assert not np.array_equal(order, labelled_first(y, seed=4))
    assert np.array_equal(order, labelled_first(y, seed=3))


@pytest.mark.sampled(9)
@pytest.mark.parametrize("name", READY)
def test_every_ready_way_trains_an_encoder_that_can_be_reused(name):
    images = np.random.default_rng(0).random((64, 8, 8, 1)).astype("float32")
    built = small_encoder(images, seed=0)
    given = ready(name, lambda seed: built, Pretraining(epochs=1, batch_size=32)).source(images, 0)
    assert [one.shape for one in given.weights] == [one.shape for one in built.weights]
    assert any(
        not np.array_equal(one, other)
        for one, other in zip(built.get_weights(), given.get_weights(), strict=True)
    )
    student = kilter.reuse(given, keep="all", head=CLASSES)
    assert student.output_shape == (None, CLASSES)


def test_the_encoder_for_tables_is_dense_and_for_images_convolutional():
    table = small_encoder(X, seed=0)
    assert table.output_shape == (None, 128)
    image = small_encoder(np.random.default_rng(0).random((4, 28, 28, 1)), seed=0)
    assert image.output_shape == (None, 128)
    np.testing.assert_array_equal(table.get_weights()[-2], small_encoder(X, seed=0).get_weights()[-2])
    assert not np.array_equal(table.get_weights()[-2], small_encoder(X, seed=1).get_weights()[-2])


@pytest.fixture(scope="module")
def source():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(8, "tanh", name="first"),
            keras.layers.Dense(8, "tanh", name="second"),
            keras.layers.Dense(CLASSES, name="out"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    kilter.fit(model, X, Y, epochs=20, verbose=0)
    return model


@pytest.mark.long
def test_a_search_finds_that_a_model_of_the_task_is_worth_keeping(source):
    before = [value.numpy().copy() for value in source.variables]
    found = kilter.search_reuse(
        source,
        X[:24],
        Y[:24],
        validation_data=TEST,
        head=CLASSES,
        pairs=3,
        epochs=20,
        batch_size=12,
        learning_rate=0.05,
    )
    assert found.kept == (1, 2)
    assert found.best in (1, 2)
    assert set(found.scores) == {1, 2}
    assert all(len(scores) == 3 for scores in found.scores.values())
    assert found.evidence.candidate == f"keep {found.best}"
    assert found.evidence.mean > 0.1
    assert found.comparison.baseline.name == "new weights"
    assert json.loads(found.to_json())["best"] == found.best
    assert len(found.verdicts()) >= 2
    assert found.plot().data[1].x == (1, 2)
    for one, value in zip(before, source.variables, strict=True):
        np.testing.assert_array_equal(one, value.numpy())


def study_of(**options):
    given = {"test_data": TEST, "encoder": encoder, "ways": {"knowing": Way(knowing)}} | SMALL | options
    return lambda: kilter.reuse_study(given.pop("x", X), given.pop("y", Y), **given)


def search_of(**options):
    given = {"validation_data": TEST, "head": CLASSES, "pairs": 2} | options
    return lambda source: kilter.search_reuse(source, given.pop("x", X), given.pop("y", Y), **given)


BAD_STUDIES = {
    "one pair": (study_of(pairs=1), OptionError, "pairs"),
    "more labels than rows": (study_of(labels=(999,)), DataError, "240 labelled rows"),
    "fewer labels than classes": (study_of(labels=(2,)), DataError, "from 3"),
    "labels as words": (study_of(labels=("all",)), OptionError, "whole numbers"),
    "no ways": (study_of(ways={}), OptionError, "ways"),
    "a way called scratch": (study_of(ways={"scratch": Way(knowing)}), OptionError, "scratch"),
    "an unknown way": (study_of(ways=["contrastve"]), OptionError, "'contrastive'"),
    "numbers for classes": (study_of(y=np.linspace(0, 1, 240)), DataError, "class numbers"),
    "y of another length": (study_of(y=Y[:100]), DataError, "a label for each row"),
    "test data of another length": (study_of(test_data=(TEST[0], TEST[1][:50])), DataError, "same number"),
    "test data of another shape": (study_of(test_data=(TEST[0][:, :4], TEST[1])), DataError, "shape"),
    "NaN": (study_of(x=np.full_like(X, np.nan)), DataError, "finite"),
    "epochs 0": (study_of(epochs=0), OptionError, "epochs"),
}


@pytest.mark.parametrize("name", BAD_STUDIES)
def test_bad_studies_are_refused_before_training(name, monkeypatch):
    monkeypatch.setattr(module, "trained", lambda *_: pytest.fail("it trained"))
    refuses(BAD_STUDIES[name])


def refuses(case, *arguments):
    call, kind, said = case
    with pytest.raises(kind) as caught:
        call(*arguments)
    assert isinstance(caught.value, KilterError)
    assert said in str(caught.value)


BAD_SEARCHES = {
    "one pair": (search_of(pairs=1), OptionError, "pairs"),
    "keep larger than the model": (search_of(keep=[1, 9]), OptionError, "keep"),
    "keep nothing": (search_of(keep=[]), OptionError, "at least one"),
    "a head of layers": (search_of(head=keras.layers.Dense(3)), OptionError, "function"),
    "a head of too few classes": (search_of(head=2), DataError, "label 2"),
    "epochs 0": (search_of(epochs=0), OptionError, "epochs"),
    "rows of another shape": (search_of(x=X[:, :4]), DataError, "shape"),
}


@pytest.mark.parametrize("name", BAD_SEARCHES)
def test_bad_searches_are_refused_before_training(name, source, monkeypatch):
    monkeypatch.setattr("kilter._studies.search_reuse.trained", lambda *_: pytest.fail("it trained"))
    refuses(BAD_SEARCHES[name], source)


def test_class_numbers_take_a_column_and_refuse_negatives():
    assert class_numbers(np.array([[1], [0]])).tolist() == [1, 0]
    with pytest.raises(DataError, match="from 0"):
        class_numbers(np.array([-1, 0]))
