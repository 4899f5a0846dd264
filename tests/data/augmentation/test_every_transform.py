"""What every transformation must do, one table for all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kilter.data.augmentation import Augmentation, Mixing
from kilter.errors import OptionError

from .cases import CASES, alone, photographs

UNIT = {"value_range": (0.0, 1.0)}
KEY = jax.random.key(3)
each = pytest.mark.parametrize("name", CASES)


@each
def test_shape_and_type_are_kept_and_values_stay_in_range(name: str):
    x = jnp.asarray(photographs())
    for given, options in ((x, {}), (x.astype("float32") / 255, UNIT), (x.astype("bfloat16") / 255, UNIT)):
        augment = alone(CASES[name].strong, **options)
        augment.check(given)
        made, _ = augment(KEY, given)
        assert (made.shape, made.dtype) == (given.shape, given.dtype)
        assert float(made.min()) >= 0
        assert float(made.max()) <= (255 if given.dtype == jnp.uint8 else 1)


@each
def test_each_image_is_changed_in_its_own_way(name: str):
    x = jnp.asarray(np.repeat(photographs(1), 40, axis=0))
    if isinstance(CASES[name].strong, Mixing):
        x = jnp.asarray(photographs(40))
    made, _ = alone(CASES[name].strong)(KEY, x)
    assert (np.asarray(made) != np.asarray(x)).any(axis=(1, 2, 3)).mean() > 0.5
    distinct = {image.tobytes() for image in np.asarray(made)}
    assert len(distinct) >= (4 if name == "flip" else 10)


@each
def test_one_key_gives_the_same_bits_compiled_or_not_and_another_key_others(name: str):
    x, augment = jnp.asarray(photographs()), alone(CASES[name].strong)
    one, again, other = augment(KEY, x)[0], augment(KEY, x)[0], augment(jax.random.key(4), x)[0]
    np.testing.assert_array_equal(one, again)
    assert (np.asarray(one) != np.asarray(other)).any()
    compiled = np.asarray(jax.jit(augment)(KEY, x)[0]).astype(int)
    # Compiled, a product and a sum may be rounded once; the last bit of a byte can turn on that.
    assert np.abs(compiled - np.asarray(one)).max() <= 1


@each
def test_without_strength_nothing_changes(name: str):
    if CASES[name].idle is None:
        pytest.skip("it has no strength that does nothing")
    x = jnp.asarray(photographs())
    np.testing.assert_array_equal(alone(CASES[name].idle)(KEY, x)[0], x)
    floats = x.astype("float32") / 255
    made, _ = alone(CASES[name].idle, **UNIT)(KEY, floats)
    np.testing.assert_allclose(made, floats, atol=1e-6)


@each
def test_bad_arguments_are_refused(name: str):
    for arguments in CASES[name].bad:
        with pytest.raises(OptionError, match=type(CASES[name].strong).__name__):
            type(CASES[name].strong)(**arguments)


@each
def test_other_batch_sizes_work_a_row_alone_too(name: str):
    for count in (1, 2, 5):
        made, _ = alone(CASES[name].strong)(KEY, jnp.asarray(photographs(count)))
        assert made.shape[0] == count


def test_all_together():
    augment = Augmentation(tuple(case.strong for case in CASES.values()))
    x = jnp.asarray(photographs())
    made, mixture = augment(KEY, x)
    assert made.dtype == x.dtype
    assert mixture is not None
    assert hash(augment) == hash(Augmentation([case.strong for case in CASES.values()]))  # type: ignore[arg-type]
