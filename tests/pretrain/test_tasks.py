"""The tasks themselves, against slow references and closed forms."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kilter.pretrain.targets import Targets, targets_for
from kilter.pretrain.tasks.contrastive import nt_xent
from kilter.pretrain.tasks.jigsaw import Jigsaw, distant_permutations, shuffle_tiles
from kilter.pretrain.tasks.masked_patch import MaskedPatch
from kilter.pretrain.tasks.pairs import Pairs
from kilter.pretrain.tasks.reconstruction import Noise, Reconstruction, Sparsity
from kilter.pretrain.tasks.rotation import Rotation

KEY = jax.random.key(5)
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 6, 6, 2)).astype("uint8")
UNIT = Targets("mse", (0.0,), (1.0,))


def slow_nt_xent(first, second, temperature):
    """Algorithm 1 of the SimCLR paper, a view at a time, in float64."""
    views = np.concatenate([first, second]).astype("float64")
    count = len(views)
    losses, hits = [], []
    for i in range(count):
        partner = (i + count // 2) % count
        others = [k for k in range(count) if k != i]
        cosines = {
            k: views[i] @ views[k] / (np.linalg.norm(views[i]) * np.linalg.norm(views[k])) for k in others
        }
        total = sum(np.exp(cosines[k] / temperature) for k in others)
        losses.append(-np.log(np.exp(cosines[partner] / temperature) / total))
        hits.append(max(others, key=cosines.get) == partner)
    return np.mean(losses), np.mean(hits)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("rows", "temperature"), [(2, 0.5), (7, 0.1), (16, 1.0)])
def test_nt_xent_is_the_papers(rows, temperature):
    rng = np.random.default_rng(rows)
    first = rng.normal(size=(rows, 5)).astype("float32")
    second = (first + rng.normal(size=(rows, 5))).astype("float32")
    loss, accuracy = nt_xent(jnp.asarray(first), jnp.asarray(second), temperature)
    expected = slow_nt_xent(first, second, temperature)
    assert float(loss) == pytest.approx(expected[0], rel=1e-4)
    assert float(accuracy) == pytest.approx(expected[1])


@pytest.mark.long
def test_nt_xent_of_views_that_are_all_alike_is_the_logarithm_of_their_number():
    same = jnp.ones((4, 3))
    assert float(nt_xent(same, same, 0.2)[0]) == pytest.approx(np.log(7), rel=1e-5)
    one = jnp.ones((1, 3))
    assert float(nt_xent(one, one, 0.2)[0]) == pytest.approx(0, abs=1e-6)
    gradient = jax.grad(lambda x: nt_xent(x, x, 0.2)[0])(jnp.zeros((3, 2)))
    assert np.isfinite(gradient).all()


def test_a_turned_image_is_numpys():
    turned, answer = Rotation().pose(KEY, jnp.asarray(IMAGES), training=True)
    assert turned.dtype == IMAGES.dtype
    assert set(np.asarray(answer).tolist()) == {0, 1, 2, 3}
    for image, quarters, result in zip(IMAGES, np.asarray(answer), np.asarray(turned), strict=True):
        assert np.array_equal(np.rot90(image, quarters), result)


@pytest.mark.parametrize("tiles", [2, 3])
def test_tiles_are_shuffled_whole(tiles):
    order = distant_permutations(tiles**2, 30, seed=0)
    shuffled, answer = Jigsaw(tiles, order).pose(KEY, jnp.asarray(IMAGES), training=True)
    side = 6 // tiles
    places = list(itertools.product(range(tiles), range(tiles)))
    for image, number, result in zip(IMAGES, np.asarray(answer), np.asarray(shuffled), strict=True):
        for (row, column), origin in zip(places, order[number], strict=True):
            top, left = places[origin]
            assert np.array_equal(
                result[row * side : (row + 1) * side, column * side : (column + 1) * side],
                image[top * side : (top + 1) * side, left * side : (left + 1) * side],
            )
    straight = jnp.tile(jnp.arange(tiles**2), (len(IMAGES), 1))
    assert np.array_equal(shuffle_tiles(jnp.asarray(IMAGES), straight, tiles), IMAGES)


def test_permutations_differ_in_many_places():
    chosen = np.array(distant_permutations(9, 30, seed=1))
    assert (np.sort(chosen, axis=1) == np.arange(9)).all()
    apart = [(one != other).sum() for one, other in itertools.combinations(chosen, 2)]
    drawn = np.random.default_rng(0).permuted(np.tile(np.arange(9), (30, 1)), axis=1)
    by_chance = [(one != other).sum() for one, other in itertools.combinations(drawn, 2)]
    assert min(apart) > min(by_chance)
    assert len(set(map(tuple, chosen.tolist()))) == 30
    assert distant_permutations(9, 30, seed=1) == distant_permutations(9, 30, seed=1)


@pytest.mark.parametrize(
    ("patch", "share", "squares"), [(2, 0.5, 4), (3, 0.5, 2), (2, 0.01, 1), (2, 0.99, 8)]
)
def test_masked_patches_are_so_many_whole_squares(patch, share, squares):
    task = MaskedPatch(UNIT, patch, share, (7.0, 9.0))
    question, (target, hidden) = task.pose(KEY, jnp.asarray(IMAGES), training=True)
    cells = np.asarray(hidden)[..., 0].reshape(32, 6 // patch, patch, 6 // patch, patch)
    whole = cells.all(axis=(2, 4))
    assert np.array_equal(whole, cells.any(axis=(2, 4)))
    assert (whole.sum(axis=(1, 2)) == squares).all()
    assert len({tuple(one.ravel()) for one in whole}) > 3  # drawn anew for each image
    expected = np.where(np.asarray(hidden), np.float32([7, 9]), IMAGES)
    assert np.array_equal(question, expected)
    assert np.array_equal(target, IMAGES.astype("float32"))


def test_only_masked_pixels_count():
    task = MaskedPatch(UNIT, 2, 0.5, (0.0, 0.0))
    _, (target, hidden) = task.pose(KEY, jnp.asarray(IMAGES), training=True)
    wrong_elsewhere = jnp.where(hidden, target + 2.0, 99.0)
    judged = task.judge(lambda codes: codes, wrong_elsewhere, (target, hidden))
    assert float(judged.loss) == pytest.approx(4.0)
    assert float(judged.measure) == pytest.approx(4.0)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("count", [1, 9, 200])
def test_partners_are_of_the_kind_that_was_drawn(count):
    groups = jnp.asarray(np.random.default_rng(1).integers(0, 5, count))
    x = {"rows": jnp.arange(count), "groups": groups}
    _, (partner, same, counts) = Pairs().pose(KEY, x, training=True)
    kept = np.asarray(counts)
    own, others = np.asarray(groups)[kept], np.asarray(groups)[np.asarray(partner)][kept]
    assert np.array_equal(own == others, np.asarray(same)[kept])
    assert (np.asarray(partner)[kept] != np.arange(count)[kept]).all()
    if count == 200:
        assert kept.all()
        assert 70 < np.asarray(same).sum() < 130
    if count == 1:
        assert not kept.any()
        judged = Pairs().judge(lambda apart: apart, jnp.ones((1, 1)), (partner, same, counts))
        assert (float(judged.loss), float(judged.weight)) == (0.0, 0.0)


def test_both_kinds_of_pairs_have_half_the_say():
    codes = jnp.asarray([[0.0], [0.0], [0.0], [9.0]])
    partner, same = jnp.asarray([1, 0, 1, 0]), jnp.asarray([True, True, True, False])
    judged = Pairs().judge(lambda apart: 1.0 - apart, codes, (partner, same, jnp.ones(4, bool)))
    assert float(judged.measure) == 1.0
    expected = (np.log1p(np.exp(-1.0)) + np.log1p(np.exp(-8.0))) / 2
    assert float(judged.loss) == pytest.approx(expected, rel=1e-5)


def test_noise_is_for_training_only():
    rows = jnp.asarray(np.random.default_rng(0).uniform(0, 50, (500, 4)), jnp.float32)
    targets = Targets("mse", (10.0,), (5.0,))
    gaussian = Reconstruction(targets, Noise("gaussian", 0.4))
    question, (target, _) = gaussian.pose(KEY, rows, training=True)
    assert float((question - rows).std()) == pytest.approx(0.4 * 5, rel=0.05)
    assert np.allclose(target, (rows - 10) / 5)
    masked, _ = Reconstruction(targets, Noise("masking", 0.25)).pose(KEY, rows, training=True)
    blank = np.isclose(masked, 10.0)
    assert blank.mean() == pytest.approx(0.25, abs=0.03)
    assert np.allclose(np.asarray(masked)[~blank], np.asarray(rows)[~blank], atol=1e-4)
    assert np.array_equal(gaussian.pose(KEY, rows, training=False)[0], rows)


def test_penalties_by_hand():
    codes = jnp.asarray([[0.1, 0.6], [0.3, 0.2]])
    assert float(Sparsity("l1", 2.0, 0.1).cost(codes)) == pytest.approx(2 * (0.7 + 0.5) / 2)
    mean = np.array([0.2, 0.4])
    divergence = 0.1 * np.log(0.1 / mean) + 0.9 * np.log(0.9 / (1 - mean))
    assert float(Sparsity("kl", 3.0, 0.1).cost(codes)) == pytest.approx(3 * divergence.sum(), rel=1e-5)
    assert float(Sparsity("kl", 1.0, 0.4).cost(jnp.full((5, 3), 0.4))) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(jax.grad(Sparsity("kl", 1.0, 0.1).cost)(jnp.zeros((2, 2)))).all()


def test_the_targets_fit_the_data():
    rng = np.random.default_rng(0)
    assert targets_for(IMAGES) == Targets("bce", (0.0,), (255.0,))
    assert targets_for(IMAGES // 16) == Targets("bce", (0.0,), (15.0,))
    assert targets_for(IMAGES, "mse") == Targets("mse", (0.0,), (255.0,))
    assert targets_for(rng.random((9, 4))) == Targets("bce", (0.0,), (1.0,))
    rows = rng.normal(3, 2, (500, 2)).astype("float32")
    fitted = targets_for(rows)
    assert fitted.loss == "mse"
    assert np.allclose(fitted.of(jnp.asarray(rows)), (rows - rows.mean(axis=0)) / rows.std(axis=0), atol=1e-4)
    assert np.allclose(fitted.undo(fitted.of(jnp.asarray(rows))), rows, atol=1e-4)
    ranged = targets_for(rows, "bce")
    assert float(ranged.of(jnp.asarray(rows)).min()) == 0.0
    assert float(ranged.of(jnp.asarray(rows)).max()) == pytest.approx(1.0)


def test_the_cross_entropy_is_that_of_the_probabilities():
    logits = np.array([-90.0, -2.0, 0.0, 3.0, 90.0], "float32")
    target = np.array([0.0, 0.3, 1.0, 0.5, 1.0], "float32")
    losses = np.asarray(Targets("bce", (0.0,), (1.0,)).losses(jnp.asarray(logits), jnp.asarray(target)))
    share = 1 / (1 + np.exp(-logits.astype("float64")))
    expected = -(target * np.log(share) + (1 - target) * np.log1p(-np.minimum(share, 1 - 1e-15)))
    assert np.allclose(losses, expected, atol=1e-6)
