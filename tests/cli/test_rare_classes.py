"""A class of few rows, from training to prediction: the measure, the threshold, and what is said."""

import json
import re

import numpy as np
import polars
import pytest
from tests.cli.conftest import trained

from kilter import _measures
from kilter._measures import Answers, ClassFigures
from kilter.data import Dataset
from kilter.data.dataset import Splits
from kilter.runs.evaluating import _can_tell_recalls
from kilter.runs.records import Evaluation, Result


@pytest.fixture(scope="module")
def leavers(tmp_path_factory):
    """A table in which 8 % leave; "goes" is the first class by name."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3))
    score = x[:, 0] + 0.5 * rng.normal(size=600)
    left = np.where(score > np.quantile(score, 0.92), "goes", "stays")
    path = tmp_path_factory.mktemp("leavers") / "leavers.csv"
    polars.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "left": left}).write_csv(path)
    return path


@pytest.fixture(scope="module")
def run(kilter, leavers, tmp_path_factory):
    parent = tmp_path_factory.mktemp("runs")
    return trained(kilter, leavers, parent, "--epochs", 8, "--set", "data.validation=0.3")


def test_the_run_goes_by_average_precision_and_stores_a_threshold(run):
    result = json.loads((run / "result.json").read_text())
    data = json.loads((run / "data.json").read_text())
    assert result["monitor"] == "val_average_precision"
    assert list(result["evaluations"]["validation"]["metrics"])[:2] == ["loss", "average_precision"]
    assert (data["positive"], data["threshold"] < 0.5) == (0, True)


def test_predict_answers_by_the_threshold_of_the_run(kilter, run, leavers):
    frame = polars.read_csv(kilter("predict", run, leavers).out.encode())
    threshold = json.loads((run / "data.json").read_text())["threshold"]
    assert (frame["prediction"] == "goes").to_list() == (frame["probability_goes"] >= threshold).to_list()


def test_evaluate_as_json_is_what_the_run_recorded(kilter, run):
    found = json.loads(kilter("evaluate", run, "--json").out)
    recorded = json.loads((run / "result.json").read_text())["evaluations"]
    assert found["validation"]["per_class"] == recorded["validation"]["per_class"]
    assert found["validation"]["metrics"] == pytest.approx(recorded["validation"]["metrics"], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "monitor", "threshold"),
    [
        (["--metric", "balanced_accuracy"], "val_balanced_accuracy", None),
        (["--metric", "loss", "--set", "train.threshold=0.3"], "val_loss", 0.3),
        (["--metric", "accuracy", "--set", "train.threshold=none"], "val_accuracy", None),
    ],
)
def test_measure_and_threshold_can_be_chosen(kilter, leavers, tmp_path, options, monitor, threshold):
    ended = kilter("train", leavers, "--runs", tmp_path, "--json", "--epochs", 1, *options)
    found = json.loads(ended.out)
    assert found["monitor"] == monitor
    if threshold is not None:
        data = json.loads((next(tmp_path.iterdir()) / "data.json").read_text())
        assert data["threshold"] == threshold


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--metric", "roc_au"], "did you mean 'roc_auc'"),
        (["--metric", "rmse"], "balanced_accuracy"),
        (["--metric", "f1", "--set", "train.early_stopping.monitor=val_loss"], "not both"),
        (["--set", "train.threshold=1.5"], "probability above 0 and below 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(kilter, leavers, tmp_path, options, words):
    ended = kilter("train", leavers, "--runs", tmp_path, *options)
    assert ended.code == 2
    assert words in " ".join(ended.err.split())


def test_a_class_that_is_never_found_is_said(kilter, leavers, tmp_path):
    options = ["--epochs", 3, "--metric", "loss", "--set", "train.threshold=none"]
    weights = ["--set", "train.class_weight={goes = 0.0, stays = 1.0}"]
    ended = kilter("train", leavers, "--runs", tmp_path, *options, *weights)
    assert re.search('finds 0 of \\d+ rows of class "goes"', " ".join(ended.out.split()))


def test_a_model_no_better_than_the_median_is_said():
    poor = Evaluation(10, {"loss": 1.0, "rmse": 3.0, "mae": 2.0}, constant={"rmse": 2.5, "mae": 2.0})
    assert poor.remarks == ("rmse 3 is no better than the median for every row (2.5)",)
    good = Evaluation(10, {"loss": 1.0, "rmse": 1.0, "mae": 1.0}, constant={"rmse": 2.5, "mae": 2.0})
    assert good.remarks == ()


@pytest.mark.parametrize(
    ("rows", "share", "said"),
    [(3, 2 / 3, False), (9, 2 / 3, False), (12, 2 / 3, True), (40, 0.95, False), (400, 0.95, True)],
)
def test_few_rows_tell_nothing(rows, share, said):
    """12 rows of two thirds: 0.67 + 2 standard errors is 0.94; 40 rows of 95 %: 1.02; 400: 0.97."""
    figures = ClassFigures("a", rows, rows, share, 1.0)
    found = Evaluation(rows, {"loss": 1.0, "accuracy": share}, (), {"accuracy": share}, (figures,))
    assert bool(found.remarks) == said


def test_a_class_of_few_rows_may_be_missed_in_silence():
    missed = [ClassFigures("rare", rows, 0, float("nan"), 0.0) for rows in (3, 4)]
    found = [Evaluation(100, {"loss": 1.0}, per_class=(one,)).remarks for one in missed]
    assert found == [(), ('finds 0 of 4 rows of class "rare"',)]


def test_the_constant_answer_is_that_of_the_training_part():
    answers = Answers("numbers", np.array([[1.0], [3.0]]), np.array([[1.0], [1.0]]))
    assert _measures.of_constant(answers, (5.0,))["mae"] == 3.0
    assert _measures.of_constant(answers)["mae"] == 1.0
    of_classes = Answers("classes", np.array([0, 0, 1]), np.array([0, 0, 0]), np.full((3, 2), 0.5))
    assert _measures.of_constant(of_classes, (1.0,))["accuracy"] == pytest.approx(1 / 3)


def test_the_figures_survive_the_file():
    text = '{"status": "finished", "reason": "", "monitor": "loss", "direction": "min", "best_epoch": 0,'
    text += ' "epochs": 1, "seconds": 1.0, "evaluations": {"test": {"rows": 1, "metrics": {"loss": 1.0},'
    text += ' "per_class": [{"name": "a", "rows": 1, "found": 0, "precision": "nan", "recall": 0.0}]}}}'
    result = Result.from_json(text)
    assert np.isnan(result.evaluations["test"].per_class[0].precision)
    assert Result.from_json(result.to_json()).evaluations["test"].rows == 1


@pytest.mark.parametrize(
    ("validation", "told"), [([0] * 9 + [1] * 5 + [2] * 5, True), ([0] * 9 + [1] * 5 + [2], False)]
)
def test_a_class_with_few_validation_rows_does_not_decide_on_the_best_epoch(validation, told):
    def part(labels):
        y = np.array(labels, np.int32)
        return Dataset(np.zeros((len(y), 1), np.float32), y, "classification", ("a", "b", "c"))

    parts = Splits(part([0] * 90 + [1] * 9 + [2] * 3), part(validation), None)
    assert _can_tell_recalls(parts) == told
