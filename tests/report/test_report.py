"""The report: every figure is the run's, every name is escaped, nothing is loaded from elsewhere."""

import html
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from kilter._measures import ClassFigures
from kilter.errors import RunError
from kilter.report import charts, write_report
from kilter.report.page import measure, render
from kilter.runs.directory import create_run
from kilter.runs.reading import open_run
from kilter.runs.records import DataRecord, EpochRecord, Evaluation, Result

EVIL = "</script><script>alert('x')</script><img src=x onerror=\"alert(1)\">"
HISTORY = [
    EpochRecord(0, {"loss": 2.0, "accuracy": 0.25, "val_loss": 1.5, "val_accuracy": 0.5}, 1.5, 4.0, 0.1),
    EpochRecord(
        1, {"loss": math.nan, "accuracy": 0.5, "val_loss": 1.25, "val_accuracy": 0.625}, 1.0, 0.0, 0.05
    ),
    EpochRecord(2, {"loss": 1.0, "accuracy": 0.75, "val_loss": 1.75, "val_accuracy": 0.5}, 1.0, 0.0, 0.025),
]
DATA = DataRecord(
    "sales", "csv table", EVIL, "classification", ("no", EVIL), (3,), 2, {"train": 80}, 1, None, None, "ab"
)
RESULT = Result(
    "finished",
    "patience",
    "val_loss",
    "min",
    1,
    3,
    7.5,
    1234,
    {"validation": Evaluation(8, {"loss": 1.25, "accuracy": 0.625}, ((4, 1), (2, 1)))},
)


