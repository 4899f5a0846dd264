"""Bad input on the command line: three lines on stderr, exit code 2, no traceback, nothing left behind."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kilter._cli import options
from kilter.errors import OptionError

EXAMPLES = int(os.environ.get("KILTER_FUZZ_EXAMPLES", "50"))
GOOD_TABLE = "size,kind\n" + "\n".join(f"{i},{'ab'[i % 2]}" for i in range(40)) + "\n"
RECIPE = '[data]\nsource = "{source}"\n[model]\nbuilder = "mlp"\nhidden = [4]\n[train]\nepochs = 1\n'


# What came with a run from somebody else: it is no word of whoever opens it.
TRUSTING = """
[data]
source = "digits"
[model]
file = "model.keras"
allow_code = true
[train]
epochs = 1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of bad files, a good table, and a model with code in it."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty.csv").write_text("")
    (folder / "good.csv").write_text(GOOD_TABLE)
    (folder / "nan.csv").write_text(GOOD_TABLE + "nan,a\ninf,b\n")
    (folder / "one-class.csv").write_text("x,y\n1,a\n2,a\n3,a\n")
    (folder / "no.txt").write_text("hello")
    (folder / "truncated.parquet").write_bytes(b"PAR1\x00\x01")
    np.savez(folder / "pickled.npz", x=np.array([{}, {}], dtype=object), y=np.array([0, 1]))
    (folder / "broken.keras").write_bytes(b"PK\x03\x04 no archive")
    (folder / "syntax.toml").write_text("[data\n")
    (folder / "empty.toml").write_text("")
    (folder / "two.toml").write_text(
        RECIPE.format(source="digits").replace("builder", 'file = "a.keras"\nbuilder')
    )
    (folder / "typo.toml").write_text(RECIPE.format(source="digits").replace("epochs", "epoch"))
    (folder / "good.toml").write_text(RECIPE.format(source=folder / "good.csv"))
    (folder / "other.toml").write_text(RECIPE.format(source=folder / "good.csv"))
    (folder / "folder").mkdir()
    code = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Lambda(lambda x: x[:, :10])]
    )
    code.save(folder / "code.keras")
    (folder / "stranger").mkdir()
    (folder / "stranger" / "recipe.toml").write_text(TRUSTING)
    code.save(folder / "stranger" / "model.keras")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(10)]).save(folder / "narrow.keras")
    return folder


