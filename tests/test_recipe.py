"""Recipes: what is refused and in which words, what defaults follow from, overrides, the recipes we ship."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from kilter.errors import RecipeError
from kilter.recipe import (
    CnnSection,
    MlpSection,
    dump_recipe,
    load_recipe,
    parse_recipe,
    recipe_for,
    with_overrides,
)

ROOT = Path(__file__).parent.parent
DATA = {"source": "digits"}
MLP = {"builder": "mlp"}


def recipe(**sections):
    return {"data": DATA, "model": MLP} | sections


def model(**keys):
    return recipe(model=MLP | keys)


# What is given; what the error must say of the key, of the value, and of the way out.
BAD = {
    "no data": ({"model": MLP}, "data", "no data", "add data"),
    "no source": (recipe(data={}), "data.source", "no source", "add source"),
    "data is no table": (recipe(data=3), "data", "data=3", "correct data"),
    "empty source": (recipe(data={"source": ""}), "data.source", "''", "correct"),
    "no model": ({"data": DATA}, "exactly one of builder", "no [model]", "[model] builder"),
    "model names nothing": (
        recipe(model={"preset": "standard"}),
        "exactly one of",
        "preset",
        "[model] builder",
    ),
    "two kinds of model": (
        model(file="a.keras"),
        "exactly one of",
        "builder='mlp' and file='a.keras'",
        "keep one",
    ),
    "unknown builder": (recipe(model={"builder": "mpl"}), "model.builder", "'mpl'", "'mlp'"),
    "unknown section": (recipe(trian={}), "trian", "trian={}", "'train'"),
    "unknown key": (recipe(train={"epoch": 3}), "train.epoch", "train.epoch=3", "'epochs'"),
    "unknown key of a later section": (
        recipe(cluster={"count": 2}),
        "cluster",
        "cluster",
        "leave cluster out",
    ),
    "key in the wrong section": (
        recipe(data=DATA | {"epochs": 3}),
        "data.epochs",
        "3",
        "epochs belongs in [train]",
    ),
    "key of the other builder": (model(filters=[8]), "model.filters", "[8]", 'builder = "cnn"'),
    "key of a builder with a file": (
        recipe(model={"file": "a.keras", "hidden": [8]}),
        "model.hidden",
        "[8]",
        "mlp",
    ),
    "unknown key of an inner table": (
        recipe(train={"early_stopping": {"patienc": 3}}),
        "train.early_stopping.patienc",
        "3",
        "'patience'",
    ),
    "unknown key of an initializer": (
        model(initializer={"scael": 2.0}),
        "model.initializer.scael",
        "2.0",
        "'scale'",
    ),
    "text for a number": (recipe(train={"epochs": "5"}), "train.epochs", "train.epochs='5'", "correct"),
    "fraction for a whole number": (recipe(train={"epochs": 2.5}), "train.epochs", "2.5", "correct"),
    "truth value for a number": (recipe(train={"epochs": True}), "train.epochs", "True", "correct"),
    "zero epochs": (recipe(train={"epochs": 0}), "train.epochs", "0", "correct"),
    "number for a truth value": (recipe(train={"shuffle": 1}), "train.shuffle", "1", "correct"),
    "negative seed": (recipe(seed=-1), "seed", "-1", "correct"),
    "name that is a path": (recipe(name="../x"), "name", "'../x'", "correct"),
    "not a number": (recipe(optimizer={"learning_rate": float("nan")}), "learning_rate", "nan", "correct"),
    "negative rate": (
        recipe(optimizer={"learning_rate": -1.0}),
        "optimizer.learning_rate",
        "-1.0",
        "correct",
    ),
    "unknown optimizer": (recipe(optimizer={"name": "nadm"}), "optimizer.name", "'nadm'", "'nadam'"),
    "two ways of clipping": (
        recipe(optimizer={"clipnorm": 1, "clipvalue": 1}),
        "at most one",
        "clipvalue",
        "one",
    ),
    "momentum of adam": (
        recipe(optimizer={"name": "adam", "momentum": 0.9}),
        "momentum only",
        "adam",
        "change",
    ),
    "nesterov without momentum": (
        recipe(optimizer={"name": "sgd", "nesterov": True}),
        "nesterov",
        "None",
        "change",
    ),
    "option with a key of its own": (
        recipe(optimizer={"options": {"clipnorm": 1.0}}),
        "optimizer.options",
        "clipnorm in options",
        "change",
    ),
    "option that is a list": (
        recipe(optimizer={"options": {"a": [1]}}),
        "optimizer.options",
        "[1]",
        "correct",
    ),
    "share of all": (recipe(data=DATA | {"validation": 1.0}), "data.validation", "1.0", "correct"),
    "no rows": (recipe(data=DATA | {"validation": 0}), "data.validation", "0", "correct"),
    "size of one number": (recipe(data=DATA | {"image_size": [8]}), "data.image_size", "[8]", "correct"),
    "size of nothing": (recipe(data=DATA | {"image_size": [0, 8]}), "data.image_size", "[0, 8]", "correct"),
    "unknown activation": (model(activation="rellu"), "model.activation", "'rellu'", "'relu'"),
    "slope of one": (
        model(activation="leaky_relu", negative_slope=1.0),
        "at 1 the layer is linear",
        "negative_slope=1.0",
        "unchecked",
    ),
    "slope of elu": (
        model(negative_slope=0.1),
        "leaky_relu only",
        "negative_slope=0.1",
        "leave negative_slope",
    ),
    "elu_alpha of relu": (
        model(activation="relu", elu_alpha=0.5),
        "elu_alpha with elu only",
        "elu_alpha=0.5",
        "leave elu_alpha",
    ),
    "momentum without batch norm": (
        model(batch_norm_momentum=0.9),
        "with batch_norm only",
        "batch_norm_momentum=0.9",
        "leave batch_norm_momentum",
    ),
    "zeros": (model(initializer="zeros"), "stay equal", "'zeros'", "unchecked"),
    "too few rates": (
        model(dropout=[0.1]),
        "each of the 2 hidden layers",
        "1 in dropout=[0.1]",
        "count",
    ),
    "rate of one in a list": (model(dropout=[0.1, 1.0]), "model.dropout", "[0.1, 1.0]", "correct"),
    "unknown activation in a list": (
        model(activation=["relu", "tahn"]),
        "model.activation",
        "['relu', 'tahn']",
        "correct",
    ),
    "unknown key of an initializer in a list": (
        model(initializer=["he_normal", {"scael": 2.0}]),
        "model.initializer.scael",
        "2.0",
        "'scale'",
    ),
    "width of zero": (model(hidden=[0]), "model.hidden", "[0]", "correct"),
    "a billion layers": (
        model(hidden={"layers": 10**9, "units": 1}),
        "model.hidden",
        "1000000000",
        "correct",
    ),
    "widths without units": (model(hidden={"layers": 2}), "model.hidden", "{'layers': 2}", "correct"),
    "selu in the standard preset": (
        model(activation="selu"),
        "SELU",
        "activation='selu'",
        "self-normalizing",
    ),
    "self-normalizing with batch norm": (
        model(preset="self-normalizing", batch_norm="before"),
        "self-normalisation",
        "batch_norm='before'",
        "alpha dropout",
    ),
    "self-normalizing on raw inputs": (
        recipe(data=DATA | {"standardize": False}, model=MLP | {"preset": "self-normalizing"}),
        "standardised inputs",
        "standardize = false",
        "change",
    ),
    "self-normalizing with l2": (
        recipe(model=MLP | {"preset": "self-normalizing"}, regularize={"l2": 0.1}),
        "self-normalisation",
        "l2=0.1",
        "alpha dropout",
    ),
    "regularized file": (
        recipe(model={"file": "a.keras"}, regularize={"l1": 0.1}),
        "builder only",
        "file",
        "change",
    ),
    "two averages": (recipe(train={"ema": 0.99, "swa": {}}), "ema or swa", "ema=0.99 and swa", "change"),
    "an average twice": (
        recipe(train={"ema": 0.99}, optimizer={"options": {"use_ema": True}}),
        "one average",
        "use_ema in optimizer.options",
        "change",
    ),
    "an average of nothing": (
        recipe(train={"epochs": 5, "swa": {"start": 5}}),
        "below train.epochs",
        "swa.start=5 of epochs=5",
        "change",
    ),
    "a share of all epochs": (recipe(train={"swa": {"start": 1.0}}), "train.swa.start", "1.0", "correct"),
    "unknown key of an average": (recipe(train={"swa": {"strat": 3}}), "train.swa.strat", "3", "'start'"),
    "no labels left": (
        recipe(regularize={"label_smoothing": 1.0}),
        "regularize.label_smoothing",
        "1.0",
        "correct",
    ),
    "factory that is no name": (recipe(model={"factory": "a b"}), "model.factory", "'a b'", "correct"),
    "stopping on what is not measured": (
        recipe(data=DATA | {"validation": "none"}, train={"early_stopping": {}}),
        "validation data",
        'data.validation="none"',
        "change",
    ),
    "negative class weight": (
        recipe(train={"class_weight": {"a": -1.0}}),
        "train.class_weight",
        "-1.0",
        "correct",
    ),
    "class weight that is a word": (
        recipe(train={"class_weight": "balance"}),
        "class_weight",
        "'balance'",
        "balanced",
    ),
}


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.replace(" ", "-"))
def test_bad_recipe_is_named_with_the_way_out(case):
    given, key, value, remedy = BAD[case]
    with pytest.raises(RecipeError) as caught:
        parse_recipe(given)
    assert key in caught.value.expected
    assert value in caught.value.received
    assert remedy in caught.value.remedy


def test_all_problems_are_told_at_once_each_once():
    with pytest.raises(RecipeError) as caught:
        parse_recipe(
            recipe(seed="x", model={"builder": "mlp", "hiden": [1]}, train={"epochs": 0, "batch": 1})
        )
    for key in ("seed", "model.hiden", "train.epochs", "train.batch"):
        assert caught.value.expected.count(f"{key}: ") == 1
    assert "model.hiden: did you mean 'hidden'?" in caught.value.remedy


def test_a_flood_of_problems_is_cut():
    with pytest.raises(RecipeError, match="and 42 more"):
        parse_recipe(recipe(train={f"key{i}": i for i in range(50)}))


@pytest.mark.parametrize("given", [None, 3, "digits", [1], {1: 2}])
def test_what_is_no_recipe_at_all(given):
    with pytest.raises(RecipeError):
        parse_recipe(given)


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ({"optimizer": {"name": "sgd"}}, {"learning_rate": 0.01}),
        ({"optimizer": {"name": "SGD"}}, {"name": "sgd"}),
        ({"optimizer": {"name": "adadelta"}}, {"learning_rate": 1.0}),
        ({"optimizer": {"clipnorm": "none"}}, {"clipnorm": None}),
        ({"model": {"builder": "mlp"}}, {"activation": "elu", "initializer": "he_normal"}),
        ({"model": {"builder": "mlp", "activation": "tanh"}}, {"initializer": "glorot_uniform"}),
        ({"model": {"builder": "mlp", "activation": "leaky_relu"}}, {"negative_slope": 0.2}),
        (
            {"model": {"builder": "mlp", "activation": ["leaky_relu", "tanh"]}},
            {"negative_slope": 0.2, "initializer": ("he_normal", "glorot_uniform")},
        ),
        ({"model": {"builder": "mlp", "activation": ["relu", "elu"]}}, {"initializer": "he_normal"}),
        ({"model": {"builder": "mlp", "initializer": "ones", "unchecked": True}}, {"initializer": "ones"}),
        ({"model": {"builder": "mlp", "dropout": [0.1, 0.5]}}, {"dropout": (0.1, 0.5)}),
        (
            {"model": {"builder": "cnn", "preset": "self-normalizing"}},
            {"activation": "selu", "initializer": "lecun_normal"},
        ),
        ({"model": {"builder": "mlp", "hidden": {"layers": 3, "units": 7}}}, {"hidden": (7, 7, 7)}),
        ({"data": {"source": "a", "image_size": [4, 6]}}, {"image_size": (4, 6)}),
    ],
)
def test_defaults_follow_from_other_keys(given, resolved):
    read = parse_recipe(recipe(**given))
    (section,) = given
    found = getattr(read, section)
    assert {key: getattr(found, key) for key in resolved} == resolved


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.epochs=5", "train.epochs", 5),
        ("optimizer.name=sgd", "optimizer.learning_rate", 0.01),
        ("optimizer.learning_rate=1e-4", "optimizer.learning_rate", 1e-4),
        ('data.source="my file.csv"', "data.source", "my file.csv"),
        ("data.source=my file.csv", "data.source", "my file.csv"),
        ("data.source=a=b", "data.source", "a=b"),
        ('data.source="a"\nb = "c"', "data.source", '"a"\nb = "c"'),
        ("model.hidden=[5, 6]", "model.hidden", (5, 6)),
        ("model.hidden={layers=2, units=3}", "model.hidden", (3, 3)),
        ("model.builder=mlp", "model.hidden", (11,)),
        ("model.builder=cnn", "model.filters", (32, 64)),
        ("model.file=a.keras", "model.file", "a.keras"),
        ("train.early_stopping.patience=3", "train.early_stopping.patience", 3),
        ("train.early_stopping=none", "train.early_stopping", None),
        ("train.ema=0.9", "train.ema", 0.9),
        ("train.swa.start=3", "train.swa.start", 3),
        ("train.swa.start=0.5", "train.swa.start", 0.5),
        ("regularize.label_smoothing=0.1", "regularize.label_smoothing", 0.1),
        ("train.class_weight.cat=2.0", "train.class_weight", {"cat": 2.0}),
        ("seed=7", "seed", 7),
        ("name=other", "name", "other"),
    ],
)
def test_override(override, path, value):
    given = parse_recipe(recipe(model=MLP | {"hidden": [11]}, train={"early_stopping": {"min_delta": 0.5}}))
    found = with_overrides(given, [override])
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_override_in_a_table_keeps_its_other_keys():
    given = parse_recipe(recipe(train={"early_stopping": {"min_delta": 0.5}}))
    stopping = with_overrides(given, ["train.early_stopping.patience=3"]).train.early_stopping
    assert stopping is not None
    assert stopping.min_delta == 0.5


def test_a_rate_that_was_given_survives_another_optimizer():
    given = parse_recipe(recipe(optimizer={"learning_rate": 0.5}))
    assert with_overrides(given, ["optimizer.name=sgd"]).optimizer.learning_rate == 0.5


@pytest.mark.parametrize(
    "override",
    ["", "train.epochs", "=5", ".=5", "train..epochs=5", "train.epochs=x", "seed.x=3", "train.epoch=5"],
)
def test_bad_override(override):
    with pytest.raises(RecipeError):
        with_overrides(recipe_for("digits"), [override])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "exactly one of builder"),
        (b"[data]\nsource = \n", "line 2"),
        (b"\xff\xfe", "utf-8"),
        (b"[data]\nsource = 'a'\nsource = 'b'\n", "line 3"),
    ],
)
def test_bad_file(tmp_path, content, says):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=says):
        load_recipe(path)


def test_file_that_is_not_there_or_a_folder(tmp_path):
    with pytest.raises(RecipeError, match="No such file"):
        load_recipe(tmp_path / "absent.toml")
    with pytest.raises(RecipeError, match="directory"):
        load_recipe(tmp_path)


def test_a_recipe_is_named_for_its_file(tmp_path):
    path = tmp_path / "my first run!.toml"
    path.write_text('[data]\nsource = "digits"\n[model]\nbuilder = "mlp"\n')
    assert load_recipe(path).name == "my-first-run"


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        ("digits", MlpSection, "digits"),
        ("cifar10", CnnSection, "cifar10"),
        ("/data/a b.csv", MlpSection, "a-b"),
        (str(ROOT), CnnSection, None),
        ("…", MlpSection, "run"),
    ],
)
def test_default_recipe(source, kind, name):
    found = recipe_for(source)
    assert isinstance(found.model, kind)
    assert found.data.source == source
    assert name is None or found.name == name


def test_a_folder_of_parquet_files_may_hold_a_table(tmp_path):
    (tmp_path / "cats").mkdir()
    assert isinstance(recipe_for(str(tmp_path)).model, CnnSection)
    file = tmp_path / "train-0.PARQUET"
    for column, section in (([1, 2], MlpSection), ([b"x", b"y"], CnnSection)):
        pl.DataFrame({"image": column, "label": [0, 1]}).write_parquet(file)
        for source in (tmp_path, file):
            assert isinstance(recipe_for(str(source)).model, section)


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/*.toml")), ids=lambda path: path.stem)
def test_shipped_recipe_loads_and_has_the_name_of_its_file(path):
    assert load_recipe(path).name == path.stem


@pytest.mark.parametrize(
    "path",
    sorted(path for folder in ("cifar10", "fashion") for path in (ROOT / "recipes" / folder).glob("*.toml")),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_shipped_exercise_loads_and_reads_the_data_of_its_folder(path):
    found = load_recipe(path)
    assert found.data.source.startswith(path.parent.name)
    assert found.data.validation == 5000


@pytest.mark.parametrize(
    ("name", "rate", "activation", "initializer", "batch_norm"),
    [
        ("elu", 5e-5, "elu", "he_normal", False),
        ("bn", 5e-4, "elu", "he_normal", "before"),
        ("selu", 7e-4, "selu", "lecun_normal", False),
    ],
)
def test_shipped_exercise_is_the_textbooks(name, rate, activation, initializer, batch_norm):
    found = load_recipe(ROOT / f"recipes/cifar10-{name}.toml")
    assert isinstance(found.model, MlpSection)
    assert found.model.hidden == (100,) * 20
    assert (found.model.activation, found.model.initializer) == (activation, initializer)
    assert found.model.batch_norm == batch_norm
    assert (found.optimizer.name, found.optimizer.learning_rate) == ("nadam", rate)
    assert (found.train.batch_size, found.data.validation) == (32, 5000)
    assert found.train.early_stopping is not None
    assert found.train.early_stopping.patience == 20


@pytest.mark.parametrize("kind", ["file", "reuse"])
def test_recipes_of_0_1_0_that_allow_code_are_read_and_grant_nothing(kind):
    old = parse_recipe(recipe(model={kind: "a.keras", "allow_code": True}))
    assert old == parse_recipe(recipe(model={kind: "a.keras"}))
    assert "allow_code" not in dump_recipe(old)


def test_dump_names_every_key_and_keeps_many_equal_widths_short():
    text = dump_recipe(parse_recipe(recipe(model=MLP | {"hidden": {"layers": 20, "units": 100}})))
    assert "hidden = {layers = 20, units = 100}" in text
    assert 'clipnorm = "none"' in text


def test_importing_recipes_loads_neither_keras_nor_jax():
    code = "import sys, kilter.recipe; sys.exit(bool({'keras', 'jax', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
