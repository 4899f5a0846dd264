"""``kilter find-lr``: the suggestion, a table, and the curve in a file."""

import json

import pytest

from kilter._tuning.find_lr import FoundRate


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(
        '[data]\nsource = "digits"\n[model]\nbuilder = "mlp"\nhidden = [16]\n'
        '[optimizer]\nlearning_rate = "auto"\nclip = "auto"\n'
    )
    return path


def test_the_curve_is_written_and_what_is_printed_is_in_it(kilter, recipe, tmp_path):
    ended = kilter("find-lr", recipe, "--seeds", 2, "--out", tmp_path / "curve.json")
    assert (ended.code, ended.err) == (0, "")
    found = FoundRate.from_dict(json.loads((tmp_path / "curve.json").read_text()))
    assert len(found.curves) == 2
    lines = ended.out.splitlines()
    assert lines[0].split() == ["rate", "smoothed", "loss"]
    assert f"learning rate for nadam, batches of 32: {found.suggestion:.3g}" in lines
    notes = {line.split()[-1]: line.split()[0] for line in lines if line.endswith(("suggestion", "lowest"))}
    assert notes == {"suggestion": f"{found.suggestion:.2g}", "lowest": f"{found.lowest_at:.2g}"}
    assert any(line.endswith("diverged") for line in lines) == (found.diverged_at is not None)


def test_the_picture_needs_no_network(kilter, recipe, tmp_path):
    ended = kilter("find-lr", recipe, "--out", tmp_path / "curve.html")
    assert ended.code == 0
    page = (tmp_path / "curve.html").read_text(encoding="utf-8")
    assert "suggestion" in page
    assert "<script src" not in page


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", "curve.png"], "--out with one of .html, .json"),
        (["--out", "no/such/folder/curve.html"], "a folder that exists"),
        (["--seeds", "0"], "seeds as a whole number, at least 1"),
        (["--set", "optimizer.learning_rate=automatic"], 'or "auto"'),
        (["--set", "optimizer.clip=auto", "--set", "optimizer.clipnorm=1.0"], "at most one of"),
    ],
    ids=" ".join,
)
def test_bad_input_ends_in_three_lines(kilter, recipe, words, told):
    ended = kilter("find-lr", recipe, *words)
    assert ended.code == 2
    assert told in ended.err
    assert len(ended.err.splitlines()) == 3
