"""steps_per_epoch and validation_steps: epochs of so many batches, as in Keras."""

from typing import Any

import numpy as np
import pytest

import kilter
from kilter._engine.fit import fit
from kilter._engine.inference import evaluate, predict
from kilter.errors import DataError, OptionError

from .cases import BATCH, agree, classifier, difference
from .sources import BATCHES, STEPPED, Endless, Numbered, X, Y, endlessly, generated


@pytest.mark.filterwarnings("ignore:.*(ran out of data|The data ended)")
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("make", [Numbered, Endless, endlessly])
def test_epochs_of_so_many_steps_go_on_as_in_keras(steps: int, make: Any):
    ours, theirs = classifier("adam"), classifier("adam")
    how = {"epochs": 5, "steps_per_epoch": steps, "shuffle": False, "verbose": 0}
    agree(fit(ours, make(), **how).history, theirs.fit(make(), **how).history)
    assert difference(ours, theirs) < 1e-4


@pytest.mark.parametrize("name", STEPPED)
def test_two_epochs_of_half_the_batches_are_one_of_all(name: str):
    ours, theirs = classifier("adam"), classifier("adam")
    fit(ours, STEPPED[name](), epochs=4, steps_per_epoch=2, shuffle=False, verbose=0)
    theirs.fit(Numbered(), epochs=2, shuffle=False, verbose=0)
    assert difference(ours, theirs) < 1e-4


def test_a_pass_that_is_shuffled_goes_on_in_the_next_epoch():
    source = Numbered([BATCHES[0]] * 8)
    fit(classifier(), source, epochs=4, steps_per_epoch=4, verbose=0)
    first, second, third, fourth = source.epochs()[1:]
    assert sorted(first + second) == sorted(third + fourth) == list(range(8))
    assert first + second != third + fourth
    fit(classifier(), source, epochs=4, initial_epoch=3, steps_per_epoch=4, verbose=0)
    assert source.epochs()[-1] == fourth


def test_a_generator_that_ends_too_soon():
    with (
        pytest.warns(UserWarning, match="after 1 of 3 batches"),
        pytest.raises(DataError, match="exhausted iterable"),
    ):
        fit(classifier(), generated(), epochs=3, steps_per_epoch=3, verbose=0)


@pytest.mark.parametrize("name", STEPPED)
def test_a_validation_of_so_many_steps_is_of_the_first_ones(name: str):
    ours, theirs = classifier(), classifier()
    how = {"epochs": 1 if "generator" in name else 2, "shuffle": False, "verbose": 0}
    got = fit(ours, X, Y, validation_data=STEPPED[name](), validation_steps=3, **how).history
    expected = theirs.fit(X, Y, validation_data=(X[: 3 * BATCH], Y[: 3 * BATCH]), **how).history
    agree(got, expected)


@pytest.mark.filterwarnings("ignore:.*(ran out of data|The data ended)")
@pytest.mark.parametrize("steps", [1, 3, 4, 9])
def test_arrays_are_used_for_so_many_steps(steps: int):
    x, y = X[:-5], Y[:-5]  # the last batch is a partial one
    ours, theirs = classifier("adam"), classifier("adam")
    how = {"batch_size": BATCH, "shuffle": False, "verbose": 0, "steps_per_epoch": steps}
    held = {"validation_data": (x, y), "validation_steps": steps}
    agree(fit(ours, x, y, **how, **held).history, theirs.fit(x, y, **how, **held).history)
    assert difference(ours, theirs) < 1e-4
    expected = theirs.evaluate(x, y, batch_size=BATCH, steps=steps, verbose=0, return_dict=True)
    assert evaluate(ours, x, y, batch_size=BATCH, steps=steps) == pytest.approx(expected, rel=1e-4)
    expected = theirs.predict(x, batch_size=BATCH, steps=steps, verbose=0)
    np.testing.assert_allclose(predict(ours, x, batch_size=BATCH, steps=steps), expected, atol=1e-4)


@pytest.mark.parametrize("name", STEPPED)
def test_so_many_steps_of_every_source_are_evaluated_and_predicted(name: str):
    model = classifier()
    expected = model.evaluate(X[:32], Y[:32], verbose=0, return_dict=True)
    assert evaluate(model, STEPPED[name](), steps=2) == pytest.approx(expected, rel=1e-5)
    got = predict(model, STEPPED[name](), steps=2)
    np.testing.assert_allclose(got, model.predict(X[:32], verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("option", ["steps_per_epoch", "validation_steps"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_steps_are_whole_numbers(option: str, value: Any):
    with pytest.raises(OptionError, match=option):
        fit(classifier(), X, Y, verbose=0, **{option: value})


def test_the_public_fit_takes_steps():
    history = kilter.fit(
        classifier(),
        endlessly(),
        steps_per_epoch=3,
        validation_data=endlessly(),
        validation_steps=1,
        verbose=0,
    )
    assert "val_loss" in history.history
    assert history.params["steps"] == 3
