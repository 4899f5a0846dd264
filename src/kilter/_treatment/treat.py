"""``treat``: find what is wrong with a model, change it, prove the changes, and train the result.

The steps, from top to bottom: diagnosis → candidates and short trials (:mod:`search`) → full training
(:mod:`full_training`) → proof (:mod:`proof`) → result. Each step is a function of the records before it.
"""

import contextlib
import functools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import keras

from kilter._array_types import Arrays, HeldOut
from kilter._compare.looks import Spending
from kilter._diagnosis.context import check_names
from kilter._diagnosis.diagnose import Asked, Examined, examined
from kilter._engine.augmenting import Augment
from kilter._engine.measuring import probe
from kilter._engine.program_cache import compiled_for, shared_programs
from kilter._engine.scheduling import Schedule
from kilter._engine.training_spec import TrainingSpec, listed
from kilter._progress import Progress, Verbose, shown
from kilter._records import Diagnosis, Measurements
from kilter._text import few
from kilter._treatment.course import Round, course, unchanged
from kilter._treatment.deadline import Deadline
from kilter._treatment.full_training import AsGiven, train_as_given
from kilter._treatment.plan import RemedySet
from kilter._treatment.policy import Policy
from kilter._treatment.program import program
from kilter._treatment.remedies import REMEDIES, Remedy
from kilter._treatment.request import check_metric, check_numbers, kept, readable, subject_of
from kilter._treatment.result import Evaluation, Treatment, Trials
from kilter._treatment.safeguard import Returned, safest
from kilter._treatment.scoring import scoring_of
from kilter._treatment.search import Tools
from kilter._treatment.subject import Subject
from kilter.errors import KilterError
from kilter.schedules import Performance


def treat(
    model: keras.Model,
    x: Arrays,
    y: Arrays,
    *,
    validation_data: tuple[HeldOut, ...] | None = None,
    batch_size: int = 32,
    epochs: int = 10,
    shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Arrays | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    schedule: Schedule | Performance | None = None,
    augment: Augment | None = None,
    budget: float = 1.0,
    pairs: int = 6,
    seed: int = 0,
    keep: Collection[str] = (),
    remedies: Mapping[str, Remedy] = REMEDIES,
    metric: str | None = None,
    policy: Policy | None = None,
    max_seconds: float | None = None,
    features: Sequence[str] = (),
    verbose: Verbose = "auto",
) -> Treatment:
    """Find what is wrong with a model, change it, prove the changes, and train the result.

    The model and its planned training are diagnosed (:func:`kilter.diagnose`). If nothing can be learnt from
    the rows, no remedy is tried. Sets of remedies for the severe findings are tried in short training runs,
    causes before symptoms. The smallest set that suffices is trained for ``epochs``, stopped early at the
    best validation loss. If much is left to learn, so is the sound sibling: the same network with everything
    sound. The better one is tested on paired seeds against the original model, and has to be better by a
    difference that matters. Then each change is removed in turn, and what does not earn its place goes.
    Changes that are not proven, or that make any output's own measure worse, are dropped. A model without
    severe findings is trained as it is; it is treated only if it then falls short of its sibling or of the
    baselines.

    The returned model is not worse than the original one. The original model is trained too, with exactly the
    training given here, and both are scored on the same validation rows, by every measure of every output:
    accuracy for classes (balanced accuracy and average precision if one is rare), IoU and pixel accuracy for
    binary elements, root mean squared error for numbers, and compiled metrics. If the treated model is worse
    on any of them by more than chance explains (one standard error of the paired difference from a jackknife
    over 20 groups of rows, more for several measures), the original one is returned; ``.kept`` says why. A
    model that has learnt something already is returned untrained if more training makes it worse.

    Unless ``max_seconds`` is given, no clock decides anything: the same seed gives the same result.

    Args:
        model: compiled; it is not changed, the treated model is a copy.
        x, y: training data, arrays or nests of arrays.
        validation_data: (x, y) or (x, y, sample_weight). Without it a fifth of the rows, drawn with
            ``seed``, is held out.
        batch_size, epochs, shuffle, class_weight, sample_weight, callbacks, schedule, augment: as for
            :func:`kilter.fit`; every run uses them, short trials too. Callbacks are copied for each run. A
            model made for one batch size is trained and scored with whole batches of that size.
        budget: scales the work of trials, as a multiple of the full training's.
        pairs: the number of paired seeds of a proof, at least 6: fewer cannot reach a p of 0.05.
        seed: of weights, orders and searches.
        keep: codes of remedies that are not used, and names of layers that are not changed.
        remedies: the remedies to choose from, by code.
        metric: the measure that decides, such as "f1", "iou", "r2", or "rmse of price" for one of several
            outputs; by default what fits the targets (balanced accuracy if a class is rare).
        policy: every number that decides, see :class:`kilter.Policy`.
        max_seconds: when to stop early: after the epoch, short trial or part of the proof that is running
            then. Changes that are not proven by then are dropped; ``.stopped`` says what was left out.
        features: names of the columns of ``x``, for the findings; by default they are numbered.
        verbose: as for :func:`kilter.diagnose`.

    Raises what :func:`kilter.diagnose` raises, and :class:`~kilter.errors.OptionError` for pairs below 6, a
    negative budget, a max_seconds that is not above 0, options that :func:`kilter.fit` refuses, and names in
    ``keep`` that are neither a remedy nor a layer.
    """
    policy = Policy() if policy is None else policy
    check_names(x, features)
    check_numbers(pairs, budget, policy, max_seconds)
    deadline = Deadline(max_seconds)
    spec = TrainingSpec(
        epochs=epochs,
        batch_size=batch_size,
        shuffle=shuffle,
        validation_data=validation_data,
        class_weight=class_weight,
        sample_weight=sample_weight,
        schedule=schedule,
        augment=augment,
        callbacks=tuple(listed(callbacks)),
        seed=seed,
    )
    asked = replace(subject_of(model, x, y, spec, policy), features=tuple(features))
    remedy_set = RemedySet(remedies, kept(model, keep, remedies))
    check_metric(asked, metric)
    with shown(verbose) as progress, shared_programs(), _compiled(asked):
        begun = functools.cache(lambda: _begun(asked, metric, remedy_set, budget, progress, deadline))
        # The diagnosis uses the training as it was given, unless callbacks or the time may cut it short.
        whole = not spec.callbacks and max_seconds is None
        trained = (lambda: _trained(begun()[2])) if whole else None
        found = examined(
            model, asked.x, asked.y, asked.training, progress, Asked(features=asked.features, trained=trained)
        )
        severe = found.diagnosis.codes("severe")
        progress.stage(f"Diagnosed: {few(severe) if severe else 'nothing severe'}")
        original, tools, given = begun()
        best, noise = _best(original, found, given, tools, Spending(pairs, policy.search.level))
        treated = None if best.subject is original else best.trained
        returned = safest(original, treated, given, tools.scoring, by_reason=bool(best.trials.reason))
        progress.stage("Diagnosing the trained model")
        return replace(_result(original, found.diagnosis, best.trials, returned, tools), noise=noise)


