"""A resume is refused when any part of the data is not what the run was started with."""

import numpy as np
import pytest

from kilter._cli.commands import Evaluate
from kilter._cli.predicting import evaluate
from kilter._progress import SILENT
from kilter.errors import RunError
from kilter.recipe import parse_recipe
from kilter.runs import Interrupted, resume, train
from kilter.runs.reading import read_data

from .interrupting import InterruptIn

ROWS = [f"{x:.3f},{'ab'[int(x > 0)]}" for x in np.random.default_rng(0).normal(size=80)]


def _write(path, rows):
    path.write_text("\n".join(["x,kind", *rows]) + "\n")


def _other_label(row):
    value, label = row.split(",")
    return f"{value},{'ab'['ba'.index(label)]}"


def _other_number(row):
    value, label = row.split(",")
    return f"{float(value) + 1:.3f},{label}"


# Where the parts come from, the file whose first row changes, and the part that this is a row of.
PARTS = {
    "validation from the front": ({"validation": 20}, "all", "validation"),
    "validation from a file": ({"validation": "validation.csv"}, "validation", "validation"),
    "test from a file": ({"validation": 0.2, "test": "validation.csv"}, "validation", "test"),
    "training": ({"validation": "validation.csv"}, "all", "training"),
}


@pytest.mark.parametrize("case", PARTS)
def test_a_change_of_a_row_or_label_is_noticed_in_every_part(case, tmp_path):
    data, changed, part = PARTS[case]
    files = {name: tmp_path / f"{name}.csv" for name in ("all", "validation")}
    for path in files.values():
        _write(path, ROWS)
    given = {key: str(tmp_path / value) if isinstance(value, str) else value for key, value in data.items()}
    recipe = parse_recipe(
        {
            "data": {"source": str(files["all"]), "target": "kind", **given},
            "model": {"builder": "mlp", "hidden": [2]},
            "train": {"epochs": 2, "batch_size": 20},
        }
    )
    with pytest.raises(Interrupted) as caught:
        train(recipe, parent=tmp_path / "runs", callbacks=[InterruptIn(0)], verbose=0)
    path = caught.value.path
    for change in (_other_label, _other_number):
        _write(files[changed], [change(ROWS[0]), *ROWS[1:]])
        with pytest.raises(RunError, match=f"the {part} data .*{files[changed].name}"):
            resume(path, verbose=0)
    _write(files[changed], ROWS)
    assert resume(path, verbose=0).result.status == "finished"
    _write(files[changed], [_other_label(ROWS[0]), *ROWS[1:]])
    with pytest.raises(RunError, match=f"the {part} data"):
        evaluate(Evaluate(model=path), SILENT)


def test_a_renamed_column_is_noticed(tmp_path):
    path = tmp_path / "all.csv"
    _write(path, ROWS)
    data = {"source": str(path), "target": "kind", "validation": 0.2}
    model = {"builder": "mlp", "hidden": [2]}
    recipe = parse_recipe({"data": data, "model": model, "train": {"epochs": 1, "batch_size": 20}})
    done = train(recipe, parent=tmp_path / "runs", verbose=0)
    path.write_text(path.read_text().replace("x,kind", "z,kind"))
    with pytest.raises(RunError, match=r'"x".*"z"'):
        resume(done.path, epochs=2, verbose=0)


def test_data_json_has_a_checksum_of_each_part(trained):
    record = read_data(trained.path)
    assert record is not None
    assert set(record.parts_sha256) == {"validation", "test"}
    assert len({record.sha256, *record.parts_sha256.values()}) == 3
