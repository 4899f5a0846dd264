"""What every transformation must do, one table for all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kilter.data.augmentation import Augmentation, Mixing
from kilter.errors import OptionError

from .cases import CASES, alone, applied, photographs

UNIT = {"value_range": (0.0, 1.0)}
BYTES = photographs(40)
each = pytest.mark.parametrize("name", CASES)


@each
def test_shape_and_type_are_kept_and_values_stay_in_range(name: str):
    for given, options, most in ((BYTES, {}, 255), (BYTES.astype("float32") / 255, UNIT, 1)):
        augment = alone(CASES[name].strong, **options)
        augment.check(given)
        made, _ = applied(augment, given)
        assert (made.shape, made.dtype) == (given.shape, given.dtype)
        assert 0 <= made.min() <= made.max() <= most


@each
def test_each_image_is_changed_in_its_own_way(name: str):
    mixing = isinstance(CASES[name].strong, Mixing)
    x = BYTES if mixing else np.repeat(BYTES[:1], 40, axis=0)
    made, _ = applied(alone(CASES[name].strong), x)
    assert (made != x).any(axis=(1, 2, 3)).mean() > 0.5
    distinct = {image.tobytes() for image in made}
    assert len(distinct) >= (4 if name == "flip" else 10)


@each
def test_one_key_gives_the_same_bits_and_another_key_others(name: str):
    augment = alone(CASES[name].strong)
    one, again, other = (applied(augment, BYTES, seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@each
def test_without_strength_nothing_changes(name: str):
    if CASES[name].idle is None:
        pytest.skip("it has no strength that does nothing")
    np.testing.assert_array_equal(applied(alone(CASES[name].idle), BYTES)[0], BYTES)


@each
def test_bad_arguments_are_refused(name: str):
    for arguments in CASES[name].bad:
        with pytest.raises(OptionError, match=type(CASES[name].strong).__name__):
            type(CASES[name].strong)(**arguments)


@each
def test_a_row_alone_and_other_kinds_of_numbers_can_be_augmented(name: str):
    augment = alone(CASES[name].strong, value_range=(0.0, 255.0))
    for dtype in ("bfloat16", "float32", "int16"):
        x = jax.ShapeDtypeStruct((1, 9, 7, 3), jnp.dtype(dtype))
        made, _ = jax.eval_shape(augment, jax.random.key(0), x)
        assert (made.shape, made.dtype) == (x.shape, x.dtype)


def test_all_together():
    augment = Augmentation(tuple(case.strong for case in CASES.values()))
    made, mixture = applied(augment, BYTES)
    assert made.dtype == BYTES.dtype
    assert mixture is not None
    assert hash(augment) == hash(Augmentation([case.strong for case in CASES.values()]))  # type: ignore[arg-type]


def test_a_lone_row_is_mixed_with_itself():
    x = BYTES[:1]
    for name in ("mixup", "cutmix"):
        np.testing.assert_array_equal(applied(alone(CASES[name].strong), x)[0], x)
