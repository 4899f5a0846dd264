"""A recipe's commands train as the recipe says: each setting reaches find-lr, diagnose and treat."""

import json

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from kilter._cli.commands import Diagnose
from kilter._cli.diagnosing import of_recipe, of_saved_model
from kilter._cli.options import Overrides
from kilter._diagnosis.diagnose import diagnose
from kilter._engine.averaging import ExponentialMovingAverage, StochasticWeightAverage
from kilter._engine.training_spec import EarlyStopping, TrainingSpec
from kilter._fit import fit
from kilter._progress import SILENT
from kilter._treatment.treat import treat
from kilter._tuning.clip_threshold import clip_threshold
from kilter._tuning.find_lr import FoundRate, find_lr
from kilter.data.augmentation import Augmentation, Mixup
from kilter.recipe import load_recipe, with_overrides
from kilter.runs.build import prepare
from kilter.schedules import Performance, Schedule


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe for digits that are sorted by class, so that the order of the rows matters."""
    folder = tmp_path_factory.mktemp("sorted")
    x, y = load_digits(return_X_y=True)
    order = np.argsort(y, kind="stable")[::4]
    np.savez(folder / "sorted.npz", x=(x[order] / 16).astype("float32"), y=y[order])
    path = folder / "recipe.toml"
    path.write_text(
        f'seed = 3\n[data]\nsource = "{(folder / "sorted.npz").as_posix()}"\nvalidation = 0.2\n'
        '[model]\nbuilder = "mlp"\nhidden = [8]\n[train]\nepochs = 4\nbatch_size = 16\n'
    )
    return path


# A setting, the keyword of kilter.fit that it becomes, and a test of that keyword's value.
SETTINGS = {
    "train.epochs=7": ("epochs", lambda value: value == 7),
    "train.batch_size=20": ("batch_size", lambda value: value == 20),
    "train.shuffle=false": ("shuffle", lambda value: value is False),
    "train.evaluate_training=true": ("evaluate_training", lambda value: value is True),
    "train.class_weight={0 = 2.0}": ("class_weight", lambda value: value[0] == 2 and value[1] == 1),
    "train.ema=0.9": ("callbacks", lambda value: isinstance(value[0], ExponentialMovingAverage)),
    "train.swa={start = 1}": ("callbacks", lambda value: isinstance(value[0], StochasticWeightAverage)),
    "train.early_stopping={patience = 3, min_delta = 0.5}": (
        "callbacks",
        lambda value: (
            (value[-1].patience, value[-1].monitor, abs(value[-1].min_delta)) == (3, "val_loss", 0.5)
        ),
    ),
    "schedule.name=one_cycle": ("schedule", lambda value: isinstance(value, Schedule)),
    "schedule.name=performance": ("schedule", lambda value: isinstance(value, Performance)),
    "augment.mixup=0.2": ("augment", lambda value: value == Augmentation((Mixup(0.2),))),
    "data.validation=none": ("validation_data", lambda value: value is None),
    "seed=5": ("seed", lambda value: value == 5),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_setting_reaches_the_functions_that_the_commands_call(recipe, setting):
    name, is_right = SETTINGS[setting]
    spec = prepare(with_overrides(load_recipe(recipe), [setting])).spec
    assert is_right(spec.arguments_for(fit)[name])
    for function in (find_lr, diagnose, treat, clip_threshold):
        given = spec.arguments_for(function)
        assert name not in given or is_right(given[name])
    given = with_overrides(load_recipe(recipe), [setting])
    treated = of_recipe(given, treat, allow_code=False, progress=SILENT).arguments
    assert name == "evaluate_training" or is_right(treated[name])


def test_fit_takes_all_of_a_spec_and_the_searches_what_concerns_a_step():
    spec = TrainingSpec()
    assert set(spec.arguments_for(fit)) == set(spec.arguments())
    of_steps = {"batch_size", "shuffle", "class_weight", "sample_weight", "augment", "seed"}
    assert set(spec.arguments_for(find_lr)) == set(spec.arguments_for(clip_threshold)) == of_steps
    # A treatment evaluates the training rows itself; a diagnosis takes a few steps, and plans epochs.
    assert set(spec.arguments()) - set(spec.arguments_for(treat)) == {"evaluate_training"}
    assert set(spec.arguments_for(diagnose)) == of_steps | {"validation_data", "schedule", "epochs"}


def test_early_stopping_becomes_a_callback_that_sees_the_others_work():
    average = ExponentialMovingAverage()
    spec = TrainingSpec(callbacks=(average,), early_stopping=EarlyStopping("val_accuracy", "max", 4))
    first, last = spec.arguments()["callbacks"]
    assert first is average
    assert (last.monitor, last.mode, last.patience) == ("val_accuracy", "max", 4)
    assert last.restore_best_weights


CHANGES = ["seed=3", "train.shuffle=false", "augment.mixup=0.4", "train.class_weight={0 = 9.0}"]


@pytest.mark.long
def test_find_lr_searches_as_the_python_call_does(kilter, recipe, tmp_path):
    curves = []
    for number, setting in enumerate(CHANGES):
        out = tmp_path / f"{number}.json"
        ended = kilter("find-lr", recipe, "--set", setting, "--out", out)
        assert (ended.code, ended.err) == (0, "")
        prepared = prepare(with_overrides(load_recipe(recipe), [setting]))
        train, given = prepared.parts.train, prepared.spec.arguments()
        keywords = ("batch_size", "shuffle", "class_weight", "augment", "seed")
        found = find_lr(
            prepared.model, train.x, train.y, **{name: given[name] for name in keywords}, verbose=0
        )
        curves.append(FoundRate.from_dict(json.loads(out.read_text())).losses)
        np.testing.assert_array_equal(curves[-1], found.losses)
    for other in curves[1:]:
        assert not np.array_equal(curves[0][:20], other[:20])


def test_diagnose_sees_rows_that_are_sorted_and_not_shuffled(kilter, recipe):
    found = {}
    for setting in ("train.shuffle=true", "train.shuffle=false"):
        ended = kilter("diagnose", recipe, "--set", setting, "--steps", 0, "--json")
        found[setting] = [one["code"] for one in json.loads(ended.out)["findings"]]
    assert "not-shuffled" not in found["train.shuffle=true"]
    assert "not-shuffled" in found["train.shuffle=false"]


def test_stages_cannot_be_treated(kilter, recipe, tmp_path):
    words = ["--set", "model.reuse=model.keras", "--epochs", 20, "--out", tmp_path / "treated"]
    ended = kilter("treat", recipe, *words)
    assert ended.code == 2
    assert "a recipe that trains in one stage" in ended.err
    assert not (tmp_path / "treated").exists()


def test_a_saved_model_with_data_is_a_subject_too(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.save(tmp_path / "model.keras")
    asked = Diagnose(source="digits", overrides=Overrides())
    subject = of_saved_model(tmp_path / "model.keras", asked, {"train.epochs": 3}, SILENT)
    assert set(subject.arguments) == {"model", "x", "y"}
    assert len(subject.arguments["x"]) == subject.record.rows["train"] == 1797
    assert (subject.recipe.train.epochs, subject.recipe.data.validation) == (3, None)