# The words after `kilter`, and what the three lines say between them. {place} is the folder, {run} a run on
# digits, {table} a table of prices.
BAD = {
    "no such source": ("train {place}/absent.csv", "does not exist"),
    "no such name": ("train digit", "did you mean"),
    "no such recipe": ("train {place}/absent.toml", "does not exist"),
    "recipe is no TOML": ("train {place}/syntax.toml", "line 1"),
    "empty recipe": ("train {place}/empty.toml", "exactly one of builder"),
    "two models": ("train {place}/two.toml", "builder='mlp' and file='a.keras'"),
    "unknown key": ("train {place}/typo.toml", "did you mean 'epochs'?"),
    "empty file": ("train {place}/empty.csv", "empty.csv"),
    "kind of file": ("train {place}/no.txt", "0 rows"),
    "truncated file": ("train {place}/truncated.parquet", "truncated.parquet"),
    "pickled objects": ("train {place}/pickled.npz", "pickle"),
    "one class": ("train {place}/one-class.csv", "class"),
    "empty folder": ("train {place}/folder", "folder"),
    "no such column": ("train {place}/good.csv --target kinds", "kind"),
    "unknown key of set": ("train digits --set train.epoch=5", "did you mean 'epochs'?"),
    "unknown section of set": ("train digits --set trains.epochs=5", "did you mean 'train'?"),
    "set without a value": ("train digits --set train.epochs", "section.key=value"),
    "set of a wrong type": ("train digits --set train.epochs=many", "train.epochs='many'"),
    "no epochs": ("train digits --epochs 0", "train.epochs=0"),
    "negative seed": ("train digits --seed -1", "seed=-1"),
    "name that leads out": ("train digits --name ../x", "name='../x'"),
    "all rows held out": ("train digits --set data.validation=1797", "1797"),
    "monitor that is not measured": (
        "train digits --set train.early_stopping.monitor=val_acuracy",
        "did you mean 'val_accuracy'?",
    ),
    "option the optimizer has not": ("train digits --set optimizer.options.beta=0.9", "beta"),
    "class that is not there": ("train digits --set train.class_weight.ten=2.0", "'ten'"),
    "cnn of a table": ("train {place}/good.csv --set model.builder=cnn", "mlp"),
    "theory": ("train digits --set model.activation=selu", "self-normalizing"),
    "no such model": ("train digits --set model.file={place}/absent.keras", "absent.keras"),
    "broken model": ("train digits --set model.file={place}/broken.keras", "whole .keras file"),
    "model with code": ("train digits --set model.file={place}/code.keras", "--allow-code"),
    "model of another shape": ("train digits --set model.file={place}/narrow.keras", "shape"),
    "no such module": (
        "train digits --allow-code --set model.factory=no_such_module_here:build",
        "no_such_module_here",
    ),
    "no such function": ("train digits --allow-code --set model.factory=json:build", "build"),
    "function that is no factory": ("train digits --allow-code --set model.factory=json:dumps", "json:dumps"),
    "evaluate nothing": ("evaluate {place}/absent", "does not exist"),
    "evaluate a folder": ("evaluate {place}/folder", "a run directory"),
    "evaluate a model without data": ("evaluate {place}/narrow.keras", "name the data"),
    "evaluate on another shape": ("evaluate {place}/narrow.keras digits", "shape"),
    "predict with code": ("predict {place}/code.keras digits", "trust"),
    "a run that trusts itself": ("predict {place}/stranger digits", "trust"),
    "predict into no folder": (
        "predict {place}/narrow.keras digits --out {place}/none/a.csv",
        "folder that exists",
    ),
    "predict into no format": ("predict {place}/narrow.keras digits --out {place}/a.xls", ".parquet"),
    "predict on nothing": ("predict {place}/narrow.keras {place}/absent.csv", "does not exist"),
    "compare one recipe": ("compare {place}/good.toml", "two or more candidates"),
    "compare the same twice": ("compare {place}/good.toml {place}/good.toml", "different names"),
    "compare with an absent recipe": ("compare {place}/good.toml {place}/absent.toml", "absent.toml"),
    "compare with no recipe": ("compare {place}/good.toml digits", "digits"),
    "compare with a folder of none": ("compare {place}/good.toml {place}/folder", "without a .toml file"),
    "compare one pair": ("compare {place}/good.toml {place}/other.toml --pairs 1", "pairs=1"),
    "compare without workers": ("compare {place}/good.toml {place}/other.toml --workers 0", "workers=0"),
    "compare from a negative seed": ("compare {place}/good.toml {place}/other.toml --seed -1", "seed=-1"),
    "compare with an unknown key": (
        "compare {place}/good.toml {place}/other.toml --set train.epoch=3",
        "did you mean 'epochs'?",
    ),
    "compare on nothing": (
        "compare {place}/good.toml {place}/other.toml --set data.validation=none",
        "validation data",
    ),
    "compare into a file": (
        "compare {place}/good.toml {place}/other.toml --out {place}/good.csv",
        "which is a file",
    ),
    "runs of no folder": ("runs {place}/absent", "does not exist"),
    "runs of a file": ("runs {place}/good.csv", "is a file"),
    "report of no run": ("report {place}/folder", "run directory"),
    "resume of no run": ("resume {place}/absent", "a run directory"),
    "data that are not there": ("data {place}/absent.csv", "does not exist"),
    "transfer of no source": ("transfer {place}/absent digits", "does not exist"),
    "transfer of no file": ("transfer {place}/absent.keras digits", "does not exist"),
    "transfer of a network without weights": ("transfer MobileNetV2 digits", "downloads nothing"),
    "keep too much": ("transfer {run} digits --keep 9", "keep from 1 to 2"),
    "no such layer": ("transfer {run} digits --keep dense_9", "keep='dense_9'"),
    "a head-start of all epochs": (
        "transfer {run} digits --epochs 3 --head-epochs 3",
        "more than the stages",
    ),
    "a head-start before the first": ("transfer {run} digits --head-epochs -1", "a whole number from 1"),
    "epochs for no stage": ("transfer {run} digits --epochs 3", "train.epochs=3"),
    "rows that cannot be adapted": ("transfer {run} {table}", "rows that can be adapted to"),
}


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.replace(" ", "-"))
def test_three_lines_and_nothing_left_behind(case, kilter, place, digits_run, prices, tmp_path):
    words, says = BAD[case]
    words = words.format(place=place, run=digits_run, table=prices).split()
    before = sorted(place.rglob("*"))
    if words[0] in ("train", "transfer"):
        words += ["--runs", str(tmp_path / "runs")]
    ended = kilter(*words)
    lines = ended.err.splitlines()
    assert ended.code == 2
    assert [line.partition(":")[0] for line in lines] == ["Expected", "Received", "To fix"]
    assert says in ended.err
    assert "Traceback" not in ended.out + ended.err
    assert all(line.isprintable() for line in lines)
    assert not (tmp_path / "runs").exists()
    assert sorted(place.rglob("*")) == before


