"""Where models can be cut: by counts and by names, and why not elsewhere."""

import pytest

from kilter._transfer.cutting import Cut, counted_layers, cuts, find_cut
from kilter.errors import ModelError, OptionError

from . import models

PLACES = {
    models.stack: {1: "flatten", 2: "dropout", 3: "output"},
    models.residual: {1: "stem", 3: "add1", 5: "add2", 6: "output"},
    models.nested: {1: "inner/one", 2: "inner/last", 3: "output"},
    models.two_towers: {1: "join", 2: "hidden", 3: "output"},
    models.repeated: {1: "again", 2: "output"},
    models.two_outputs: {1: "below"},
}


@pytest.mark.parametrize("make", PLACES)
def test_the_places_of_every_kind_of_model(make):
    assert {place.keep: place.layer for place in cuts(make())} == PLACES[make]


@pytest.mark.parametrize("make", PLACES)
def test_every_place_is_found_by_its_count_from_either_end_and_by_its_name(make):
    model = make()
    there = counted_layers(model)
    for place in cuts(model):
        assert find_cut(model, place.keep) == place
        if place.keep < there:
            assert find_cut(model, place.keep - there) == place
        if make is not models.repeated:
            assert find_cut(model, place.layer) == place


def test_a_name_cuts_right_after_its_layer():
    assert find_cut(models.stack(), "conv") == Cut(1, "conv")
    assert find_cut(models.stack(), "all") == Cut(3, "output")
    assert find_cut(models.nested(), "inner") == Cut(2, "inner/last")
    assert find_cut(models.nested(), "two") == Cut(2, "inner/two")


BAD = {
    "none": (models.stack, 0, "keep from 1 to 3"),
    "more than there is": (models.stack, 4, "stack' has 3 layers with weights"),
    "all left out": (models.stack, -3, "from -1 to -2"),
    "a truth value": (models.stack, True, "a whole number"),
    "a share": (models.stack, 0.5, "a whole number"),
    "near name": (models.stack, "dens", "did you mean 'dense'?"),
    "no such name": (models.stack, "zzz", "1 ('flatten'), 2 ('dropout')"),
    "between branches": (models.residual, 2, "keep=1 keeps all up to 'stem'"),
    "a branch": (models.residual, "a1", "'add1' has an input that bypasses it"),
    "a layer at two places": (models.two_towers, "tower", "at 2 places"),
    "which of two": (models.repeated, "again", "at 2 places"),
    "all of two outputs": (models.two_outputs, "all", "branches"),
    "nothing below": (
        lambda: models.keras.Sequential(
            [models.keras.Input((2,)), models.layers.ReLU(name="first"), models.layers.Dense(1)]
        ),
        "first",
        "no layer with weights is below it",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_no_such_place(case):
    make, keep, says = BAD[case]
    with pytest.raises(OptionError) as caught:
        find_cut(make(), keep)
    assert says in str(caught.value)


def test_models_that_tell_no_connections():
    with pytest.raises(ModelError, match="overrides call"):
        find_cut(models.Own(), 1)
    with pytest.raises(ModelError, match="not built"):
        find_cut(models.keras.Sequential([models.layers.Dense(1)]), 1)
