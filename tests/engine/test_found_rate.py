"""Reading a search's curve: closed forms, and noise whose true curve is known."""

import json

import numpy as np
import pytest

from kilter._tuning.find_lr import FALL_ERRORS, FoundRate, divergence, read_curves, smooth
from kilter.errors import ModelError
from kilter.runs.records import to_json

STEPS = 300
LRS = np.geomspace(1e-7, 10, STEPS)


def curve(falls_at=1e-3, bottom_at=1e-2, explodes_at=1.0, first=2.3, lowest=0.5):
    """Constant, then falling on the logarithmic axis to a flat bottom, then multiplied by 3 at each step."""
    rates = np.log10(LRS)
    share = np.clip((rates - np.log10(falls_at)) / (np.log10(bottom_at) - np.log10(falls_at)), 0, 1)
    wild = np.maximum(np.arange(STEPS) - np.searchsorted(LRS, explodes_at), 0)
    with np.errstate(over="ignore"):
        return (first - share * (first - lowest)) * 3.0**wild


def read(losses):
    return read_curves(LRS, losses[None])


def test_the_smoothed_loss_is_the_bias_corrected_exponential_mean():
    losses = np.random.default_rng(0).normal(size=STEPS)
    beta, mean, expected = 10 / 11, 0.0, []
    for step, loss in enumerate(losses):
        mean = beta * mean + (1 - beta) * loss
        expected.append(mean / (1 - beta ** (step + 1)))
    np.testing.assert_allclose(smooth(losses, STEPS), expected, rtol=1e-12)


def test_a_loss_that_explodes_diverges_where_its_mean_is_four_times_the_best():
    losses = curve(lowest=1.5)
    found = read(losses)
    end = len(found.losses) - 1
    assert found.diverged_at == LRS[end] == found.lrs[-1]
    assert found.smoothed[end] > 4 * found.smoothed.min() >= found.smoothed[end - 1]
    np.testing.assert_array_equal(found.losses, losses[: end + 1])


def test_the_first_loss_that_is_not_finite_is_the_divergence():
    losses = curve()
    losses[220] = np.nan
    found = read(losses)
    assert found.diverged_at == LRS[220]
    assert np.isfinite(found.smoothed[:-1]).all()


def test_the_suggestion_is_a_tenth_of_the_divergence_where_the_loss_falls_until_then():
    found = read(curve(falls_at=1e-4, bottom_at=1.0, explodes_at=0.9))
    assert found.suggestion == found.diverged_at / 10


def test_the_suggestion_is_left_of_a_bottom_that_lies_far_left_of_the_divergence():
    found = read(curve(falls_at=1e-5, bottom_at=1e-3, explodes_at=1.0))
    assert 1e-4 < found.suggestion < 1e-3 * 10**0.3  # the mean lags by 10 steps, 0.27 decades
    place = np.searchsorted(found.lrs, found.suggestion)
    assert found.smoothed[place - 5] > found.smoothed[place] > found.smoothed[place + 5]


def test_without_divergence_the_record_says_so_and_the_suggestion_comes_from_the_fall():
    found = read(curve(explodes_at=100.0))
    assert found.diverged_at is None
    assert len(found.lrs) == len(found.losses) == len(found.smoothed) == STEPS
    assert 1e-3 < found.suggestion < found.lowest_at


def test_a_loss_that_fell_near_zero_may_waver():
    losses = curve(lowest=0.01, explodes_at=100.0)
    losses[270:] = 0.5  # fifty times the best, and far below where it began
    assert read(losses).diverged_at is None


def test_a_loss_below_zero_diverges_by_its_rise():
    below = curve(first=-1.0, lowest=-5.0, explodes_at=100.0)
    assert read(below).diverged_at is None
    below[250:] = 50.0  # the mean is -5 + 55 (1 - β^k) after k steps; it diverges above -5 + 3 · 5
    assert read(below).diverged_at == LRS[253]


@pytest.mark.parametrize("seed", range(20))
def test_noise_moves_the_suggestion_by_less_than_half_a_decade(seed):
    """Batch losses of a classifier vary by about 0.3; the fall measures 1.8."""
    still = read(curve(falls_at=1e-4, bottom_at=1e-2)).suggestion
    noise = np.random.default_rng(seed).normal(scale=0.3, size=STEPS)
    found = read(curve(falls_at=1e-4, bottom_at=1e-2) + noise)
    assert abs(np.log10(found.suggestion / still)) < 0.5
    assert found.suggestion <= min(found.diverged_at / 10, found.lowest_at)


def test_noise_alone_is_no_fall():
    generator = np.random.default_rng(0)
    for draw in (generator.normal, generator.exponential):
        for _ in range(300):
            with pytest.raises(ModelError, match="by chance"):
                read(2.3 + 0.3 * draw(size=STEPS))
    assert FALL_ERRORS == 6.0  # the number that the comment beside it is about


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (np.full(STEPS, 2.3), "falls somewhere"),
        (curve(falls_at=20.0, bottom_at=30.0, explodes_at=1e-3), "diverges at 0.00"),
        (2.3 * 3.0 ** np.arange(STEPS), "diverges at"),
        (np.full(STEPS, np.nan), "finite loss before the first"),
    ],
    ids=["constant", "never falls", "explodes at once", "not finite"],
)
def test_what_never_falls_is_an_error(losses, message):
    with pytest.raises(ModelError, match=message):
        read(losses)


def test_the_median_of_several_searches_passes_over_one_that_is_off():
    good = curve()
    off = good.copy()
    off[100:110] = 80.0
    assert read_curves(LRS, np.stack([good, off, good])).suggestion == read(good).suggestion
    stopped = good.copy()
    stopped[150:] = np.nan
    found = read_curves(LRS, np.stack([good, stopped, good]))
    assert found.diverged_at == read(good).diverged_at
    assert found.curves.shape == (3, len(found.lrs))
    assert np.isinf(found.curves[1, 150:]).all()


def test_a_search_is_judged_the_same_in_parts():
    """The host looks between chunks: what it sees early must not stop a search that the whole would not."""
    losses = curve() + np.random.default_rng(3).normal(scale=0.3, size=STEPS)
    end = divergence(losses, STEPS)
    assert end is not None
    for made in range(1, STEPS, 7):
        assert divergence(losses[:made], STEPS) == (end if made > end else None)


def test_a_record_survives_its_file():
    found = read_curves(LRS, np.stack([curve(), curve(explodes_at=0.1), curve()]))
    again = FoundRate.from_dict(json.loads(to_json(found.to_dict())))
    for name, value in vars(found).items():
        np.testing.assert_array_equal(getattr(again, name), value, err_msg=name)


def test_the_picture_shows_curve_suggestion_and_divergence():
    found = read(curve())
    figure = found.plot()
    traces = {trace.name.split()[0]: trace for trace in figure.data}
    assert set(traces) == {"batch", "smoothed", "suggestion", "diverged"}
    assert figure.layout.xaxis.type == "log"
    assert set(traces["suggestion"].x) == {found.suggestion}
    assert set(traces["diverged"].x) == {found.diverged_at}
    low, high = figure.layout.yaxis.range
    assert low < found.smoothed.min() < found.first_loss < high
    assert "diverged" not in str([trace.name for trace in read(curve(explodes_at=100.0)).plot().data])