@pytest.mark.long
@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", ["no such source", "unknown key", "set of a wrong type"])
def test_the_same_from_a_shell(case, place, tmp_path):
    words = BAD[case][0].format(place=place).split()
    code = "from kilter._cli.main import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, *words], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == 2
    said = ended.stderr.removeprefix("Loading JAX and Keras...\n").splitlines()
    assert [line.partition(":")[0] for line in said if line[0] != " "] == ["Expected", "Received", "To fix"]
    assert ended.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_another_backend_is_told_and_not_fought(place, tmp_path):
    code = "from kilter._cli.main import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "train", "digits"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"KERAS_BACKEND": "tensorflow"},
    )
    assert ended.returncode == 2
    assert "KERAS_BACKEND=tensorflow" in ended.stderr


def test_skip_bad_trains_on_the_rest(kilter, place, tmp_path):
    words = ["train", place / "nan.csv", "--epochs", 1, "--runs", tmp_path, "--set", "data.skip_bad=true"]
    assert kilter(*words, "--set", "model.hidden=[3]").code == 0


@pytest.fixture(scope="module")
def kinds_run(kilter, place, tmp_path_factory):
    """A run on the good table: classes a and b by their size."""
    runs = tmp_path_factory.mktemp("kinds")
    return kilter("train", place / "good.toml", "--runs", runs, "--quiet").out.strip()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("1,a\n2,c\n", '"c", in row 1'),
        ("1,\n2,\n", "2 missing or NaN in rows 0, 1"),
    ],
)
def test_predicting_needs_no_labels_and_evaluating_all(rows, says, kilter, kinds_run, tmp_path):
    new, bare = tmp_path / "new.csv", tmp_path / "bare.csv"
    new.write_text("size,kind\n" + rows)
    bare.write_text("size\n1\n2\n")
    ended = kilter("predict", kinds_run, new)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == kilter("predict", kinds_run, bare).out
    ended = kilter("evaluate", kinds_run, new)
    assert ended.code == 2
    assert says in ended.err
    assert "of the data" in ended.err or "in the data" in ended.err


def test_bad_rows_of_new_data_can_be_mended_as_it_says(kilter, kinds_run, tmp_path):
    (tmp_path / "new.csv").write_text("size,kind\n1,a\n2,\n3,\n")
    ended = kilter("evaluate", kinds_run, tmp_path / "new.csv")
    assert ended.code == 2
    assert "leave these rows out of the data" in ended.err
    (tmp_path / "new.csv").write_text("size,kind\n1,a\n2,\n")
    ended = kilter("evaluate", kinds_run, tmp_path / "new.csv")
    assert ended.code == 0
    assert "1 row without a usable target left out" in ended.err


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
pieces = st.one_of(
    st.sampled_from(
        [
            "train.epochs",
            "model.hidden",
            "data.validation",
            "optimizer.options.a",
            "model.file",
            "=",
            "none",
            "[",
            "1e9",
            "-1",
        ]
    ),
    words,
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(pieces, min_size=1, max_size=4).map("".join), words)
def test_fuzz_words_on_the_command_line(kilter, setting, name):
    # The source does not exist, so that a good setting ends in an error of three lines too.
    ended = kilter("train", "--set=" + setting, "--name=" + name, "--", str(Path("/no/such/source")))
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 3
    assert all(line.isprintable() for line in ended.err.splitlines())


@pytest.mark.parametrize(
    "command",
    [
        "train absent.csv",
        "train absent.toml",
        "predict absent digits",
        "evaluate absent.keras",
        "treat absent.py",
        "find-lr folder/absent",
        "compare absent.toml other.toml",
        "resume absent",
        "data absent.csv",
    ],
)
def test_a_wrong_name_is_told_before_anything_is_loaded(command, kilter, monkeypatch):
    names: list[str] = []
    load = options.importlib.import_module
    monkeypatch.setattr(options.importlib, "import_module", lambda name: names.append(name) or load(name))
    ended = kilter(*command.split())
    assert not any(name.startswith("kilter._cli") for name in names)
    assert ended.code == 2
    assert "absent" in ended.err
    assert "which does not exist" in ended.err


@pytest.mark.parametrize(
    "name", ["digits", "-", "sqlite:///a.db?table=t", "s3://a/b.csv", "data/*.csv", "MobileNetV2"]
)
def test_names_and_patterns_are_not_taken_for_files(name, kilter, monkeypatch):
    def load(module):
        raise OptionError(expected="", received=f"{module} is loaded", remedy="")

    monkeypatch.setattr(options.importlib, "import_module", load)
    assert "is loaded" in kilter("train", name).err
