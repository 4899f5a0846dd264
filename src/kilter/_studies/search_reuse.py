"""``kilter.search_reuse``: how many layers of a trained model should be reused?"""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kilter._array_types import Arrays, HeldLabels, HeldOut, Labels
from kilter._compare.comparison import Candidate, Comparison, Difference, PairedRun, judge, verdicts
from kilter._compare.looks import planned_pairs
from kilter._engine.arrays import collect
from kilter._engine.checks import check_inputs
from kilter._models.layers import require_model
from kilter._models.variables import draw_weights
from kilter._progress import Verbose, shown
from kilter._records import Figure, drawn
from kilter._studies.encoders import Plan, trained
from kilter._studies.reuse_study import class_numbers
from kilter._transfer.cutting import cuts, find_cut
from kilter._transfer.reusing import Head, reuse
from kilter._transfer.stages import Stage
from kilter._validation import whole_number
from kilter.errors import DataError, OptionError
from kilter.runs.records import to_json


@dataclass(frozen=True)
class ReuseSearch:
    """The result of :func:`kilter.search_reuse`.

    ``kept`` are the numbers of layers tried. ``comparison`` has the same network with new weights as baseline
    and a candidate for each of them, scored by the validation accuracy after the last epoch.
    """

    kept: tuple[int, ...]
    comparison: Comparison

    @property
    def scores(self) -> dict[int, tuple[float, ...]]:
        """The scores for each number of layers, in the order of the seeds."""
        tried = self.comparison.candidates[1:]
        return {keep: one.scores for keep, one in zip(self.kept, tried, strict=True)}

    @property
    def best(self) -> int:
        """The number of layers with the highest mean score; the largest of several.

        A number of layers with a diverged run is the best only if all have one.
        """
        means = {keep: statistics.fmean(scores) for keep, scores in self.scores.items()}
        return max(means, key=lambda keep: (np.nan_to_num(means[keep], nan=-np.inf), keep))

    @property
    def evidence(self) -> Difference:
        """The best number of layers compared with new weights, corrected for the choice."""
        return self.comparison.differences[self.kept.index(self.best)]

    def verdicts(self) -> list[str]:
        """A sentence for each number of layers."""
        return verdicts(self.comparison)

    def table(self) -> list[dict[str, Any]]:
        """A row for new weights and one for each number of layers."""
        return self.comparison.table()

    def plot(self) -> Figure:
        """Accuracy against the number of layers reused: each run, the mean, and the mean with new weights."""
        return drawn("reuse_search", self)

    def to_json(self) -> str:
        """Everything as JSON; non-finite numbers are the strings "nan", "inf" and "-inf"."""
        return to_json({"best": self.best, **asdict(self)}, indent=2)


SCRATCH = "new weights"
METRIC = "val_accuracy"