class Page(HTMLParser):
    """What a browser finds: elements with their attributes, and the text outside scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.said, self._open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, content):
        if not {"script", "style"} & set(self._open):
            self.said.append(content)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())

    @property
    def charts(self):
        return [json.loads(found["data-chart"]) for _, found in self.elements if "data-chart" in found]


@pytest.fixture
def run(tmp_path):
    recipe = f"name = '''{EVIL}'''\n[model]\nbuilder = \"mlp\"\nhidden = [100, 100]\n"
    with create_run(tmp_path, "sales", recipe_text=recipe) as run:
        for line in HISTORY:
            run.record_epoch(line)
        run.write_data(DATA)
        run.write_environment({"versions": {EVIL: "1"}, "device": EVIL})
        run.finish(RESULT)
    return run.path


@pytest.fixture
def page(run):
    return Page(write_report(run).read_text())


def test_it_is_one_file_that_loads_nothing(run, page):
    assert (run / "report.html").stat().st_size < 6_000_000
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object"}, tag
        assert not {"src", "href"} & set(attributes), (tag, attributes)
    style = re.search(r"<style>(.*?)</style>", (run / "report.html").read_text(), re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_names_of_the_run_are_text_wherever_they_stand(run, page):
    assert sum(tag == "script" for tag, _ in page.elements) == 2, "plotly and the page's own"
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert page.text.count("alert('x')") >= 4, "heading, recipe, environment and mistakes show the name"
    raw = (run / "report.html").read_text()
    assert EVIL not in raw
    heatmap = page.charts[-3]["traces"][0]
    assert heatmap["customdata"][1][1][0] == html.escape(EVIL), "plotly would read tags in labels"


def test_a_page_shows_each_class_and_the_constant_answer(run):
    figures = tuple(ClassFigures(f"class {i}", 10, i % 10, 0.5, (i % 10) / 10) for i in range(23))
    evaluation = Evaluation(230, {"accuracy": 0.5}, (), {"accuracy": 0.0625}, figures)
    text = page_of(run, evaluation).text
    assert "training validation validation, always the most frequent class" in text
    assert "accuracy 50.00 % 50.00 % 6.25 %" in text
    assert "validation rows; 3 more classes have a higher recall" in text
    assert "class 10 10 0 50.00 % 0.00 %" in text, "the lowest recalls come first"
    assert "class 19" not in text


def test_a_regressions_page_compares_predictions_with_true_values(run):
    pairs = (((1.0, 1.5), (3.0, math.nan), (2.0, 2.5)), ((10.0, 11.0), (20.0, 19.0), (30.0, 30.0)))
    charts_of = page_of(run, Evaluation(3, {"rmse": 0.5}, compared=pairs)).charts
    points, exact = charts_of[-4]["traces"]
    assert (points["x"], points["y"]) == ([1.0, 2.0], [1.5, 2.5]), "NaN has no place in a chart"
    assert exact["x"] == exact["y"] == [1.0, 2.5]
    assert charts_of[-3]["traces"][0]["y"] == [11.0, 19.0, 30.0]


def page_of(run, evaluation):
    """The page of the run with another evaluation."""
    records = open_run(run)
    assert records.result is not None
    return Page(
        render(replace(records, result=replace(records.result, evaluations={"validation": evaluation})))
    )


def test_the_figures_are_the_runs(page):
    assert "62.50 %" in page.text
    assert "Stopped early after 3 epochs" in page.text
    assert "NaN or infinity in 1 epoch, first in epoch 2: loss." in page.text
    assert "mlp with 1,234 parameters (100–100 hidden)" in page.text
    assert "1 bad row left out" in page.text
    assert "7.5 s" in page.text


def test_the_curves_hold_every_epoch_with_a_gap_for_nan(page):
    loss, accuracy = page.charts[:2]
    training, validation = loss["traces"]
    assert training["x"] == [1, 2, 3]
    assert training["y"] == [2.0, None, 1.0]
    assert validation["y"] == [1.5, 1.25, 1.75]
    assert [trace["name"] for trace in accuracy["traces"]] == ["training", "validation"]
    assert loss["layout"]["shapes"][0]["x0"] == 2, "the best epoch, counted from 1 as people do"


def test_the_confusion_matrix_is_shaded_by_row_shares(page):
    heatmap = page.charts[-3]["traces"][0]
    assert heatmap["z"] == [[0.8, 0.2], [2 / 3, 1 / 3]]
    assert heatmap["text"] == [["4", "1"], ["2", "1"]]


def test_a_run_without_anything_has_a_report_too(tmp_path):
    with create_run(tmp_path, "young", recipe_text="") as run:
        text = Page(write_report(run.path).read_text()).text
    assert "No epoch is complete yet." in text
    assert "training" in text


def test_writing_it_again_gives_the_same_bytes(run):
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_regression_has_no_confusion_matrix(run):
    plain = Result(
        "finished", "epochs", "val_loss", "min", 1, 3, 7.5, 9, {"test": Evaluation(8, {"mae": 2.5})}
    )
    (run / "result.json").write_text(plain.to_json())
    page = Page(render(open_run(run)))
    assert all(chart["traces"][0]["type"] != "heatmap" for chart in page.charts)
    assert "2.5" in page.text


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="kilter runs"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_learning_rate_that_never_changes_has_no_chart():
    assert charts.scheduled([HISTORY[0], HISTORY[0]]) == []
    (changing,) = charts.scheduled(HISTORY)
    assert changing.layout["yaxis"]["ticktext"][:4] == ["0.01", "0.02", "0.05", "0.1"]


def test_a_cycled_momentum_has_a_chart_and_is_no_measure():
    lines = [
        replace(line, logs={**line.logs, "learning_rate": line.learning_rate, "momentum": momentum})
        for line, momentum in zip(HISTORY, (0.95, 0.85, 0.95), strict=True)
    ]
    rate, momentum = charts.scheduled(lines)
    assert rate.traces[0]["y"] == [0.1, 0.05, 0.025]
    assert momentum.traces[0]["y"] == [0.95, 0.85, 0.95]
    assert [chart.title for chart in charts.learning_curves(lines, None)] == ["Loss", "Accuracy"]
    assert rate.title == "Learning rate"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("loss", None, "–"),
        ("loss", math.nan, "nan"),
        ("accuracy", math.inf, "inf"),
        ("loss", 0.0, "0"),
        ("rmse", -123456.7, "-123,457"),
    ],
)
def test_measures_in_words(name, value, said):
    assert measure(name, value) == said
