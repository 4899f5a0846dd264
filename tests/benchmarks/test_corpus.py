"""A dozen programs of the corpus, diagnosed: the fault is found and named, and sound ones are let pass."""

from __future__ import annotations

import collections
import json
from pathlib import Path

import pytest

import kilter
from kilter._diagnosis.catalogue import CATALOGUE
from programs.calibration import SEVERE_SHARE, WARNING_SHARE, table
from programs.cases import cases
from programs.judging import quality
from programs.measuring import diagnosed, held_out
from programs.sketch import program
from programs.strangers import strangers

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
CASES = {case.name: case for case in cases()}
SMALL = (
    "zero-init/blobs/0",
    "negative-bias/circles/2",
    "exponential/circles/1",
    "no-activation/circles/0",
    "softmax-of-one/circles/0",
    "rows-for-numbers/blobs/0",
    "large-amounts/table/0",
    "raw-columns/blobs/0",
    "huge-rate/circles/1",
    "frozen/blobs/0",
    "relu/circles/1",
    "relu/table/5",
)


def test_the_corpus_is_as_large_as_it_says_and_names_are_unique():
    counted = collections.Counter(case.faulty for case in cases())
    assert counted[True] >= 120
    assert counted[False] >= 60
    assert len(CASES) == sum(counted.values())
    assert {case.sketch.optimizer for case in cases()} >= {"sgd", "momentum", "adam", "nadam", "rmsprop"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", SMALL)
def test_what_is_wrong_is_found_and_named(name: str):
    case = CASES[name]
    found = diagnosed(case)
    assert found.error == ""
    assert found.detected == case.faulty
    assert found.named == case.faulty


@pytest.mark.long
def test_a_large_regression_is_mended():
    one = program(CASES["large-amounts/table/0"].sketch)
    assert one.validation is not None
    assert one.truth is not None
    found = kilter.treat(one.model, one.x, one.y, validation_data=one.validation, epochs=12)
    assert "rescale-outputs" in [change.remedy for change in found.changes]
    assert quality(found.model, one.validation[0], one.truth) > 0.7


def test_held_out_programs_are_other_ones_of_the_same_kind():
    case = CASES["deep-sigmoid/digits/2"]
    other = held_out(case, 3)
    assert held_out(case, 0) is case
    assert (other.family, other.causes) == (case.family, case.causes)
    assert (other.sketch.depth, other.sketch.units) != (case.sketch.depth, case.sketch.units)
    assert held_out(case, 3) == other


def test_every_code_is_calibrated():
    kept = ("2026-11-29-corpus-reported.json", "2026-11-30-corpus-strangers.json")
    rows = [row for name in kept for row in json.loads((RESULTS / name).read_text())["rows"]]
    assert len(rows) >= 120
    least = {"severe": SEVERE_SHARE, "warning": WARNING_SHARE}
    enough = [one for one in table(rows) if one[2] >= 3]
    assert len(enough) >= 10
    wrong = [one for one in enough if one[3] < least[one[0]] * one[2]]
    assert not wrong


def test_strangers_name_their_causes_and_have_sound_twins():
    made = strangers()
    assert len({one.name for one in made}) == len(made)
    assert {code for one in made for code in one.causes} <= {*CATALOGUE}
    sound = {one.origin for one in made if one.kind == "sound"}
    assert {one.origin for one in made} == sound
