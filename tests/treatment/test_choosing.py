"""The search for changes with remedies and runners made up, so that what is right is known."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import keras
import numpy as np
import pytest

from kilter._compare.comparison import OwnMeasure, PairedRun, proof_in_words
from kilter._compare.looks import Spending
from kilter._engine.training_spec import TrainingSpec
from kilter._models.optimizers import compiled_like, fresh_optimizer
from kilter._records import Change, Diagnosis, Finding
from kilter._treatment.full_training import train_as_given
from kilter._treatment.own_measures import class_numbers
from kilter._treatment.plan import RemedySet, cumulative, wanted
from kilter._treatment.proof import prove, proven, refusal
from kilter._treatment.remedies import Remedy
from kilter._treatment.result import Trials
from kilter._treatment.scoring import Scoring, scoring_of
from kilter._treatment.search import Choice, Search, Tools, fewest
from kilter._treatment.subject import Subject, copy_of
from kilter._treatment.trial_runner import TrialRunner

from . import faulty

SCORING = Scoring("val_accuracy", 0.5)


def finding(code: str, *remedies: str) -> Finding:
    return Finding(code, "severe", ("training",), (), "", remedies, "")


def change(code: str) -> Change:
    return Change(code, ("training",), "", "", "")


def nothing(subject: Subject, found: Finding) -> Subject:
    """A remedy that does nothing, under a name that says otherwise."""
    return subject.changed(change("one-cycle"))


def slower(subject: Subject, found: Finding) -> Subject:
    model = compiled_like(
        subject.model, copy_of(subject.model), optimizer=fresh_optimizer(subject.model, learning_rate=0.01)
    )
    return subject.changed(change("find-learning-rate"), model=model)


REMEDIES = {
    "one-cycle": Remedy(nothing),
    "find-learning-rate": Remedy(slower),
}


def subject(rate: float) -> Subject:
    model, x, y = faulty.healthy_blobs()
    model.compile(keras.optimizers.SGD(rate), faulty.SPARSE)
    spec = TrainingSpec(epochs=4, validation_data=(x[400:], y[400:]))
    return Subject(model, x[:400], y[:400], spec)


def chosen(came: Subject, *codes: str, keep=()):
    diagnosis = Diagnosis(tuple(finding(code, code) for code in codes))
    remedy_set = RemedySet(REMEDIES, keep)
    return fewest(came, diagnosis, Tools(remedy_set, scoring_of(came)))


def test_a_metric_of_a_number_for_each_class_is_none_of_the_judged_ones():
    plain = subject(0.01)
    plain.model.compile("adam", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    y = np.eye(3)[plain.y]
    came = Subject(plain.model, plain.x, y, TrainingSpec(epochs=2, validation_data=(plain.x, y)))
    tools = Tools(RemedySet(REMEDIES), scoring_of(came))
    assert np.ndim(train_as_given(came, tools).last.history.history["f1_score"][0]) == 1
    logs = TrialRunner(came, tools.scoring, 400).run(0, 2).history
    assert [set(line) for line in logs] == [{"loss"}] * 2


def proof_of(came: Subject, choice: Choice) -> Trials:
    assert choice.search is not None
    return proven(came, choice.subject, choice.search, Spending(6).take())


def test_a_change_that_does_nothing_has_no_evidence():
    came = subject(0.01)
    trials = proof_of(came, chosen(came, "one-cycle"))
    assert trials.verdict == "no evidence"
    assert trials.proof is not None
    assert trials.proof.differences[0].p == 1.0
    assert set(trials.proof.differences[0].differences) == {0.0}


def test_the_fewest_changes_that_suffice_are_taken():
    came = subject(1e4)
    choice = chosen(came, "one-cycle", "find-learning-rate")
    assert [one.remedy for one in choice.subject.changes] == ["find-learning-rate"]
    trials = proof_of(came, choice)
    assert trials.verdict == "better"
    assert [one.outcome for one in trials.tried if one.outcome.endswith("chosen")] == [
        "short trial: fewer changes, chosen"
    ]
    assert trials.tried[0].outcome == "original model: median of 6 short runs"
    assert trials.tried[0].remedies == ()


def test_a_subject_never_gets_the_runner_of_one_that_is_gone():
    came = subject(0.01)
    search = Search(SCORING, 1, 400, 0, 1.0)
    for rate in range(1, 30):
        one = came.with_training(seed=rate)
        assert search.runner(one).subject.seed == rate
        del one


def test_what_is_refused_is_not_tried():
    came = subject(1e4)
    choice = chosen(came, "find-learning-rate", keep=["find-learning-rate", "one-cycle"])
    assert choice.subject is came
    assert choice.search is None


def test_causes_come_before_symptoms_and_each_remedy_once():
    diagnosis = Diagnosis(
        (
            finding("rate-too-high", "find-learning-rate"),
            replace(finding("slow-convergence", "change-optimizer"), severity="warning"),
            finding("unscaled-inputs", "standardize-inputs"),
            finding("non-finite", "standardize-inputs", "clip-gradients"),
            finding("shuffled-labels"),
        )
    )
    assert [code for code, _ in wanted(diagnosis)] == ["standardize-inputs", "find-learning-rate"]
    stuck = finding("loss-not-moving", "one-cycle")
    both = Diagnosis((*diagnosis.findings, stuck))
    assert [code for code, _ in wanted(both)][-1] == "one-cycle"
    assert wanted(both, symptoms=False) == wanted(diagnosis)
    assert [code for code, _ in wanted(Diagnosis((stuck,)), symptoms=False)] == ["one-cycle"]
    came = subject(0.01)
    sets = cumulative(
        came, [("one-cycle", diagnosis.findings[0]), ("unknown", diagnosis.findings[0])], RemedySet(REMEDIES)
    )
    assert [len(one.changes) for one in sets] == [1]


@dataclass
class SimulatedRunner:
    """Scores drawn at random in the place of trainings."""

    draws: np.random.Generator
    gain: float = 0.0
    scoring: Scoring = SCORING

    def runs(self, seeds: Sequence[int], epochs: int, begin: object) -> list[PairedRun]:
        scores = [0.8 + self.gain + 0.02 * float(self.draws.standard_normal()) for _ in seeds]
        return [PairedRun(seed, score, 0, 0.0, (), "") for seed, score in zip(seeds, scores, strict=True)]


def claims(gain: float, trials: int) -> float:
    draws, test = np.random.default_rng(0), Spending(6).take()
    found = [
        prove(SimulatedRunner(draws), SimulatedRunner(draws, gain), 1, 0, test).differences[0].verdict  # type: ignore[arg-type]
        for _ in range(trials)
    ]
    return float(np.mean([verdict != "no evidence" for verdict in found]))


@pytest.mark.long
def test_of_200_trials_of_the_same_no_more_than_5_percent_claim_an_effect():
    assert claims(0.0, 200) <= 0.05


def test_a_gain_well_above_the_noise_is_found():
    assert claims(0.15, 20) == 1.0


@dataclass
class FailsWithEveryOtherSeed:
    scoring: Scoring = SCORING

    def runs(self, seeds: Sequence[int], epochs: int, begin: object) -> list[PairedRun]:
        return [PairedRun(seed, 0.5 if seed % 2 else 0.8, 0, 0.0, (), "") for seed in seeds]


def test_what_fails_with_every_other_seed_is_looked_at_again():
    steady = SimulatedRunner(np.random.default_rng(0))
    found = prove(FailsWithEveryOtherSeed(), steady, 1, 0, Spending(6).take())  # type: ignore[arg-type]
    assert found.differences[0].verdict == "better"
    assert [len(one.runs) for one in found.candidates] == [18, 18]
    assert found.level == pytest.approx(0.006)


def test_runs_that_are_known_are_not_made_again_and_a_second_chance_is_stricter():
    def run(seed: int, score: float) -> PairedRun:
        return PairedRun(seed, score, 0, 0.0, (), "")

    known = [run(seed, 0.1) for seed in range(9)]
    steady = SimulatedRunner(np.random.default_rng(0))
    untouched = SimulatedRunner(np.random.default_rng(1))
    spending = Spending(6)
    found = prove(untouched, steady, 1, 0, spending.take(), known=known)  # type: ignore[arg-type]
    assert found.baseline.runs == tuple(known[:6])
    assert untouched.draws.bit_generator.state == np.random.default_rng(1).bit_generator.state
    assert (found.differences[0].verdict, found.level) == ("better", pytest.approx(0.032))
    # 6 pairs cannot reach the level of the second test, so its first look has as many as can.
    again = prove(untouched, steady, 1, 0, spending.take(), known=known)  # type: ignore[arg-type]
    assert len(again.baseline.runs) == 9
    assert (again.differences[0].verdict, again.level) == ("better", pytest.approx(0.004))


@dataclass
class Fixed:
    """A runner whose runs all have these scores and own measures."""

    scores: Sequence[float]
    own: dict[str, Sequence[float]] = field(default_factory=dict)
    scoring: Scoring = SCORING

    def runs(self, seeds: Sequence[int], epochs: int, begin: object) -> list[PairedRun]:
        return [
            PairedRun(
                seed,
                self.scores[seed % 6],
                0,
                0.0,
                (),
                "",
                {name: OwnMeasure(values[seed % 6], "max") for name, values in self.own.items()},
            )
            for seed in seeds
        ]


UP, DOWN, FLAT = [0.6, 0.7, 0.65, 0.62, 0.72, 0.66], [0.4] * 6, [0.55] * 6
CASES = {
    "nothing else is measured": (UP, {}, 0.5, ""),
    "the other output gains too": (UP, {"accuracy of b": UP}, 0.5, ""),
    "the other output loses in all pairs": (UP, {"accuracy of b": DOWN}, 0.5, "b got worse: worse in 6 of 6"),
    "the other output's runs diverge": (UP, {"accuracy of b": [np.nan] * 6}, 0.5, "b got worse"),
    "the other output loses in some": (UP, {"accuracy of b": [0.4, 0.6, 0.6, 0.4, 0.6, 0.6]}, 0.5, ""),
    "a gain of next to nothing": ([0.551] * 6, {}, 0.9, "no difference that matters"),
    "next to nothing, once it has learnt": ([0.551] * 6, {}, 0.5, "no difference that matters"),
    "a small gain that matters": ([0.57] * 6, {}, 0.5, ""),
    "a large gain below chance": (UP, {}, 0.9, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_change_that_harms_an_output_or_gains_next_to_nothing_is_refused(case):
    scores, own, chance, refused = CASES[case]
    scoring = Scoring("val_accuracy", chance)
    given = Fixed(FLAT, dict.fromkeys(own, FLAT), scoring)
    proof = prove(given, Fixed(scores, own, scoring), 1, 0, Spending(6).take())  # type: ignore[arg-type]
    assert proof.differences[0].verdict == "better"
    said = refusal(proof, scoring)
    assert refused in said if refused else said == ""


def test_a_proof_of_harm_says_the_direction():
    harmed = prove(Fixed(UP), Fixed(DOWN), 1, 0, Spending(6).take())  # type: ignore[arg-type]
    assert harmed.differences[0].verdict == "worse"
    assert proof_in_words(harmed) == "worse in 6 of 6 pairs, by 0.2583 on average (p = 0.031)"
    tied = prove(Fixed(FLAT), Fixed([0.4] * 5 + [0.6]), 1, 0, Spending(6).take())  # type: ignore[arg-type]
    assert "no evidence that the changes help: worse in 5 of 6 pairs" in proof_in_words(tied)


@pytest.mark.parametrize(
    ("targets", "classes"),
    [
        (np.array([2, 0, 1]), [2, 0, 1]),
        (np.array([[2.0], [0.0]]), [2, 0]),
        (np.eye(3)[[1, 2]], [1, 2]),
        (np.array([-1, 1]), [0, 1]),
    ],
)
def test_classes_are_read_from_any_kind_of_target(targets, classes):
    assert class_numbers(targets).tolist() == classes


def test_scores_say_what_is_no_better_than_a_constant():
    assert SCORING.learnt_nothing(0.5)
    assert SCORING.learnt_nothing(float("nan"))
    assert not SCORING.learnt_nothing(0.51)
    error = Scoring("val_rmse", 1.0)
    assert error.learnt_nothing(1.0)
    assert not error.learnt_nothing(0.9)
    assert error.better_by(0.5, 1.0) == 0.5
    assert error.better_by(0.5, float("nan")) == np.inf == -error.better_by(float("nan"), 0.5)


def test_a_little_above_chance_is_not_beyond_noise():
    assert not SCORING.learnt_beyond_noise(0.55)
    assert SCORING.learnt_beyond_noise(0.57)
    assert not SCORING.learnt_beyond_noise(float("nan"))
    assert not Scoring("val_rmse", 1.0).learnt_beyond_noise(0.9)


def test_an_error_next_to_nothing_is_not_short_of_none_at_all():
    scoring = Scoring("val_rmse", chance=1.0, baseline=0.0, slack=0.05)
    assert not scoring.falls_short(0.002)
    assert scoring.falls_short(0.2)
