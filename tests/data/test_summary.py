"""describe(): counts, ranges and problems against data made to have them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kilter.data import Dataset, Source, describe, load


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        (tmp_path / "t.csv").write_text(text)
        return load(tmp_path / "t.csv")

    return write_text


def test_a_table(write):
    found = describe(write("a,b,y\n1,5,p\n4,5,q\n1,5,p\n"))
    assert (found.name, found.kind, found.task) == ("t", "csv table", "classification")
    assert [(part.name, part.rows, part.shape, part.dtype) for part in found.parts] == [
        ("train", 3, (2,), "float32")
    ]
    assert [(c.name, c.train, c.test) for c in found.classes] == [("p", 2, None), ("q", 1, None)]
    assert [(c.name, c.minimum, c.maximum, c.mean) for c in found.columns] == [("a", 1, 4, 2), ("b", 5, 5, 5)]
    assert found.targets == ()
    assert found.notes[0].startswith('the target is column "y"')
    assert any('"q"' in problem and "only one row" in problem for problem in found.problems)


def test_regression_targets(write):
    found = describe(write("a,price\n1,0.5\n4,1.5\n2,4\n"))
    assert [(c.name, c.minimum, c.maximum, c.mean) for c in found.targets] == [("price", 0.5, 4, 2)]
    assert found.classes == ()
    assert found.problems == ()


def test_imbalance_and_test_rows_seen_in_training():
    x = np.random.default_rng(0).integers(0, 256, (25, 4, 4, 1), dtype=np.uint8)
    y = np.array([0] * 23 + [1] * 2, np.int32)
    train = Dataset(x, y, "classification", ("a", "b", "c"))
    test = Dataset(np.concatenate([x[:2], 255 - x[:3]]), y[:5], "classification", ("a", "b", "c"))
    found = describe(Source(train, test, None, "arrays", "here"))
    assert [(c.name, c.train, c.test) for c in found.classes] == [("a", 23, 5), ("b", 2, 0), ("c", 0, 0)]
    assert any("unbalanced" in p for p in found.problems)
    assert any("no training row" in p and '"c"' in p for p in found.problems)
    assert "2 of 5 test rows are also training rows" in found.problems
    assert (found.columns[0].name, found.columns[0].mean) == ("values", pytest.approx(x.mean()))


@pytest.mark.parametrize("kind", ["npz", "parquet"])
@pytest.mark.parametrize(
    ("y", "task", "note"),
    [
        (list("abcdefghijklmnopqrstuvwxyz") * 10, "classification", None),
        ([f"{i}" for i in range(26)] * 10, "classification", None),
        (list(range(26)) * 10, "regression", "regression: the targets are 26 different whole numbers in 260"),
        ([0, 1, 2, 3] * 65, "classification", "classification: the targets are 4 different whole numbers"),
        ([0.5, 1.5] * 130, "regression", None),
    ],
)
def test_a_task_chosen_by_values_is_no_silent_choice(y, task, note, kind, tmp_path):
    x, path = np.random.default_rng(0).normal(size=(260, 2)), tmp_path / f"data.{kind}"
    if kind == "npz":
        np.savez(path, x=x, y=np.array(y))
    else:
        pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": y}).write_parquet(path)
    found = describe(load(path))
    assert found.task == task
    told = [line for line in found.notes if line.startswith("the task is")]
    assert len(told) == (note is not None)
    assert note is None or note in told[0]
    assert not any(line.startswith("the task is") for line in load(path, task=task).notes)


def test_healthy_data_have_no_problems():
    assert describe(load("digits")).problems == ()


def test_several_targets_are_shown_by_their_names(tmp_path):
    (tmp_path / "t.csv").write_text("a,heat,cold\n" + "1,2,3\n4,6,8\n" * 20)
    found = describe(load(tmp_path / "t.csv", target="heat, cold", task="regression"))
    assert [(one.name, one.maximum) for one in found.targets] == [("heat", 6), ("cold", 8)]
