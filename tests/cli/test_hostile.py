"""Recipes, run files and models that nobody writes by hand: three lines, exit code 2, nothing left."""

import json
import os
import re
import shutil
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

import kilter
from kilter._toml import parse_toml
from kilter.errors import KilterError, OptionError, RunError
from kilter.recipe import recipe_for
from kilter.runs import list_runs, open_run, train
from kilter.runs.reading import HISTORY, RECIPE

HEAD = '[data]\nsource = "digits"\n[train]\nepochs = 1\n[model]\n'
MLP = HEAD + 'builder = "mlp"\n'
RECIPES = {
    "nested arrays": b"a = " + b"[" * 500 + b"]" * 500,
    "open arrays": b"a = " + b"[" * 5000,
    "nested inline tables": b"a = " + b"{a=" * 500 + b"1" + b"}" * 500,
    "nested tables": b"[" + b".".join([b"a"] * 500) + b"]\n",
    "dotted keys": b"a." * 3000 + b"b = 1",
    "arrays in an option": MLP.encode() + b"[optimizer.options]\na = " + b"[" * 100 + b"]" * 100,
    "a number of many digits": MLP.encode() + b"hidden = [" + b"9" * 5000 + b"]",
    "a hexadecimal number": MLP.encode() + b"hidden = [0x" + b"f" * 8000 + b"]",
    "more than 64 bits": MLP.encode() + b"[optimizer.options]\nepsilon = " + b"9" * 50,
    "more than 32 bits": MLP.encode() + b"[optimizer.options]\nepsilon = " + b"9" * 15,
    "a zero byte": b"a = 1\0",
    "a zero byte in a path": HEAD.encode() + b'file = "a\\u0000.keras"\n',
    "a zero byte in a source": HEAD.encode() + b'reuse = "a\\u0000.keras"\n',
    "a path too long": HEAD.encode() + b'file = "' + b"a" * 5000 + b'.keras"\n',
    "an unknown home": HEAD.encode() + b'file = "~nobody_of_this_name/a.keras"\n',
    "no UTF-8": b"a = \xff",
    "UTF-16": "a = 1".encode("utf-16"),
    "a key twice": MLP.encode() + b'builder = "mlp"',
    "a date": MLP.encode() + b"hidden = 1979-05-27",
    "a date in an option": MLP.encode() + b"[optimizer.options]\nepsilon = 1979-05-27",
    "a megabyte of comment": b"#\n" * (1 << 19) + MLP.encode(),
    "weights of terabytes": MLP.encode() + b"hidden = [1000000, 1000000]",
    "a thousand wide layers": MLP.encode() + b"hidden = { layers = 1000, units = 1000000 }",
    "convolutions of terabytes": HEAD.encode()
    + b'builder = "cnn"\nfilters = [1000000, 1000000]\nkernel_size = 31',
    "layers of a float": MLP.encode() + b"hidden = { layers = 1e6, units = 10 }",
    "fewer than no layers": MLP.encode() + b"hidden = { layers = -1, units = 10 }",
    "units beyond all": MLP.encode() + b"hidden = [1000000000000]",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(ended):
    """Whether a command ended as it does for bad input."""
    lines = ended.err.splitlines()
    return ended.code == 2 and len(lines) == 3 and all(line.isprintable() for line in lines)


@pytest.mark.parametrize("case", RECIPES)
def test_a_hostile_recipe(case, kilter, place):
    Path("r.toml").write_bytes(RECIPES[case])
    for words in ("train r.toml --quiet", "transfer a.keras r.toml"):
        ended = kilter(*words.split())
        assert told(ended), (words, ended)
    assert os.listdir() == ["r.toml"]


@pytest.mark.parametrize("key", ["a{} = 1", "[a{}]", "a = {{ a{} = 1 }}"])
def test_a_key_of_many_parts_takes_little_memory(key):
    """tomllib keeps each of its beginnings: 4,000 parts took 70 MB, 30,000 in 60 kB took 3.6 GB."""
    text = key.format(' . "b"' * 4000)
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than 16 deep"):
        parse_toml(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_names_of_files_forge_no_line_and_send_nothing_to_the_terminal(kilter, place):
    for name in ("a", "b"):
        Path("images", name).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (8, 8)).save(Path("images", name, f"{number}.png"))
    Path("images/a/x\nWarning: forged\x1b[31m\n.png").write_bytes(b"no image")
    for words in ("train images --set train.epochs=1", "train images --set train.epochs=1 --folds 2"):
        ended = kilter(*words.split())
        assert ended.code == 0
        assert "\x1b" not in ended.out + ended.err
        assert "Warning: forged" not in (ended.out + ended.err).splitlines()


def test_predictions_are_escaped_for_a_terminal_and_kept_for_a_pipe(kilter, place, monkeypatch):
    Path("t.csv").write_text("a,y\n" + "1,p\x07\n2,q\x07\n" * 20)
    assert kilter("train", "t.csv", "--epochs", 1, "--runs", "kept").code == 0
    for terminal in (True, False):
        stdout = SimpleNamespace(isatty=lambda found=terminal: found)
        monkeypatch.setattr("kilter._cli.predicting.sys", SimpleNamespace(stdout=stdout))
        ended = kilter("predict", next(Path("kept").iterdir()), "t.csv")
        assert ended.code == 0
        assert ("\x07" in ended.out) != terminal
        assert ended.out.count("\n") == 41


def test_a_byte_order_mark_is_no_error(kilter, place):
    Path("r.toml").write_bytes(b"\xef\xbb\xbf" + MLP.encode() + b"hidden = [4]")
    assert kilter("schedule", "r.toml").code == 0


def test_sizes_are_named_where_memory_is_short(kilter, place):
    ended = kilter("train", "digits", "--set", "model.hidden=[1000000, 1000000]")
    assert "1000000 × 1000000" in ended.err
    assert "TiB needed" in ended.err


@pytest.mark.parametrize(
    "name", ["", "~nobody_of_this_name/x.csv", "caf\udce9.csv", "caf\udce9.toml", "a" * 5000]
)
def test_a_hostile_name_of_the_data(name, kilter, place):
    assert told(kilter("train", name))
    assert os.listdir() == []


WORDS = [
    ("--set", "train.epochs=" + "[" * 3000),
    ("--set", "model.hidden=" + "[" * 100 + "]" * 100),
    ("--set", "a." * 3000 + "b=1"),
    ("--epochs", "9" * 25),
    ("--target", "\udce9"),
    ("--name", "\udce9"),
    ("--runs", "a" * 300),
]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: " ".join(words)[:30])
def test_hostile_options(words, kilter, place):
    assert told(kilter("train", "digits", "--set", "train.epochs=1", *words))
    assert os.listdir() == []


