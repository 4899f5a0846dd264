"""``kilter diagnose``: findings on the screen and as JSON, and an exit code that scripts can act on."""

import json
from dataclasses import replace

import keras
import pytest

from kilter._cli.diagnosing import say_findings, verdict
from kilter._diagnosis.thresholds import in_words
from kilter._records import Diagnosis, Evidence, Finding

FOUND = Finding(
    code="dead-units",
    severity="severe",
    where=tuple(f"dense_{index}\x1b[31m" for index in range(6)),
    evidence=(Evidence("share", 0.912345, 0.8, "a paper"), Evidence("rows", 256)),
    explanation="91 % of the units are 0.",
    remedies=("reinitialize-paired", "replace-activation"),
    reference="A paper",
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(
        '[data]\nsource = "digits"\n[model]\nbuilder = "mlp"\nhidden = [16]\n[optimizer]\nclip = "auto"\n'
    )
    return path


def model_file(folder, *, compiled):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, "relu")])
    if compiled:
        model.compile("sgd", "sparse_categorical_crossentropy")
    path = folder / "saved.keras"
    model.save(path)
    return path


def test_a_sound_recipe_ends_with_0(kilter, recipe):
    ended = kilter("diagnose", recipe)
    assert (ended.code, ended.err) == (0, "")
    assert "severe" not in ended.out


def test_a_rate_that_is_far_too_small_ends_with_1_and_json_says_the_same(kilter, recipe):
    words = ("diagnose", recipe, "--set", "optimizer.learning_rate=1e-9")
    shown, told = kilter(*words), kilter(*words, "--json")
    assert (shown.code, told.code) == (1, 1)
    assert "learning-rate-range" in shown.out
    remedies = {one["code"]: one["remedies"] for one in json.loads(told.out)["findings"]}
    assert "find-learning-rate" in remedies["learning-rate-range"]


def test_a_saved_model_is_held_to_the_data(kilter, tmp_path):
    ended = kilter("diagnose", "digits", "--model", model_file(tmp_path, compiled=True), "--json")
    assert ended.code == 1
    assert "output-activation-loss" in [one["code"] for one in json.loads(ended.out)["findings"]]


@pytest.mark.parametrize(
    ("compiled", "words", "told"),
    [
        (False, [], "saved after compile()"),
        (True, ["--set", "seed=1"], "leave --set out"),
        (True, ["--ignore", "age"], "leave --ignore out"),
        (True, ["--steps", "-1"], "steps as a whole number, at least 0"),
    ],
    ids=["uncompiled", "--set", "--ignore", "--steps"],
)
def test_bad_input_ends_in_three_lines(kilter, tmp_path, compiled, words, told):
    ended = kilter("diagnose", "digits", "--model", model_file(tmp_path, compiled=compiled), *words)
    assert ended.code == 2
    assert told in ended.err
    assert len(ended.err.splitlines()) == 3


def test_a_finding_is_one_paragraph(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "72")
    caused = replace(FOUND, explained_by="rate-too-high", where=("dense",), remedies=())
    say_findings([FOUND, caused], {"dead-units": " (train.py, line 3)"})
    escaped = [rf"dense_{index}\x1b[31m" for index in range(4)]
    assert capsys.readouterr().out == (
        f"severe: dead-units: {', '.join(escaped[:3])},\n"
        f"    {escaped[3]} and 2 more (train.py, line 3)\n"
        "    91 % of the units are 0.\n"
        "    measured: share: 0.9123 (expected at most 0.8); rows: 256\n"
        "    remedies: reinitialize-paired, replace-activation\n"
        "    source: A paper\n"
        "\n"
        "severe: dead-units (caused by rate-too-high): dense (train.py, line 3)\n"
        "    91 % of the units are 0.\n"
        "    measured: share: 0.9123 (expected at most 0.8); rows: 256\n"
        "    source: A paper\n"
        "\n"
    )


@pytest.mark.parametrize(
    ("value", "limit", "told"),
    [
        (0.04, "0.74 to 1.35", "0.04 (expected 0.74 to 1.35)"),
        (0.04, 0.1, "0.04 (expected at least 0.1)"),
        (6.0, 3.0, "6 (expected at most 3)"),
        (3, 0, "3 (expected 0)"),
        (2, 2, "2 (limit 2)"),
        (float("nan"), 1.0, "nan (limit 1)"),
        (7, None, "7"),
    ],
)
def test_evidence_says_on_which_side_of_its_limit_a_value_should_be(value, limit, told):
    assert in_words(Evidence("share", value, limit)) == f"share: {told}"


@pytest.mark.parametrize(
    ("severities", "told"),
    [
        ((), "Nothing was found."),
        (("severe",), "found: 1 severe"),
        (("severe", "warning", "note", "note"), "found: 1 severe, 1 warning, 2 notes"),
        (("warning", "warning"), "nothing severe found; 2 warnings"),
    ],
)
def test_the_last_line_counts(severities, told):
    assert verdict(Diagnosis(tuple(replace(FOUND, severity=one) for one in severities))) == told


def test_a_diagnosis_prints_a_line_for_each_finding():
    line = f"severe: dead-units: {', '.join(FOUND.where)}: {FOUND.explanation}"
    assert str(Diagnosis((FOUND, FOUND))) == f"{line}\n{line}"
    assert str(Diagnosis(())) == "nothing found"
