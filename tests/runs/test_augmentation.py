"""``[augment]``: what the recipe asks for is done, refused where it makes no sense, resumed to the bit."""

import tomllib
from typing import Any

import numpy as np
import pytest

from kilter.data import Dataset
from kilter.data import augmentation as aug
from kilter.errors import DataError, KilterError, ModelError, RecipeError
from kilter.recipe import AugmentSection, dump_recipe, parse_recipe
from kilter.runs import Interrupted, checkpoints, open_run, resume, train
from kilter.runs.build import prepare
from kilter.runs.from_recipe import make_augmentation

from .interrupting import InterruptIn

EVERY: dict[str, tuple[Any, Any]] = {
    "flip": ("both", aug.Flip("both")),
    "rotate": (15.0, aug.Rotate(15.0)),
    "zoom": (0.1, aug.Zoom(0.1)),
    "shift": (0.125, aug.Shift(0.125)),
    "brightness": (0.1, aug.Brightness(0.1)),
    "contrast": (0.2, aug.Contrast(0.2)),
    "saturation": (0.3, aug.Saturation(0.3)),
    "hue": (0.05, aug.Hue(0.05)),
    "cutout": (8, aug.Cutout(8)),
    "mixup": (0.2, aug.Mixup(0.2)),
    "cutmix": (1.0, aug.Cutmix(1.0)),
}
COLOUR = Dataset(np.zeros((4, 16, 16, 3), "uint8"), np.zeros(4, "int32"), "classification", ("a", "b"))
TABLE = Dataset(np.zeros((4, 5), "float32"), np.zeros(4, "int32"), "classification", ("a", "b"))


def recipe(augment: dict[str, Any], **sections: Any) -> Any:
    """Digits, 8 × 8 pixels of grey, four epochs."""
    given = {
        "name": "small",
        "data": {"source": "digits", "validation": 0.2},
        "model": {"builder": "mlp", "hidden": [16]},
        "train": {"epochs": 4, "batch_size": 512},
    }
    return parse_recipe(given | {"augment": augment} | sections)


@pytest.mark.parametrize("key", EVERY)
def test_every_key_makes_its_transformation(key):
    value, expected = EVERY[key]
    assert make_augmentation(AugmentSection(**{key: value}), COLOUR) == aug.Augmentation((expected,))


def test_together_they_come_in_the_order_of_the_keys_with_mixing_last():
    keys = {key: value for key, (value, _) in reversed(EVERY.items())}
    made = make_augmentation(AugmentSection(**keys, fill="zero", value_range=(0.0, 200.0)), COLOUR)
    transforms = tuple(expected for _, expected in EVERY.values())
    assert made == aug.Augmentation(transforms, fill="zero", value_range=(0.0, 200.0))
    described = [key for key in AugmentSection.model_fields if key in EVERY]
    assert described == list(EVERY)


def test_nothing_asked_for_is_nothing():
    assert make_augmentation(AugmentSection(), COLOUR) is None
    assert make_augmentation(AugmentSection(fill="edge"), TABLE) is None
    assert "augment" in dump_recipe(recipe({}))


def test_every_key_is_in_the_table():
    assert set(AugmentSection.model_fields) - {"fill", "value_range"} == set(EVERY)


def test_tables_can_only_be_mixed_up():
    assert make_augmentation(AugmentSection(mixup=0.2), TABLE) == aug.Augmentation((aug.Mixup(0.2),))
    for key in set(EVERY) - {"mixup"}:
        with pytest.raises(RecipeError, match=rf"augment\.{key}.*\(4, 5\)"):
            make_augmentation(AugmentSection(**{key: EVERY[key][0]}), TABLE)


def test_colours_of_floats_need_their_range():
    floats = Dataset(COLOUR.x.astype("float32"), COLOUR.y, "classification", ("a", "b"))
    for key in ("brightness", "contrast", "saturation", "hue"):
        with pytest.raises(RecipeError, match="value_range"):
            make_augmentation(AugmentSection(**{key: EVERY[key][0]}), floats)
    section = AugmentSection(hue=0.1, value_range=(0.0, 1.0))
    assert make_augmentation(section, floats) is not None


@pytest.mark.parametrize(
    ("augment", "says"),
    [
        ({"rotat": 3}, "did you mean 'rotate'"),
        ({"flip": "horizontl"}, "did you mean 'horizontal'"),
        ({"flip": True}, "augment.flip"),
        ({"rotate": 0}, "a number above 0, at most 180"),
        ({"cutout": 2.5}, "a whole number from 1"),
        ({"value_range": [1, 1]}, r"\[least, most\]"),
        ({"mixup": -1}, "augment.mixup=-1"),
    ],
)
def test_bad_keys_are_told(augment, says):
    with pytest.raises(RecipeError, match=says):
        recipe(augment)


def test_a_resolved_recipe_is_the_same_recipe():
    given = recipe({key: value for key, (value, _) in EVERY.items()} | {"value_range": [0.0, 16.0]})
    assert parse_recipe(tomllib.loads(dump_recipe(given))) == given


def test_what_does_not_fit_the_data_leaves_no_directory(tmp_path):
    with pytest.raises(DataError, match="Saturation"):
        train(recipe({"saturation": 0.2, "value_range": [0, 16]}), parent=tmp_path, verbose=0)
    assert not list(tmp_path.iterdir())


OWN_LOSS = """
import keras
class Own(keras.Sequential):
    def compile(self, **options):
        super().compile(**(options | {"loss": None}))
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(y_pred)
def make(input_shape, outputs):
    return Own([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(outputs)])
"""


def test_targets_that_cannot_be_mixed_are_refused_before_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_of_test.py").write_text(OWN_LOSS)
    with pytest.raises(ModelError, match="one compiled loss"):
        prepare(recipe({"mixup": 0.2}, model={"factory": "own_of_test:make"}), allow_code=True)
    own = recipe({"shift": 0.2}, model={"factory": "own_of_test:make"})
    assert prepare(own, allow_code=True).spec.augment is not None


@pytest.mark.long
def test_a_resumed_run_draws_as_one_without_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints.Throttle, "due", lambda self: True)
    asked = recipe({"shift": 0.2, "cutout": 2, "mixup": 0.4})
    whole = train(asked, parent=tmp_path / "whole", verbose=0)
    with pytest.raises(Interrupted) as caught:
        train(asked, parent=tmp_path / "parts", callbacks=[InterruptIn(2)], verbose=0)
    parts = resume(caught.value.path, verbose=0)
    logs = [[dict(line.logs) for line in open_run(one.path).history] for one in (whole, parts)]
    assert logs[0] == logs[1]
    for one, other in zip(whole.model.get_weights(), parts.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    plain = train(recipe({}), parent=tmp_path / "plain", verbose=0)
    assert open_run(plain.path).history[0].logs["loss"] != logs[0][0]["loss"]
    with pytest.raises(KilterError, match="finished"):
        resume(caught.value.path)
