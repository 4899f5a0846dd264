"""Mixup and CutMix: shares, areas, partners."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from kilter.data.augmentation import Augmentation, Cutmix, Flip, Mixup
from kilter.errors import DataError, OptionError

from .cases import alone, applied, photographs

KEY = jax.random.key(5)
MANY = 4000


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_shares_of_mixup_are_drawn_from_beta(alpha):
    _, share = Mixup(alpha).draw_shares(KEY, MANY, (1, 1))
    # The distance of two distributions at 4000 draws: above 0.0309 in one of a thousand.
    assert stats.kstest(np.asarray(share), stats.beta(alpha, alpha).cdf).statistic < 0.031
    assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_mixup_is_its_formula():
    x = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    made, mixture = applied(alone(Mixup(1.0)), x)
    share = np.asarray(mixture.share)[:, None]
    np.testing.assert_allclose(made, share * x + (1 - share) * np.asarray(mixture.others(x)), rtol=1e-6)


def test_partners_are_other_rows_and_every_pair_occurs():
    x = jnp.zeros((5, 2))
    pairs = set()
    for seed in range(40):
        _, mixture = applied(alone(Mixup()), x, seed)
        partner = mixture.others(jnp.arange(5)).tolist()
        assert sorted(partner) == list(range(5))
        pairs |= set(enumerate(partner))
    assert pairs == {(one, other) for one in range(5) for other in range(5) if one != other}


def test_cutmix_pastes_one_box_and_counts_its_pixels():
    x = photographs(300, 12, 10)
    made, mixture = applied(alone(Cutmix()), x)
    others, share = np.asarray(mixture.others(x)), np.asarray(mixture.share)
    own = (made == x).all(axis=-1)
    assert ((made == others).all(axis=-1) | own).all()
    np.testing.assert_allclose(share, own.mean(axis=(1, 2)), atol=1e-6)
    rows, columns = (~own).any(axis=2).sum(axis=1), (~own).any(axis=1).sum(axis=1)
    np.testing.assert_array_equal((~own).sum(axis=(1, 2)), rows * columns)  # a rectangle


def test_a_cutmix_box_has_the_area_that_was_drawn_before_the_border_cuts_it():
    """Boxes that touch no border have sides h·√(1-λ), w·√(1-λ). On the whole: with s² = 1 - λ even in [0, 1]
    and an even centre, s - s²/4 of a side is seen on average, so E[share] = 1 - E[(s - s²/4)²] = 0.6792.
    """
    mask, share = Cutmix().draw_shares(KEY, 2000, (100, 50))
    hidden = np.asarray(mask) == 0
    rows, columns = hidden.any(axis=2), hidden.any(axis=1)
    within = ~(rows[:, 0] | rows[:, -1] | columns[:, 0] | columns[:, -1])
    assert within.sum() > 200
    heights, widths = rows.sum(axis=1)[within], columns.sum(axis=1)[within]
    assert np.abs(heights / 2 - widths).max() <= 1
    # Sides are cut to whole pixels, half a pixel of 50 on average; four standard errors are 0.02.
    assert float(share.mean()) == pytest.approx(0.6792, abs=0.03)


def test_only_the_share_asked_for_is_mixed():
    for mixer in (Mixup(1.0, probability=0.3), Cutmix(1.0, probability=0.3)):
        _, share = mixer.draw_shares(KEY, MANY, (32, 32))
        assert float((share < 1).mean()) == pytest.approx(0.3, abs=0.03)


def test_with_both_each_row_draws_one_of_them():
    x = photographs(400, 8, 8).astype("float32")
    made, mixture = applied(Augmentation((Mixup(1.0), Cutmix())), x)
    others = np.asarray(mixture.others(x))
    cut = ((made == x) | (made == others)).all(axis=(1, 2, 3))
    blended = np.isclose(made, np.asarray(mixture.blend(jnp.asarray(x))), atol=1e-3).all(axis=(1, 2, 3))
    assert (cut | blended).all()
    assert 0.4 < cut.mean() < 0.6


def test_targets_are_blended_and_the_larger_share_dominates():
    _, mixture = applied(alone(Mixup(1.0)), jnp.zeros((50, 1)))
    labels = np.arange(50) % 4
    soft = np.asarray(mixture.blend(jax.nn.one_hot(labels, 4)))
    np.testing.assert_allclose(soft.sum(axis=1), 1.0, rtol=1e-6)
    dominant = np.asarray(mixture.dominant(jnp.asarray(labels)))
    np.testing.assert_allclose(soft[np.arange(50), dominant], soft.max(axis=1))


def test_every_input_is_mixed_with_the_same_shares():
    x = {"image": jnp.asarray(photographs(6)), "table": jnp.arange(12.0).reshape(6, 2)}
    made, mixture = jax.jit(alone(Mixup(1.0)))(KEY, x)
    np.testing.assert_allclose(made["table"], mixture.blend(x["table"]), rtol=1e-6)
    expected = np.round(np.asarray(mixture.blend(x["image"].astype("float32"))))
    assert np.abs(np.asarray(made["image"]) - expected).max() <= 1


def test_what_cannot_be_mixed_is_refused():
    image, numbers = jnp.asarray(photographs(4)), jnp.arange(4)[:, None]
    with pytest.raises(DataError, match="int32"):
        alone(Mixup()).check([image, numbers])
    with pytest.raises(DataError, match="1 other inputs"):
        alone(Cutmix()).check([image, numbers.astype("float32")])
    with pytest.raises(OptionError, match="put them last"):
        Augmentation((Mixup(), Flip()))
