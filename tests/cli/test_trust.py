"""Code that a recipe, a run or a model brings along runs only with --allow-code, whatever the command."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import typer

from kilter._cli.main import app
from kilter._models.saved import load_model
from kilter.errors import ModelError

# What each command is asked to do with a stranger's {recipe}, {run} or {model}.
COMMANDS = {
    "train": ["train {recipe} --quiet"],
    "find-lr": ["find-lr {recipe}"],
    "diagnose": ["diagnose {recipe}", "diagnose digits --model {model}"],
    "treat": ["treat {recipe}", "treat digits --model {model}"],
    "schedule": ["schedule {recipe}"],
    "resume": ["resume {run}"],
    "replay": ["replay {run}"],
    "evaluate": ["evaluate {run}", "evaluate {run} digits", "evaluate {model} digits"],
    "predict": ["predict {run} digits", "predict {model} digits"],
    "fold-bn": ["fold-bn {run} --check digits --out f.keras", "fold-bn {model} --check digits --out f.keras"],
    "transfer": ["transfer {run} few.csv", "transfer {model} few.csv", "transfer {model} {recipe}"],
    "pretrain": ["pretrain {recipe} --task autoencoder"],
    "compare": ["compare {recipe} honest.toml --workers 1"],
    "sweep": ["sweep {recipe} --vary train.batch_size=[16] --workers 1"],
    "runs": ["runs {run}/.."],
    "report": ["report {run}"],
    "data": ["data digits"],
}
NEVER = {"runs", "report", "data"}  # load no model at all
IN_WORKERS = {"compare", "sweep"}  # a process each: a few seconds

TOUCH = "__import__('pathlib').Path('RAN').touch()"
# What comes from it does not fit the data, so that a command that runs it stops at once.
FACTORY = f"{TOUCH}\ndef build(input_shape, outputs):\n    {TOUCH}\n    return 7\n"
HONEST = '[data]\nsource = "digits"\n[model]\nbuilder = "mlp"\n'
SECTIONS = {
    "code in the model": 'file = "{model}"',
    "a recipe that allows itself": 'file = "{model}"\nallow_code = true',
    "a factory in the working directory": 'factory = "here_of_stranger:build"',
    "a factory beside the recipe": 'factory = "beside_of_stranger:build"',
}
FACTORIES = {carrier for carrier in SECTIONS if carrier.startswith("a factory")}


@pytest.fixture
def stranger(digits_run, tmp_path_factory, monkeypatch):
    """Make the files of a carrier: the paths by name. The working directory is one of the stranger's."""
    folder, work = tmp_path_factory.mktemp("received"), tmp_path_factory.mktemp("work")
    monkeypatch.chdir(work)

    def received(carrier):
        model, run = folder / "code.keras", folder / digits_run.name
        layers = [
            keras.Input((5,)),
            keras.layers.Lambda(eval(f"lambda x: ({TOUCH}, x)[1]")),
            keras.layers.Dense(10),
        ]
        keras.Sequential(layers).save(model)
        shutil.copytree(digits_run, run)
        (run / "result.json").unlink()
        (run / "checksums.json").unlink()  # it is the stranger's too: it protects against damage alone
        section = "[model]\n" + SECTIONS[carrier].format(model=model) + "\n"
        text = (run / "recipe.toml").read_text()
        (run / "recipe.toml").write_text(re.sub(r"\[model\]\n.*?\n(?=\n\[)", section, text, flags=re.S))
        (folder / "recipe.toml").write_text(f'[data]\nsource = "digits"\n{section}')
        if carrier not in FACTORIES:
            shutil.copy(model, run / "model.keras")
        (folder / "beside_of_stranger.py").write_text(FACTORY)
        (work / "here_of_stranger.py").write_text(FACTORY)
        (work / "tomllib.py").write_text(TOUCH)  # which a worker process imports
        (work / "honest.toml").write_text(HONEST)
        (work / "few.csv").write_text("size,kind\n1,a\n2,b\n")
        Path("RAN").unlink(missing_ok=True)
        return {"recipe": folder / "recipe.toml", "run": run, "model": model}

    return received


def asked(carriers, *, workers):
    """Every command with every way to name what the carrier poisons."""
    return [
        pytest.param(carrier, words, id=f"{carrier}: {words}".replace(" ", "-"))
        for carrier in carriers
        for command, every in COMMANDS.items()
        for words in every
        if (command in IN_WORKERS) == workers and command not in NEVER
        if carrier not in FACTORIES or "{recipe}" in words or command == "resume"
    ]


def refused(ended):
    return ended.code == 2 and "add --allow-code" in ended.err and len(ended.err.splitlines()) == 3


def test_the_table_has_every_command():
    group = typer.main.get_command(app)
    commands = {name: group.get_command(None, name) for name in group.list_commands(None)}
    assert set(commands) == set(COMMANDS)
    flagged = {
        name
        for name, command in commands.items()
        if any("--allow-code" in one.opts for one in command.params)
    }
    assert flagged == set(COMMANDS) - NEVER


@pytest.mark.parametrize(
    ("carrier", "words"),
    [*asked(SECTIONS, workers=False), *asked(["a recipe that allows itself"], workers=True)],
)
def test_without_the_flag_nothing_runs(carrier, words, kilter, stranger):
    files = stranger(carrier)
    ended = kilter(*words.format(**files).split())
    assert refused(ended), ended
    assert not Path("RAN").exists()
    assert not Path("runs").exists()
    assert not Path("comparisons").exists()


