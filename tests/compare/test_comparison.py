"""The record of a comparison: verdicts, table, picture and JSON of runs that are given."""

import json
import math
from pathlib import Path

import pytest

from kilter._compare.comparison import Candidate, PairedRun, judge, verdicts

NAN = math.nan


def candidate(name, scores, metric="val_accuracy"):
    runs = tuple(
        PairedRun(seed, score, 1, 1.0 + seed, ({metric: score / 2}, {metric: score}), f"{name}/{seed}")
        for seed, score in enumerate(scores)
    )
    return Candidate(name, runs)


def compared(*others, metric="val_accuracy", level=0.05):
    """The baseline's scores rise by a tenth from 0.1; the others' are given."""
    baseline = candidate("plain", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], metric)
    rest = [candidate(f"c{number}", scores, metric) for number, scores in enumerate(others)]
    return judge([baseline, *rest], metric, level=level, path=Path("there"))


BETTER = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
VERDICTS = {
    "better": (BETTER, "val_accuracy", "better", 2 / 64, 0.1),
    "worse": ([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], "val_accuracy", "worse", 2 / 64, -0.1),
    "less is better": (BETTER, "val_loss", "worse", 2 / 64, -0.1),
    "the same": ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "val_accuracy", "no evidence", 1.0, 0.0),
    "five of six": ([0.2, 0.3, 0.4, 0.5, 0.6, 0.55], "val_accuracy", "no evidence", 4 / 64, 0.45 / 6),
    "all diverged": ([NAN] * 6, "val_accuracy", "worse", 2 / 64, NAN),
    "one diverged": ([*BETTER[:5], NAN], "val_accuracy", "no evidence", None, 0.1),
    "one diverged, the others worse": ([0, 0, 0, 0, 0, NAN], "val_accuracy", "worse", 2 / 64, -0.3),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_verdict(case):
    scores, metric, verdict, p, mean = VERDICTS[case]
    (found,) = compared(scores, metric=metric).differences
    assert found.verdict == verdict
    assert p is None or found.p == p
    assert found.p_corrected == found.p
    assert found.mean == pytest.approx(mean, nan_ok=True)


def test_a_second_candidate_takes_proof_away():
    """6 pairs can prove one difference, not one of two: p of 2/64 becomes 4/64."""
    first, second = compared(BETTER, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).differences
    assert (first.p, first.p_corrected, first.verdict) == (2 / 64, 4 / 64, "too few pairs")
    assert second.p_corrected == 1.0
    assert compared(BETTER, BETTER, level=0.1).differences[0].verdict == "better"


def test_the_table_has_a_row_for_each():
    plain, other = compared([0.2, 0.3, 0.4, 0.5, 0.6, NAN]).table()
    assert plain == {
        "name": "plain",
        "val_accuracy": pytest.approx(0.35),
        "lowest": 0.1,
        "highest": 0.6,
        "diverged": 0,
        "seconds": 3.5,
        "difference": None,
        "low": None,
        "high": None,
        "p": None,
        "p_corrected": None,
        "verdict": None,
    }
    assert (other["val_accuracy"], other["highest"], other["diverged"]) == (pytest.approx(0.4), 0.6, 1)
    assert [other["difference"], other["low"]] == pytest.approx([0.1, 0.1])
    (lost,) = [row for row in compared([NAN] * 6).table() if row["name"] == "c0"]
    assert (lost["val_accuracy"], lost["lowest"], lost["diverged"]) == (None, None, 6)


def test_json_holds_all_of_it():
    comparison = compared([*BETTER[:5], NAN])
    read = json.loads(comparison.to_json())
    assert (read["metric"], read["direction"], read["path"]) == ("val_accuracy", "max", "there")
    assert read["candidates"][1]["runs"][5]["score"] == "nan"
    assert read["differences"][0]["differences"][5] == "-inf"
    assert read["candidates"][0]["runs"][2]["history"][1] == {"val_accuracy": 0.3}


def test_the_picture_has_the_median_and_the_range_of_each():
    figure = compared(BETTER).plot()
    median, area = figure.data[2:]
    assert (median.name, list(median.x)) == ("c0", [1, 2])
    assert list(median.y) == pytest.approx([0.225, 0.45])
    assert list(area.y) == pytest.approx([0.35, 0.7, 0.2, 0.1])
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("epoch", "val_accuracy")


def test_runs_of_different_lengths_and_diverged_epochs_are_drawn_as_far_as_they_go():
    short = PairedRun(0, 0.5, 0, 1.0, ({"val_loss": 0.5},), "")
    long = PairedRun(1, 0.25, 0, 1.0, ({"val_loss": 0.25}, {"val_loss": NAN}, {"val_loss": 1.0}), "")
    both = (short, long)
    comparison = judge([Candidate("a", both), Candidate("b", both)], "test_loss", level=0.05, path=Path())
    median = comparison.plot().data[0]
    assert (list(median.x), list(median.y)) == ([1, 3], [0.375, 1.0])


SENTENCES = {
    "better": ([BETTER], "c0 is better than plain: val_accuracy better by 0.1 on average (95% interval 0.1"),
    "worse": ([[0.0] * 6], "c0 is worse than plain: val_accuracy worse by 0.35 on average (95% interval -"),
    "alike": ([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]], "No evidence that c0 and plain differ: val_accuracy"),
    "diverged": (
        [[NAN] * 6],
        "a run diverged in every pair; p",
    ),
    "too few": (
        [BETTER, BETTER],
        "Too few pairs to tell whether c0 and plain differ: val_accuracy better",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_it_is_said_in_words(case):
    scores, said = SENTENCES[case]
    assert said in " ".join(verdicts(compared(*scores)))