def test_a_class_folder_that_is_not_utf8(kilter, place):
    for name in ("caf\udce9", "tea"):
        folder = Path("images", name)
        folder.mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / "one.png")
    assert "caf\\xe9" in kilter("data", "images").out
    assert kilter("train", "images", "--set", "train.epochs=1").code == 0


CONTENTS = {
    "empty": b"",
    "no text": b"\xff\xfe\n",
    "nested": b"[" * 100_000 + b"\n",
    "another value": b"[1]\n",
    "a number of many digits": b"9" * 5000 + b"\n",
}


# A run can be read without these, and [1] is a table.
READABLE = [("empty", RECIPE), ("empty", HISTORY), ("another value", RECIPE)]


@pytest.mark.parametrize(
    "file", ["recipe.toml", "data.json", "result.json", "environment.json", "history.jsonl"]
)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_damaged_file_of_a_run(file, content, digits_run, place):
    run = place / digits_run.name
    shutil.copytree(digits_run, run, ignore=shutil.ignore_patterns("checkpoints", "*.keras", "*.html"))
    (run / file).write_bytes(CONTENTS[content])
    if (content, file) not in READABLE:
        with pytest.raises(RunError, match=re.escape(file)):
            open_run(run)
    assert [one.path for one in list_runs(place)] == [run]


def changed(file, **fields):
    def write(run):
        record = json.loads((run / file).read_text())
        (run / file).write_text(json.dumps(record | fields))

    return write


FIELDS = {
    "classes that are numbers": changed("data.json", classes=list(range(10))),
    "no classes": changed("data.json", classes=[]),
    "a shape of words": changed("data.json", input_shape=["a"]),
    "a checksum that is a number": changed("data.json", sha256=5),
    "rows in a list": changed("data.json", rows=[]),
    "a status that is a number": changed("result.json", status=5),
    "a measure that is a number": changed("result.json", monitor=5),
    "parameters in words": changed("result.json", parameters="many"),
    "a model that is a list": lambda run: (run / RECIPE).write_text("model = []\n"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_a_run_file_with_values_of_other_types(case, digits_run, kilter, place):
    run = place / digits_run.name
    shutil.copytree(digits_run, run, ignore=shutil.ignore_patterns("checkpoints"))
    FIELDS[case](run)
    assert kilter("runs", place).code == 0
    for words in (["report", run], ["predict", run, "digits"], ["resume", run]):
        ended = kilter(*words)
        assert ended.code == 0 or told(ended), (words, ended)


def model(shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers])


def two_outputs(path, *, named):
    pixels = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(pixels)
    heads = {name: keras.layers.Dense(10)(flat) for name in "ab"}
    keras.Model(pixels, heads if named else list(heads.values())).save(path)


def named_output(path):
    pixels = keras.Input((8, 8, 1))
    keras.Model(pixels, {"a": keras.layers.Dense(10)(keras.layers.Flatten()(pixels))}).save(path)


def archive(**files):
    def write(path):
        with zipfile.ZipFile(path, "w") as into:
            for name, content in files.items():
                into.writestr(f"{name}.json", content)

    return write


MISFITS = {
    "another input": lambda path: model((5,), keras.layers.Dense(10)).save(path),
    "flat rows": lambda path: model((64,), keras.layers.Dense(10)).save(path),
    "more classes": lambda path: model((8, 8, 1), keras.layers.Flatten(), keras.layers.Dense(11)).save(path),
    "fewer classes": lambda path: model((8, 8, 1), keras.layers.Flatten(), keras.layers.Dense(3)).save(path),
    "an image as output": lambda path: model((8, 8, 1), keras.layers.Conv2D(10, 3)).save(path),
    "two outputs": lambda path: two_outputs(path, named=False),
    "two named outputs": lambda path: two_outputs(path, named=True),
    "one named output": named_output,
    "an empty file": lambda path: path.write_bytes(b""),
    "no archive": lambda path: path.write_bytes(b"hello"),
    "an HDF5 file": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)),
    "half a file": lambda path: path.write_bytes(path.read_bytes()[:800]),
    "no file": Path.unlink,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "an archive of nothing": archive(),
    "no JSON": archive(config="{"),
    "nested JSON": archive(config="[" * 100_000),
    "a list": archive(config="[]"),
    "a layer": archive(config=json.dumps(keras.saving.serialize_keras_object(keras.layers.Dense(3)))),
}


