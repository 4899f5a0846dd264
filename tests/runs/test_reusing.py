"""Recipes that reuse a model: trained in stages, replayed, and resumed to the bit."""

import numpy as np
import pytest

from kilter.errors import KilterError
from kilter.recipe import ReuseSection, load_recipe, parse_recipe, with_overrides
from kilter.runs import Interrupted, checkpoints, open_run, resume, train
from kilter.runs.build import prepare
from kilter.runs.reading import read_history

from .interrupting import InterruptIn


@pytest.fixture(scope="module")
def source(trained):
    return trained.path / "model.keras"


@pytest.fixture(scope="module")
def reusing(source):
    return parse_recipe(
        {
            "name": "reusing",
            "data": {"source": "digits", "validation": 0.2},
            "model": {"reuse": str(source), "hidden": [8]},
            "optimizer": {"name": "adam"},
            "train": {"epochs": 5, "batch_size": 256},
            "fine_tune": {"stages": [{"train": "head", "epochs": 3}, {"rate": 0.1, "decay": 2.6}]},
        }
    )


def _weights(result):
    return [np.asarray(variable).tobytes() for variable in result.model.weights]


def test_the_stages_train_what_they_say_and_the_source_stays(reusing, source, tmp_path):
    before = source.read_bytes()
    prepared = prepare(reusing)
    frozen = {v.path: np.array(v) for v in prepared.model.non_trainable_variables if v.dtype == "float32"}
    assert [(phase.begin, phase.end) for phase in prepared.phases] == [(0, 3), (3, 5)]
    assert [phase.stage.learning_rate for phase in prepared.phases] == [1e-3, 1e-4]
    head = with_overrides(reusing, ['fine_tune.stages=[{ train = "head" }]'])
    result = train(head, parent=tmp_path, verbose=0)
    for variable in result.model.non_trainable_variables:
        if variable.path in frozen:
            np.testing.assert_array_equal(variable, frozen[variable.path])
    assert source.read_bytes() == before


@pytest.mark.long
def test_a_run_is_replayed_from_its_own_recipe_and_refuses_another_file(reusing, source, tmp_path):
    result = train(reusing, parent=tmp_path / "a", verbose=0)
    records = open_run(result.path)
    assert [line.epoch for line in records.history] == list(range(5))
    again = load_recipe(result.path / "recipe.toml")
    assert isinstance(again.model, ReuseSection)
    assert again.model.sha256 is not None
    assert _weights(train(again, parent=tmp_path / "b", verbose=0)) == _weights(result)
    with pytest.raises(KilterError, match="with the SHA-256 00000000"):
        prepare(with_overrides(again, ["model.sha256='00000000'"]))


@pytest.mark.long
@pytest.mark.sampled(3)
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_an_interrupted_run_goes_on_in_its_stage_with_the_same_bits(reusing, epoch, tmp_path, monkeypatch):
    """Interrupted within the first stage, at its last epoch, and within the second."""
    monkeypatch.setattr(checkpoints.Throttle, "due", lambda self: True)
    whole = train(reusing, parent=tmp_path / "whole", verbose=0)
    with pytest.raises(Interrupted) as caught:
        train(reusing, parent=tmp_path / "cut", verbose=0, callbacks=[InterruptIn(epoch)])
    resumed = resume(caught.value.path, verbose=0)
    assert _weights(resumed) == _weights(whole)
    lines = [[(line.epoch, dict(line.logs)) for line in read_history(run.path)] for run in (whole, resumed)]
    assert lines[0] == lines[1]


BAD = {
    "stages without a source": (["model.builder=mlp"], "with model.reuse, and with that only"),
    "no stages": (["fine_tune=none"], "no [fine_tune]"),
    "too few epochs": (["train.epochs=3"], "more than the stages"),
    "other epochs than all stages": (["fine_tune.stages=[{ epochs = 4 }]"], "as many as the stages"),
    "an open stage before the last": (["fine_tune.stages=[{}, {}]"], "every stage but the last"),
    "no stage at all": (["fine_tune.stages=[]"], "a list of tables"),
    "a stage of nothing": (
        ["fine_tune.stages=[{ train = 0 }]"],
        "a number of layers with weights from the top",
    ),
    "an unknown key": (["fine_tune.stages=[{ trian = 1 }]"], "did you mean 'train'?"),
    "an unknown word": (["fine_tune.stages=[{ train = 'top' }]"], '"head", "all"'),
    "an unknown layer": (["fine_tune.stages=[{ train = ['dence_1'] }]"], "did you mean 'dense_1'?"),
    "a schedule for all": (["schedule.name=cosine"], "a schedule for each stage"),
    "an average over stages": (["train.ema=0.9"], "no average of the weights"),
    "no rule": (["optimizer.name=lamb"], "optimizer.name=lamb"),
    "a rule with options": (["optimizer.clipnorm=1.0"], "with clipnorm"),
    "penalties": (["regularize.l2=0.1"], "a builder only"),
    "keep nothing": (["model.keep=0"], "the number of layers with weights to keep"),
    "keep too much": (["model.keep=9"], "keep from 1 to 2"),
    "no such source": (["model.reuse=absent.keras"], "absent.keras"),
    "no digits of a checksum": (["model.sha256=xyz"], "first 8 digits"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_recipes_are_named_before_anything_is_trained(case, reusing):
    settings, says = BAD[case]
    with pytest.raises(KilterError) as caught:
        prepare(with_overrides(reusing, settings))
    assert says in str(caught.value)


def test_numbers_keep_their_units(tmp_path):
    rows = np.random.default_rng(0).uniform(1, 9, (80, 3))
    lines = [f"{a:.4f},{b:.4f},{c:.4f},{1e4 * (a + b):.2f}" for a, b, c in rows]
    table = tmp_path / "table.csv"
    table.write_text("a,b,c,price\n" + "\n".join(lines) + "\n")
    plain = parse_recipe(
        {"data": {"source": str(table)}, "model": {"builder": "mlp", "hidden": [8]}, "train": {"epochs": 1}}
    )
    first = train(plain, parent=tmp_path, verbose=0)
    settings = [f"model.reuse={first.path / 'model.keras'}", "train.epochs=6"]
    result = train(with_overrides(plain, settings), parent=tmp_path / "b", verbose=0)
    assert result.model.layers[-1].name.endswith("target_units")