def search_reuse(
    model: keras.Model,
    x: Arrays,
    y: Labels,
    *,
    validation_data: tuple[HeldOut, HeldLabels],
    head: Head,
    keep: Sequence[int] | None = None,
    input_shape: Sequence[int | None] | None = None,
    stages: Sequence[Stage] | None = None,
    epochs: int = 20,
    learning_rate: float = 1e-3,
    batch_size: int = 32,
    pairs: int | None = None,
    level: float = 0.05,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
    verbose: Verbose = "auto",
) -> ReuseSearch:
    """Reuse different numbers of a model's layers, on paired seeds, and test each against new weights.

    Pair k of n uses seed ``seed + k`` for the head's weights and for shuffling. All students train for the
    same number of epochs. The baseline is the student with the most layers and new weights: it shows whether
    the learnt weights help at all.

    Args:
        model: a trained model, as for :func:`kilter.reuse`; it does not change.
        x, y: rows and class numbers of the new task.
        validation_data: ``(x, y)`` to score students on, after their last epoch.
        head, input_shape: as for :func:`kilter.reuse`. ``head`` is a number of classes or a function that
            makes new layers; a layer raises an error, because students would share it.
        keep: numbers of layers with weights to try; by default all at which the model can be cut below its
            output.
        stages: of :func:`kilter.fine_tune`; by default a quarter of ``epochs`` for the head alone, then all
            layers at a third of ``learning_rate``. The baseline trains all layers for as many epochs.
        pairs: at least 2; by default 6, or more if a verdict needs them. Warns if there are too few.
        level: the probability of any false claim, over all numbers of layers.
        progress: called with the number of training runs done, and of all.
        verbose: as of :func:`kilter.diagnose`.

    Raises a :class:`~kilter.errors.KilterError` before anything is trained.

    Example::

        found = kilter.search_reuse(model, x, y, validation_data=(x_val, y_val), head=2)
        found.best, found.evidence.verdict, found.plot()
    """
    require_model(model)
    whole_number("epochs", epochs, 1)
    whole_number("seed", seed, 0)
    given = collect(x)
    labelled = (np.asarray(given.data[0]), class_numbers(y))
    tested = (validation_data[0], class_numbers(validation_data[1], "the labels of validation_data"))
    _check_fresh(head)
    kept = _checked_keep(model, keep)
    pairs = planned_pairs(pairs, len(kept), level)
    made = reuse(model, keep=kept[-1], head=head, input_shape=input_shape)
    for each in (given, collect(*tested)):
        check_inputs(made, each)
    _check_labels(made, labelled[1], tested[1])
    plan = Plan(int(labelled[1].max()) + 1, epochs, learning_rate, batch_size)
    tuning = plan.of_reused() if stages is None else tuple(stages)
    whole = plan.from_scratch(sum(stage.epochs for stage in tuning))
    seeds = range(seed, seed + pairs)

    def student(number: int, own_seed: int) -> keras.Model:
        return reuse(model, keep=number, head=head, input_shape=input_shape, seed=own_seed)

    runs: dict[str, list[PairedRun]] = {name: [] for name in (SCRATCH, *map(_name, kept))}
    with shown(verbose) as listener:
        for own, number in itertools.product(seeds, (None, *kept)):
            name, done = SCRATCH if number is None else _name(number), sum(map(len, runs.values()))
            listener.stage("Searching: training", done + 1, len(runs) * pairs, detail=name)
            made = student(kept[-1] if number is None else number, own)
            if number is None:
                draw_weights(made._flatten_layers(include_self=False), own)
            runs[name].append(trained(made, whole if number is None else tuning, plan, labelled, tested, own))
            if progress is not None:
                progress(done + 1, len(runs) * pairs)
    chosen = [Candidate(name, tuple(each)) for name, each in runs.items()]
    return ReuseSearch(kept, judge(chosen, METRIC, level=level, path=Path()))


def _name(kept: int) -> str:
    return f"keep {kept}"


def _check_fresh(head: Head) -> None:
    """Reject layers as head: each student needs its own head."""
    given = head if isinstance(head, list | tuple) else [head]
    if any(isinstance(one, keras.layers.Layer) for one in given):
        raise OptionError(
            expected="head as a number of classes, or a function from a tensor to a tensor",
            received="head with a layer in it, which all students would share",
            remedy="make the layers in a function: head=lambda codes: keras.layers.Dense(2)(codes)",
        )


def _checked_keep(model: keras.Model, keep: Sequence[int] | None) -> tuple[int, ...]:
    """The numbers of layers in ascending order, without duplicates; all below the output if None."""
    if keep is None:
        kept = [cut.keep for cut in cuts(model)]
        return tuple(kept[:-1] or kept)
    if isinstance(keep, str) or not isinstance(keep, Sequence) or not keep:
        raise OptionError(
            expected="keep: numbers of layers, at least one",
            received=f"keep={keep!r}",
            remedy="for example keep=range(1, 4), or leave it out",
        )
    return tuple(sorted({find_cut(model, number).keep for number in keep}))


def _check_labels(student: keras.Model, labels: np.ndarray, tested: np.ndarray) -> None:
    outputs = int(student.output_shape[-1])
    most = int(max(labels.max(), tested.max()))
    if most >= outputs:
        raise DataError(
            expected=f"class numbers from 0 to {outputs - 1}, as the head has {outputs} outputs",
            received=f"a label {most}",
            remedy="number the classes of the new task from 0, or give the head as many outputs",
        )