@pytest.mark.parametrize(
    ("carrier", "words"), asked(["code in the model", "a factory in the working directory"], workers=False)
)
def test_with_the_flag_it_runs(carrier, words, kilter, stranger):
    files = stranger(carrier)
    ended = kilter(*words.format(**files).split(), "--allow-code")
    assert Path("RAN").exists()
    assert ended.code == 2, "what it gives does not fit"
    assert not refused(ended)


@pytest.mark.parametrize("words", [words for command in sorted(NEVER) for words in COMMANDS[command]])
def test_some_commands_load_no_model(words, kilter, stranger):
    files = stranger("code in the model")
    assert kilter(*words.format(**files).split()).code == 0
    assert not Path("RAN").exists()


@pytest.mark.parametrize("words", ["evaluate {run}", "predict {run} digits"])
def test_the_saved_model_of_a_factory_needs_no_factory(words, kilter, stranger):
    files = stranger("a factory in the working directory")
    assert kilter(*words.format(**files).split()).code == 0
    assert not Path("RAN").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("carrier", "words"), asked(["code in the model", "a factory in the working directory"], workers=True)
)
def test_worker_processes_are_told_of_the_flag(carrier, words, kilter, stranger):
    files = stranger(carrier)
    Path("tomllib.py").unlink()
    assert not refused(kilter(*words.format(**files).split(), "--allow-code"))
    assert Path("RAN").exists()


class Touching:
    """Makes the file RAN when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("RAN"),)


def pickled(folder):
    """Data with pickled objects: an archive of NumPy, and a recipe that names it."""
    rows = np.array([[Touching()], [Touching()]], dtype=object)
    np.savez(folder / "pickled.npz", x=rows, y=np.array([Touching(), 1], dtype=object))
    (folder / "recipe.toml").write_text(
        f'[data]\nsource = "{folder}/pickled.npz"\n[model]\nbuilder = "mlp"\n'
    )


# Every way to name data, in the place of a named set, and every way to name a recipe.
NAMING_DATA = [
    words.replace(" digits", " {pickled}").replace("few.csv", "{pickled}")
    for command, every in (COMMANDS | {"train": ["train {recipe}", "train digits"]}).items()
    for words in every
    if command not in IN_WORKERS and ("digits" in words or "{recipe}" in words or "few.csv" in words)
]


@pytest.mark.parametrize("flag", ["", " --allow-code"])
@pytest.mark.parametrize("words", NAMING_DATA)
def test_data_run_nothing_even_with_the_flag(words, flag, kilter, digits_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickled(tmp_path)
    files = {"recipe": "recipe.toml", "pickled": "pickled.npz", "run": digits_run}
    model = digits_run / "model.keras"
    flag = flag if words.split()[0] not in NEVER else ""
    ended = kilter(*words.format(**files, model=model).split(), *flag.split())
    assert ended.code == 2, ended
    assert not Path("RAN").exists()


@pytest.mark.parametrize("words", ["evaluate {} digits", "predict {} digits", "diagnose digits --model {}"])
def test_hdf5_models_run_nothing_even_with_the_flag(words, kilter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touching = keras.layers.Lambda(eval(f"lambda x: ({TOUCH}, x)[1]"), output_shape=(8, 8, 1))
    model = keras.Sequential([keras.Input((8, 8, 1)), touching, keras.layers.Flatten()])
    model.save("model.h5")
    Path("model.h5").rename("code.keras")
    Path("RAN").unlink(missing_ok=True)
    assert kilter(*words.format("code.keras").split(), "--allow-code").code == 2
    assert not Path("RAN").exists()


def calling(function, path):
    """Save a model with a layer that calls a function of Keras, by its full name."""
    whole = path.with_name("whole.keras")
    keras.Sequential([keras.Input((3,)), keras.layers.Lambda(keras.activations.relu)]).save(whole)
    module, _, name = function.rpartition(".")
    named = {"module": module, "class_name": "function", "config": name, "registered_name": "function"}
    with zipfile.ZipFile(whole) as given, zipfile.ZipFile(path, "w") as changed:
        for member in given.namelist():
            content = given.read(member)
            if member == "config.json":
                config = json.loads(content)
                config["config"]["layers"][-1]["config"]["function"] = named
                content = json.dumps(config)
            changed.writestr(member, content)


@pytest.mark.parametrize(
    "function", ["keras.utils.set_random_seed", "keras.datasets.mnist.load_data", "keras.layers.deserialize"]
)
def test_a_layer_calls_no_function_that_is_no_part_of_a_model(function, tmp_path):
    """Keras's safe mode lets a Lambda call most of what Keras exports; some of it reads and writes files."""
    calling(function, tmp_path / "changed.keras")
    with pytest.raises(ModelError, match="allow_code=True"):
        load_model(tmp_path / "changed.keras")


@pytest.mark.parametrize("function", ["keras.ops.abs", "keras.activations.gelu"])
def test_a_layer_may_call_an_operation(function, tmp_path):
    calling(function, tmp_path / "changed.keras")
    assert load_model(tmp_path / "changed.keras").count_params() == 0
