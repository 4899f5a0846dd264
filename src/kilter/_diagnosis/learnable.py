"""Whether the inputs predict the targets at all: an exact label-permutation test with cheap learners."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import RandomTreesEmbedding
from sklearn.neighbors import NearestNeighbors

from kilter._diagnosis.context import Context
from kilter._diagnosis.skill import features
from kilter._diagnosis.targets import labels

ROWS: Final = 600
_LEAST_ROWS: Final = 40
_PERMUTATIONS: Final = 199
_MOST_CLASSES: Final = 50
_AROUND: Final = 7  # pixels


@dataclass(frozen=True)
class Learnable:
    """The result of :func:`learnable`.

    Attributes:
        learnable: True if the targets depend on the inputs (p at most 0.01); False if there is no evidence
            that they do (p above 0.05); None in between, and if it could not be tested.
        p: of the permutation test; NaN without one.
        tested: what was tested, as text.
    """

    learnable: bool | None
    p: float
    tested: str


def learnable(context: Context, seed: int = 0) -> Learnable:
    """Test whether rows with similar inputs have similar targets, compared with permuted targets.

    Smoothers that do not look at the targets (nearest neighbours, a ridge regression, random trees, rows with
    the same ids) measure how far the targets of a row agree with those of similar rows. The statistic is the
    largest of them, each in deviations over permutations; p is exact, since under noise every permutation is
    equally likely. False does not exclude a dependence that none of them can see, such as a parity of many
    columns.
    """
    rows, targets = _around_pixels(context, seed) or (features(context, context.x), _targets(context))
    if rows is None or targets is None or len(rows) < _LEAST_ROWS:
        return Learnable(
            None, float("nan"), "nothing: inputs or targets are not numbers, or there are too few rows"
        )
    limits, random = context.thresholds, np.random.default_rng(seed)
    chosen = random.permutation(len(rows))[:ROWS]
    rows, targets = rows[chosen], targets[chosen]
    same = _same_ids(rows)
    spread = rows.std(axis=0)
    if not (spread > 0).any() or not np.any(targets.std(axis=0) > 0):
        return Learnable(None, float("nan"), "nothing: inputs or targets are constant")
    rows = (rows - rows.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    smoothers = [_near(rows), _ridge(rows), _trees(rows, seed)] + ([] if same is None else [same])
    orders = [np.arange(len(rows)), *(random.permutation(len(rows)) for _ in range(_PERMUTATIONS))]
    permuted = targets[np.stack(orders)]  # [orders, rows, columns]
    side_by_side = np.moveaxis(permuted, 0, 1).reshape(len(rows), -1)
    products = [side_by_side * (one @ side_by_side) for one in smoothers]
    agreement = np.stack(
        [one.reshape(len(rows), len(orders), -1).sum(axis=(0, 2)) for one in products], axis=1
    )
    deviation = np.maximum(agreement.std(axis=0), 1e-12)
    largest = ((agreement - agreement.mean(axis=0)) / deviation).max(axis=1)
    p = float(np.mean(largest >= largest[0]))
    answer = True if p <= limits.related_p else False if p > limits.unrelated_p else None
    return Learnable(answer, p, f"neighbours, ridge and random trees on {len(rows)} rows")


def _around_pixels(context: Context, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """For masks of the size of the images: what lies around a pixel of each row, and its target.

    What a network learns from masks is the same everywhere, which whole images do not show. Every second row
    gives a pixel of a rare class if it has one: few of any others would tell classes apart.
    """
    if len(context.inputs) != 1 or len(context.outputs) != 1 or context.outputs[0].targets is None:
        return None
    images, masks = context.inputs[0], np.asarray(context.outputs[0].targets)
    if images.ndim != 4 or masks.ndim < 3 or masks.shape[1:3] != images.shape[1:3]:
        return None
    if min(images.shape[1:3]) < _AROUND or images.dtype.kind not in "fiub":
        return None
    random, count = np.random.default_rng(seed), min(len(images), ROWS)
    windows = np.lib.stride_tricks.sliding_window_view(images, (_AROUND, _AROUND), (1, 2))
    # Nothing beyond the edges, which would tell where a pixel lies: masks may depend on that alone.
    rows, across = (random.integers(0, side, count) for side in windows.shape[1:3])
    chosen, half = random.permutation(len(images))[:count], _AROUND // 2
    inside = masks[:, half : half + windows.shape[1], half : half + windows.shape[2]]
    inside = inside.reshape(*inside.shape[:3], -1)
    usual = np.median(inside.reshape(-1, inside.shape[-1]), axis=0)
    for place in range(0, count, 2):
        rare = np.argwhere((inside[chosen[place]] != usual).any(axis=-1))
        if len(rare):
            rows[place], across[place] = rare[random.integers(len(rare))]
    targets = _centred(masks[chosen, rows + half, across + half].reshape(count, -1))
    if targets is None:
        return None
    return windows[chosen, rows, across].reshape(count, -1).astype(np.float64), targets


def _targets(context: Context) -> np.ndarray | None:
    """The targets of all outputs as columns; None where an output has none that are numbers."""
    made = [None if one.targets is None else _centred(np.asarray(one.targets)) for one in context.outputs]
    known = [one for one in made if one is not None]
    return np.concatenate(known, axis=1) if known and len(known) == len(made) else None


def _centred(targets: np.ndarray) -> np.ndarray | None:
    """Targets as columns of mean 0 and variance 1: one for each class, or the ranks of numbers."""
    if targets.dtype.kind not in "fiub" or not np.isfinite(targets).all():
        return None
    classes = labels(targets)
    if classes is not None and classes.max() < _MOST_CLASSES:
        columns = np.eye(int(classes.max()) + 1)[classes]
    else:
        flat = targets.reshape(len(targets), -1)
        columns = rankdata(flat[:, :: -(-flat.shape[1] // _MOST_CLASSES)], axis=0)
    columns = columns - columns.mean(axis=0)
    deviation = columns.std(axis=0)
    return columns[:, deviation > 0] / deviation[deviation > 0]


def _near(rows: np.ndarray) -> np.ndarray:
    """1 for each of the ten nearest neighbours of a row."""
    found = NearestNeighbors(n_neighbors=min(10, len(rows) - 1)).fit(rows).kneighbors(return_distance=False)
    weights = np.zeros((len(rows), len(rows)))
    np.put_along_axis(weights, found, 1.0, axis=1)
    return weights


def _ridge(rows: np.ndarray) -> np.ndarray:
    """The hat matrix of a ridge regression, without its diagonal."""
    gram = rows @ rows.T
    penalty = max(float(np.trace(gram)) / len(rows), 1e-9)
    return _without_self(np.linalg.solve(gram + penalty * np.eye(len(rows)), gram))


def _same_ids(rows: np.ndarray) -> np.ndarray | None:
    """The mean over the rows with the same id, as weights [rows, rows], summed over the columns of ids.

    Ids are whole numbers that repeat; None without such columns. Other smoothers do not see ids that were
    numbered at random, because the numbers near one say nothing about it.
    """
    columns = [one for one in rows.T[:_MOST_CLASSES] if are_repeated(one)]
    alike = [(one[:, None] == one).astype(np.float64) for one in columns]
    shares = [_without_self(one / one.sum(axis=1, keepdims=True)) for one in alike]
    return np.sum(shares, axis=0) if shares else None


def are_repeated(column: np.ndarray) -> bool:
    """Whether a column holds ten different whole numbers or more, each three times or more on average."""
    kinds = len(np.unique(column))
    return 10 <= kinds <= len(column) / 3 and bool(np.all(column == np.round(column)))


def _trees(rows: np.ndarray, seed: int) -> np.ndarray:
    """How often two rows share a leaf of trees split at random."""
    made = RandomTreesEmbedding(n_estimators=60, max_depth=5, random_state=seed)
    leaves = np.asarray(made.fit_transform(rows).todense())
    return _without_self((leaves / np.maximum(leaves.sum(axis=0), 1)) @ leaves.T)


def _without_self(weights: np.ndarray) -> np.ndarray:
    weights = weights.copy()
    np.fill_diagonal(weights, 0.0)
    return weights