@pytest.fixture(scope="module")
def run(digits_run, tmp_path_factory):
    """A run of its own, whose model is put in place of by one after the other."""
    path = tmp_path_factory.mktemp("misfits") / digits_run.name
    shutil.copytree(digits_run, path, ignore=shutil.ignore_patterns("checkpoints"))
    return path


@pytest.mark.parametrize("case", MISFITS)
def test_a_model_that_does_not_fit_its_run(case, run, digits_run, kilter, place):
    kept = run / "model.keras"
    shutil.rmtree(kept) if kept.is_dir() else kept.unlink(missing_ok=True)
    shutil.copy(digits_run / "model.keras", kept)
    MISFITS[case](kept)
    for words in (
        "evaluate {}",
        "predict {} digits",
        "fold-bn {} --check digits --out f.keras",
    ):
        ended = kilter(*words.format(run).split())
        assert told(ended), (words, ended)
    if kept.is_file():
        ended = kilter("train", "digits", "--set", f"model.file={kept}")
        assert told(ended), ended
    assert os.listdir() == []


def test_a_model_beside_a_run_is_not_the_models_run(run, kilter, digits_run):
    shutil.rmtree(run / "model.keras", ignore_errors=True) if (run / "model.keras").is_dir() else None
    model((8, 8, 1), keras.layers.Flatten(), keras.layers.Dense(3)).save(run / "other.keras")
    header = kilter("predict", run / "other.keras", "digits").out.splitlines()[0]
    assert header == "row,output_1,output_2,output_3"


class Refusing(keras.callbacks.Callback):
    """Stands for anything that goes wrong after the directory is made and before the first epoch."""

    def on_train_begin(self, logs=None):
        raise OptionError(expected="a", received="b", remedy="c")


def test_a_run_that_cannot_begin_leaves_no_directory(place):
    with pytest.raises(KilterError):
        train(recipe_for("digits"), parent="runs", verbose=0, callbacks=[Refusing()])
    rows = np.zeros((8, 3), np.float32)
    net = model((3,), keras.layers.Dense(1))
    net.compile("sgd", "mse")
    with pytest.raises(KilterError):
        kilter.fit(net, rows, rows[:, :1], run="runs", verbose=0, callbacks=[Refusing()])
    assert os.listdir("runs") == []


def test_a_treatment_that_is_refused_leaves_no_folder(kilter, place):
    assert told(kilter("treat", "digits", "--keep", "no-such-remedy-or-layer", "--out", "treated"))
    assert os.listdir() == []


def described(path, units):
    """A .keras file of 13 kB whose two layers have so many units."""
    whole = path.with_name("small.keras")
    layers = [keras.Input((64,)), keras.layers.Dense(7), keras.layers.Dense(10)]
    keras.Sequential(layers).save(whole)
    with zipfile.ZipFile(whole) as given, zipfile.ZipFile(path, "w") as changed:
        for member in given.namelist():
            content = given.read(member)
            if member == "config.json":
                content = content.replace(b'"units": 10', b'"units": %d' % units)
                content = content.replace(b'"units": 7', b'"units": %d' % units)
                content = content.replace(b"[null, 7]", b"[null, %d]" % units)
            changed.writestr(member, content)


def packed(path, size):
    """A .keras file with a member of zeros that unpacks to ``size``."""
    keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)]).save(path)
    block = bytes(1 << 24)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("zeros", "w", force_zip64=True) as member,
    ):
        for _ in range(size >> 24):
            member.write(block)


BOMBS = {"layers": lambda path: described(path, 10**6), "an archive": lambda path: packed(path, 1 << 29)}


@pytest.mark.parametrize("case", BOMBS)
def test_a_saved_model_that_asks_for_too_much_memory(case, kilter, place, monkeypatch):
    BOMBS[case](place / "bomb.keras")
    if case == "an archive":  # as if little were free: to write more zeros takes long
        monkeypatch.setattr("kilter._system.free_memory", lambda: 1 << 28)
    assert (place / "bomb.keras").stat().st_size < 1 << 20
    for words in ("predict bomb.keras digits", "diagnose digits --model bomb.keras"):
        ended = kilter(*words.split())
        assert told(ended), (words, ended)
        assert "needed" in ended.err
