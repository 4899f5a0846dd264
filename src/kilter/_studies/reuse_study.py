"""``kilter.reuse_study``: does reuse beat training from scratch, and with how many labels?"""

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kilter._array_types import Arrays, HeldLabels, HeldOut, Labels
from kilter._compare.comparison import Candidate, Comparison, PairedRun, judge, verdicts
from kilter._compare.looks import planned_pairs
from kilter._engine.arrays import collect
from kilter._engine.checks import check_inputs
from kilter._progress import Verbose, shown
from kilter._records import Figure, drawn
from kilter._studies.encoders import Build, Plan, Pretraining, Way, ready, small_encoder, trained
from kilter._transfer.reusing import reuse
from kilter._transfer.stages import Stage
from kilter._validation import whole_number
from kilter.errors import DataError, OptionError
from kilter.runs.records import to_json


def labelled_first(y: np.ndarray, *, seed: int) -> np.ndarray:
    """Row numbers ordered so that the first n rows are a stratified sample, for every n.

    ``y``: whole numbers, shape (rows,). A larger sample contains the smaller ones.

    Example:
        >>> order = labelled_first(np.array([0] * 6 + [1] * 3), seed=0)
        >>> np.bincount(np.array([0] * 6 + [1] * 3)[order[:3]]).tolist()
        [2, 1]
    """
    generator = np.random.default_rng(seed)
    place = np.empty(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        place[generator.permutation(rows)] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.lexsort((generator.random(len(y)), place))


def class_numbers(y: Any, name: str = "y") -> np.ndarray:
    """``y`` as class numbers of shape (rows,); :class:`DataError` for anything but classes.

    A last axis of length 1 is dropped.
    """
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        raise DataError(
            expected=f"{name} as class numbers from 0, shape (rows,)",
            received=f"{name} of shape {labels.shape} and type {labels.dtype}",
            remedy="number the classes, for example with np.unique(y, return_inverse=True)",
        )
    return labels.astype(np.int32)


SCRATCH = "scratch"
METRIC = "test_accuracy"
_USUAL_PAIRS = 10


@dataclass(frozen=True)
class ReuseStudy:
    """The result of :func:`kilter.reuse_study`.

    ``comparisons`` has one comparison for each number of ``labels``. Its baseline is training from scratch,
    its scores are the accuracy on ``tested`` rows after the last epoch. Each way got ``unlabelled`` rows;
    ``pretraining`` has the seconds that it needed for them, the median over the pairs.
    """

    labels: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    unlabelled: int
    tested: int
    pretraining: Mapping[str, float]

    def table(self) -> list[dict[str, Any]]:
        """A row for each number of labels and way, as in the table of a comparison."""
        return [
            {"labels": count, **row, "pairs": len(one.baseline.runs)}
            for count, one in zip(self.labels, self.comparisons, strict=True)
            for row in one.table()
        ]

    def verdicts(self) -> list[str]:
        """A sentence for each number of labels and way."""
        return [
            f"{count} labels: {sentence}"
            for count, one in zip(self.labels, self.comparisons, strict=True)
            for sentence in verdicts(one)
        ]

    def plot(self) -> Figure:
        """Accuracy against the number of labels, a line for each way: mean, lowest and highest pair."""
        return drawn("reuse_study", self)

    def to_json(self) -> str:
        """Everything as JSON; non-finite numbers are the strings "nan", "inf" and "-inf"."""
        return to_json(asdict(self), indent=2)


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is: ``done`` of ``total`` training runs on labels, and the last one that ended."""

    done: int
    total: int
    way: str
    labels: int
    run: PairedRun


def reuse_study(
    x: Arrays,
    y: Labels,
    *,
    test_data: tuple[HeldOut, HeldLabels],
    encoder: Build | None = None,
    ways: Mapping[str, Way] | Sequence[str] = ("autoencoder", "contrastive"),
    labels: Sequence[int] = (100, 500, 2000),
    unlabelled: int | None = None,
    pairs: int | None = None,
    stages: Sequence[Stage] | None = None,
    epochs: int = 40,
    learning_rate: float = 1e-3,
    batch_size: int = 32,
    pretraining: Pretraining | None = None,
    level: float = 0.05,
    seed: int = 0,
    progress: Callable[[StudyProgress], object] | None = None,
    verbose: Verbose = "auto",
) -> ReuseStudy:
    """Train on few labels, from scratch and from reused layers, on paired seeds, and test the differences.

    Pair k of n uses seed ``seed + k`` for the choice of labelled rows (stratified; the rows of 100 labels are
    among those of 500), initial weights and shuffling, the same for all ways. In each pair, a way pretrains
    once on the remaining rows, without labels. Its model is then reused and fine-tuned for each number of
    labels, for as many epochs as training from scratch.

    Args:
        x, y: rows and class numbers; each pair uses some with labels and the others without.
        test_data: ``(x, y)`` to score each network on, after its last epoch.
        encoder: a function seed -> new, untrained, uncompiled encoder, used by all ways and from scratch; by
            default a small one, convolutional for images and dense for tables.
        ways: names of built-in ways ("autoencoder", "denoising", "rotation", "masked-patch", "jigsaw",
            "contrastive", "gan"), or ``kilter.Way`` records by name.
        labels: the numbers of labelled rows.
        unlabelled: the maximum number of rows to use without labels; None for all.
        pairs: at least 2; by default 10, or more if a verdict needs them. Warns if there are fewer than a
            verdict needs (6 for one way, 7 for two or three).
        stages: of :func:`kilter.fine_tune` for reused layers; by default a quarter of ``epochs`` for the head
            alone, then all layers at a third of ``learning_rate``. From scratch all layers are trained for
            as many epochs at ``learning_rate``.
        epochs, learning_rate, batch_size: of the training on labels.
        pretraining: how the built-in ways train.
        level: the probability of any false claim, over all ways with the same number of labels.
        progress: called after each training on labels.
        verbose: as of :func:`kilter.diagnose`.

    Raises a :class:`~kilter.errors.KilterError` before anything is trained.

    Example::

        study = kilter.reuse_study(x, y, test_data=(x_test, y_test), ways=["contrastive"], pairs=10)
        study.verdicts(), study.plot()
    """
    given, known = collect(x), class_numbers(y)
    rows = np.asarray(given.data[0])
    shape = rows.shape[1:]
    tested = (test_data[0], class_numbers(test_data[1], "the labels of test_data"))
    counts = _checked_counts(labels, known, len(rows), seed)
    whole_number("epochs", epochs, 1)
    plan = Plan(int(known.max()) + 1, epochs, learning_rate, batch_size)
    build = encoder or (lambda seed: small_encoder(rows, seed=seed))
    tuning = plan.of_reused() if stages is None else tuple(stages)
    whole = plan.from_scratch(sum(stage.epochs for stage in tuning))
    named = {SCRATCH: Way(lambda _, seed: build(seed), keep="all", stages=whole)}
    named |= _named(ways, build, pretraining or Pretraining())
    pairs = planned_pairs(pairs, len(named) - 1, level, usual=_USUAL_PAIRS)
    for each in (given, collect(*tested)):
        check_inputs(build(seed), each)
    parts = [
        Part(order[counts[-1] :][:unlabelled], tuple(order[:count] for count in counts), number)
        for number in range(seed, seed + pairs)
        for order in [labelled_first(known, seed=number)]
    ]
    found: dict[tuple[str, int], list[PairedRun]] = {(way, n): [] for way in named for n in counts}
    seconds: dict[str, list[float]] = {name: [] for name in named}
    with shown(verbose) as listener:
        for part, (name, way) in itertools.product(parts, named.items()):
            if name != SCRATCH:
                listener.stage("Study: pretraining for pair", part.seed - seed + 1, pairs, detail=name)
            source = _timed(seconds[name], way, rows[part.unlabelled], part.seed)
            for count, chosen in zip(counts, part.labelled, strict=True):
                done = sum(map(len, found.values())) + 1
                listener.stage("Study: training", done, len(found) * pairs, detail=f"{name} {count} labels")
                keep = "all" if way.keep is None else way.keep
                student = reuse(source, keep=keep, head=plan.classes, input_shape=shape, seed=part.seed)
                own = tuning if way.stages is None else way.stages
                run = trained(student, own, plan, (rows[chosen], known[chosen]), tested, part.seed)
                found[name, count].append(run)
                if progress is not None:
                    progress(StudyProgress(done, len(found) * pairs, name, count, run))
    comparisons = tuple(_judged(found, count, level) for count in counts)
    spent = {name: statistics.median(each) for name, each in seconds.items() if name != SCRATCH}
    return ReuseStudy(counts, comparisons, len(parts[0].unlabelled), len(tested[1]), spent)


def _timed(seconds: list[float], way: Way, unlabelled: np.ndarray, seed: int) -> keras.Model:
    """The model of a way; appends its duration to ``seconds``."""
    began = time.perf_counter()
    source = way.source(unlabelled, seed)
    seconds.append(time.perf_counter() - began)
    return source


def _judged(found: Mapping[tuple[str, int], list[PairedRun]], labels: int, level: float) -> Comparison:
    """The comparison of all ways at one number of labels, with training from scratch as the baseline."""
    runs = [Candidate(name, tuple(some)) for (name, count), some in found.items() if count == labels]
    return judge(runs, METRIC, level=level, path=Path())


@dataclass(frozen=True, eq=False)
class Part:
    """The row numbers of one pair: rows without labels, and rows for each number of labels."""

    unlabelled: np.ndarray
    labelled: tuple[np.ndarray, ...]
    seed: int


def _named(ways: Mapping[str, Way] | Sequence[str], build: Build, pretraining: Pretraining) -> dict[str, Way]:
    if isinstance(ways, str) or not ways or SCRATCH in ways:
        raise OptionError(
            expected=f"ways: a list of names, or Way records by name, none called {SCRATCH!r}",
            received=f"ways={ways!r}",
            remedy="for example ways=['autoencoder', 'contrastive']",
        )
    if isinstance(ways, Mapping):
        return dict(ways)
    return {name: ready(name, build, pretraining) for name in ways}


def _checked_counts(labels: Sequence[int], y: np.ndarray, rows: int, seed: int) -> tuple[int, ...]:
    """The numbers of labels in ascending order, without duplicates, if there are enough rows."""
    whole_number("seed", seed, 0)
    classes = len(np.unique(y))
    counts = tuple(sorted(set(labels)))
    if not counts or any(isinstance(count, bool) or not isinstance(count, int) for count in counts):
        raise OptionError(
            expected="labels: whole numbers of rows",
            received=f"labels={labels!r}",
            remedy="for example labels=(100, 500)",
        )
    if rows != len(y) or counts[0] < classes or counts[-1] > rows:
        raise DataError(
            expected=f"a label for each row, and from {classes} (one of each class) to {rows} labelled rows",
            received=f"{rows} rows, {len(y)} labels in y, and labels={counts}",
            remedy="ask for fewer labels, or pass more rows",
        )
    return counts