def _begun(
    asked: Subject,
    metric: str | None,
    remedy_set: RemedySet,
    budget: float,
    progress: Progress,
    deadline: Deadline,
) -> tuple[Subject, Tools, AsGiven]:
    """The original model as remedies read it, the scoring, and the training as it was given."""
    original = readable(asked)
    progress.stage("Treating: measuring what nearest neighbours and ridge regression reach")
    tools = Tools(remedy_set, scoring_of(original, metric), budget, progress, deadline)
    return original, tools, train_as_given(original, tools)


def _trained(given: AsGiven) -> keras.Model | None:
    return None if given.last.failed else given.last.restored()


def _compiled(subject: Subject) -> contextlib.AbstractContextManager[None]:
    """How all programs of the treatment are compiled: as suits the steps of a full training."""
    policy, steps = subject.policy.search, subject.training.epochs * subject.steps_per_epoch
    return compiled_for(subject.model, steps, policy.quick_parameters)


def _best(
    original: Subject, found: Examined, given: AsGiven, tools: Tools, spending: Spending
) -> tuple[Round, str]:
    """The best subject; on noise the original one, with the finding that says so, else ""."""
    if found.noise and not tools.scoring.learnt_beyond_noise(given.best.score):
        said = (one.explanation for one in found.diagnosis.findings if one.code == "shuffled-labels")
        return unchanged(original, given, tools), next(said)
    return course(original, found.diagnosis, given, tools, spending, examined=found), ""


def _result(
    original: Subject, diagnosis: Diagnosis, trials: Trials, returned: Returned, tools: Tools
) -> Treatment:
    """Everything that the report shows, measured now; neither the original model nor the data are kept."""
    done, best = returned.trained, returned.trained.subject
    tried = dict.fromkeys(code for one in trials.tried for code in one.remedies)
    before = _measured(original)
    score, curves = _first_trial(trials)
    after = before if best is original else _measured(best)
    return Treatment(
        model=done.restored(),
        changes=best.changes,
        dropped=tuple(code for code in tried if code not in best.remedies),
        trials=trials,
        before=Evaluation(diagnosis, score, curves, returned.before, before),
        after=Evaluation(done.diagnosis, done.score, done.history.history, returned.after, after),
        seconds=tools.deadline.elapsed,
        name=original.model.name,
        skipped={
            code: reason for code, reason in tools.remedy_set.skipped.items() if code not in best.remedies
        },
        checks=returned.checks,
        kept=returned.kept,
        stopped=str(tools.deadline),
        program=program(original, best),
    )


def _measured(subject: Subject) -> Measurements | None:
    """One forward and backward pass through the layers; None for data that the model cannot take."""
    try:
        return probe(subject.model, subject.x, subject.y, seed=subject.seed)
    except KilterError:
        return None


def _first_trial(trials: Trials) -> tuple[float, dict[str, list[float]]]:
    """The original model's median score in the proof and the curves of its first run; NaN without a proof."""
    if trials.proof is None:
        return math.nan, {}
    original = trials.proof.baseline
    history = original.runs[0].history
    names = dict.fromkeys(name for line in history for name in line)
    return original.median, {name: [line[name] for line in history if name in line] for name in names}
