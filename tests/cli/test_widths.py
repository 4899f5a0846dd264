"""What the commands print, at any width: every word whole, and no line of several words too wide."""

import re
from pathlib import Path

import numpy as np
import pytest

from kilter._cli import comparison as printing
from kilter._cli import treating
from kilter._cli.diagnosing import say_findings
from kilter._cli.output import say
from kilter._compare.comparison import Candidate, PairedRun, judge, verdicts
from kilter._progress import display
from kilter._records import Change, Diagnosis, Evidence, Finding
from kilter._treatment.result import Evaluation, Treatment, Trial, Trials

WIDTHS = (40, 60, 80, 100, 120)
TEMPLATES = Path(__file__).parents[2] / "src/kilter/report/templates"

FINDINGS = (
    Finding(
        "vanishing-gradients",
        "severe",
        tuple(f"encoder/block_{number}/attention_output" for number in range(6)),
        (Evidence("gradient of the first over that of the last layer", 8.918e-13, 1e-4, "a paper"),),
        "In the first hidden layer the gradient is 8.9e-13 times that in the last of the neural networks.",
        ("reinitialize-paired", "insert-batch-norm", "add-residuals"),
        "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks",
    ),
    Finding(
        "unscaled-inputs", "warning", ("data",), (), "The inputs have mean 4.89.", (), "LeCun et al. 1998"
    ),
)


def comparison(metric="val_accuracy"):
    runs = [
        tuple(PairedRun(seed, 0.5 + number / 8 + seed / 64, 3, 12.5, (), "") for seed in range(6))
        for number in range(2)
    ]
    names = ("self-normalizing-with-a-long-name", "batch-normalization")
    return judge([Candidate(*one) for one in zip(names, runs, strict=True)], metric, level=0.05, path=Path())


def treatment():
    changes = (
        Change("standardize-inputs", ("data",), "inputs with mean 4.89, deviation 6.02", "mean 0", "", ()),
        Change("insert-batch-norm", ("dense",), "none between layers", "before each activation", "", ()),
    )
    codes = tuple(change.remedy for change in changes)
    tried = (Trial((), 0.1, 0.1, "original model"), Trial(codes, 0.9, 0.1, "all severe findings treated"))
    came, after = Evaluation(Diagnosis(FINDINGS), 0.1, {}), Evaluation(Diagnosis(()), 0.95, {})
    trials = Trials("val_accuracy", 3, 100, tried, comparison())
    return Treatment(None, changes, (), trials, came, after, 139.0, ())


def compare():
    printing.say_comparison(comparison())
    for sentence in verdicts(comparison()):
        say(sentence)


def summary():
    print(treatment())


def epochs():
    line = (
        "epoch 12/100  loss 1.0012  accuracy 0.6252  val_loss 0.4338  val_accuracy 0.8944  val_mae 0.1  2.3 s"
    )
    for kind in (1, 2):
        display(kind).print(line)


def path():
    say(f"report: /home/somebody/{'a-long-folder/' * 9}report.html")


PRINTED = {
    "findings": lambda: say_findings(FINDINGS),
    "comparison": compare,
    "treatment": lambda: treating.show_treatment(treatment()),
    "summary": summary,
    "epochs": epochs,
    "path": path,
}


def words(text):
    """The words of a text without what a table puts between or after them."""
    return {word.rstrip(",:") for word in text.split()} - {""}


def assert_whole(wide, narrow, width):
    """Every word of ``wide`` is in ``narrow``, whose lines fit."""
    assert words(wide) <= words(narrow)
    too_wide = [line for line in narrow.splitlines() if len(line) > width and len(line.split()) > 1]
    assert not too_wide


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("printed", PRINTED)
def test_text_is_broken_between_words(printed, width, capsys, monkeypatch):
    shown = []
    for columns in (1000, width):
        monkeypatch.setenv("COLUMNS", str(columns))
        PRINTED[printed]()
        shown.append(re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).replace("\r", ""))
    assert_whole(*shown, width)


@pytest.fixture(scope="module")
def wide_table(tmp_path_factory):
    """A table with long names of columns and of classes."""
    path = tmp_path_factory.mktemp("table") / "people-with-a-rather-long-file-name.csv"
    columns = [f"a_rather_long_name_of_column_{number}" for number in range(3)]
    values = np.random.default_rng(0).normal(size=(40, 3)).round(4)
    rows = [f"{','.join(map(str, row))},class_{number % 2}" for number, row in enumerate(values)]
    path.write_text("\n".join([",".join([*columns, "kind"]), *rows]) + "\n")
    return path


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("given", ["data", "no such file", "no such option", "a value that is none"])
def test_a_command_breaks_its_lines_between_words(kilter, wide_table, width, given, monkeypatch):
    called = {
        "data": ["data", wide_table, "--target", "kind"],
        "no such file": ["data", f"{wide_table}x"],
        "no such option": ["train", "digits", "--epchs", 3],
        "a value that is none": ["train", "digits", "--epochs", "four"],
    }[given]
    shown = []
    for columns in (1000, width):
        monkeypatch.setenv("COLUMNS", str(columns))
        ended = kilter(*called)
        shown.append(ended.out + ended.err)
    assert_whole(*shown, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_help_breaks_its_lines_between_words(kilter, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    commands = re.findall(r"^  ([\w-]+) ", kilter("--help").out.partition("Commands:")[2], re.MULTILINE)
    for command in ("", *commands):
        shown = []
        for columns in (120, width):
            monkeypatch.setenv("COLUMNS", str(columns))
            shown.append(kilter(*[command, "--help"][not command :]).out)
        assert_whole(*shown, width)


def test_reports_break_no_words():
    for template in TEMPLATES.glob("*.html"):
        assert not re.search(r"anywhere|break-all", template.read_text(encoding="utf-8")), template.name
