"""What cannot be trained is refused before a directory is made; what can is built as the recipe says."""

import sys
import zipfile

import keras
import numpy as np
import polars
import pytest

from kilter._engine.objective_for import objective_for
from kilter._models.saved import load_model
from kilter.data import Dataset
from kilter.errors import DataError, KilterError, ModelError, RecipeError
from kilter.recipe import parse_recipe
from kilter.runs import train
from kilter.runs.build import make_optimizer, prepare, with_absolute_paths

DIGITS = {"data": {"source": "digits"}, "model": {"builder": "mlp", "hidden": [8]}}

FACTORIES = """
import keras
def binary(input_shape, outputs):
    return keras.Sequential([keras.Input(input_shape), keras.layers.Dense(1, activation="sigmoid")])
def not_a_model(input_shape, outputs):
    return 7
def wrong_width(input_shape, outputs):
    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(11)])
def breaks(input_shape, outputs):
    raise RuntimeError("deep inside")
def wrong_arguments():
    return None
class Unsaveable(keras.Model):
    def __init__(self, secret):
        super().__init__()
        self.flat, self.dense = keras.layers.Flatten(), keras.layers.Dense(secret[0])
    def call(self, x):
        return self.dense(self.flat(x))
    def get_config(self):
        raise NotImplementedError("no config")
def unsaveable(input_shape, outputs):
    return Unsaveable((outputs,))
def random_start(input_shape, outputs):
    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(outputs)])
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a module of factories, saved models good and bad, and two small tables."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "factories_of_test.py").write_text(FACTORIES)
    monkeypatch.delitem(sys.modules, "factories_of_test", raising=False)
    digits = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    keras.Sequential(digits).save(tmp_path / "good.keras")
    keras.Sequential([keras.Input((5,)), keras.layers.Dense(10)]).save(tmp_path / "narrow.keras")
    keras.Sequential([*digits, keras.layers.Lambda(lambda x: x)]).save(tmp_path / "code.keras")
    (tmp_path / "torn.keras").write_bytes((tmp_path / "good.keras").read_bytes()[:700])
    with zipfile.ZipFile(tmp_path / "zip.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(200, 2))
    price = 300_000 + 50_000 * rows[:, 0] - 20_000 * rows[:, 1]
    kind = np.where(rows[:, 0] > 0, "yes", "no")
    for name, target, values in (("houses.csv", "price", price), ("kinds.csv", "kind", kind)):
        lines = [f"{a:.6f},{b:.6f},{value}" for (a, b), value in zip(rows, values, strict=True)]
        (tmp_path / name).write_text("\n".join([f"a,b,{target}", *lines]) + "\n")
    return tmp_path


def _recipe(**sections):
    return parse_recipe({key: sections.get(key, DIGITS.get(key, {})) for key in {*DIGITS, *sections}})


def _factory(name):
    return {"model": {"factory": f"factories_of_test:{name}"}}


REFUSED = {
    "monitor of nothing": (
        {"train": {"early_stopping": {"monitor": "val_acuracy"}}},
        RecipeError,
        "did you mean 'val_accuracy'",
    ),
    "validation measure without validation": (
        {"data": {"source": "digits"}, "train": {"early_stopping": {"monitor": "val_mae"}}},
        RecipeError,
        "val_mae",
    ),
    "weight of an unknown class": ({"train": {"class_weight": {"11": 2.0}}}, RecipeError, "'11'"),
    "weights in regression": (
        {"data": {"source": "houses.csv", "target": "price"}, "train": {"class_weight": "balanced"}},
        RecipeError,
        "classification only",
    ),
    "unknown option of the optimiser": (
        {"optimizer": {"name": "adam", "options": {"beta_7": 0.5}}},
        RecipeError,
        "beta_7",
    ),
    "missing data": ({"data": {"source": "no_such.csv"}}, DataError, "no_such.csv"),
    "missing file": ({"model": {"file": "no_such.keras"}}, ModelError, "no_such.keras"),
    "torn file": ({"model": {"file": "torn.keras"}}, ModelError, "torn.keras"),
    "zip that is no model": ({"model": {"file": "zip.keras"}}, ModelError, "zip.keras"),
    "file with code in it": ({"model": {"file": "code.keras"}}, ModelError, "allow_code=True"),
    "model of another input shape": ({"model": {"file": "narrow.keras"}}, DataError, "(rows, 5)"),
    "missing module": ({"model": {"factory": "no_such_module:f"}}, ModelError, "no_such_module"),
    "missing function": (_factory("no_such"), ModelError, "no_such"),
    "factory that breaks": (_factory("breaks"), ModelError, "deep inside"),
    "factory of other arguments": (_factory("wrong_arguments"), ModelError, "input_shape"),
    "factory of no model": (_factory("not_a_model"), ModelError, "int"),
    "model of another width": (_factory("wrong_width"), ModelError, "10 classes"),
    "model that cannot be saved": (_factory("unsaveable"), ModelError, "get_config"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(case, folder):
    changes, kind, said = REFUSED[case]
    with pytest.raises(kind) as caught:
        train(_recipe(**changes), parent=folder / "runs", allow_code=case != "file with code in it")
    error = caught.value
    assert isinstance(error, KilterError)
    assert all((error.expected, error.received, error.remedy))
    assert said in str(error)
    assert len(str(error)) < 1500, "readable, not a dump of Keras's"
    assert not (folder / "runs").exists()


def test_code_in_a_file_runs_where_it_is_asked_for(folder):
    assert isinstance(load_model(folder / "code.keras", allow_code=True), keras.Model)


def test_paths_are_resolved_and_names_are_not(folder):
    recipe = _recipe(data={"source": "houses.csv", "target": "price"}, model={"file": "good.keras"})
    resolved = with_absolute_paths(recipe)
    assert resolved.data.source == str(folder / "houses.csv")
    assert resolved.model.file == str(folder / "good.keras")
    (folder / "digits").mkdir()
    assert with_absolute_paths(_recipe()).data.source == "digits", (
        "a name stays, whatever folder is called so"
    )


def test_probabilities_and_logits_get_the_loss_that_fits(folder):
    softmax = prepare(_recipe(model={"file": "good.keras"}))
    assert not softmax.objective.from_logits
    assert prepare(_recipe()).objective.from_logits


def test_a_factory_gives_the_same_weights_for_the_same_seed(folder):
    first, second = (
        prepare(_recipe(**_factory("random_start")), allow_code=True).model.get_weights() for _ in range(2)
    )
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_one_sigmoid_output_serves_two_classes(folder):
    recipe = _recipe(
        data={"source": "kinds.csv", "target": "kind"},
        optimizer={"name": "adam", "learning_rate": 0.05},
        train={"epochs": 8, "batch_size": 20},
        **_factory("binary"),
    )
    result = train(recipe, parent=folder / "runs", verbose=0, allow_code=True)
    found = result.result.evaluations["validation"]
    counts = np.asarray(found.confusion)
    assert counts.shape == (2, 2)
    assert found.metrics["accuracy"] == pytest.approx(counts.trace() / counts.sum())
    assert found.metrics["accuracy"] >= 0.9


def test_targets_in_the_hundred_thousands_are_learnt_as_fast_as_any(folder):
    """The loss is the unexplained share of the variance: about 1 for a model that knows nothing."""
    recipe = _recipe(
        data={"source": "houses.csv", "target": "price"},
        optimizer={"name": "adam", "learning_rate": 0.02},
        train={"epochs": 25, "batch_size": 20},
    )
    result = train(recipe, parent=folder / "runs", verbose=0)
    history, metrics = result.history.history, result.result.evaluations["validation"].metrics
    assert history["loss"][0] < 2
    assert metrics["loss"] < 0.05
    assert 0 < metrics["mae"] < metrics["rmse"] * 1.0001 < 20_000, "in the unit of the targets"
    outputs = result.model.predict(np.zeros((1, 2), "float32"), verbose=0)
    assert 250_000 < float(outputs[0, 0]) < 350_000


@pytest.mark.parametrize("given", ["balanced", {"a": 3.0, "b": 1.0}])
def test_class_weights_by_name_and_balanced(tmp_path, given):
    labels = np.array([0] * 30 + [1] * 10, np.int32)
    x = np.random.default_rng(0).normal(size=(40, 2)).astype("float32")
    lines = [f"{a},{b},{'ab'[label]}" for (a, b), label in zip(x, labels, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["p,q,target", *lines]) + "\n")
    data = {"source": str(tmp_path / "t.csv"), "validation": "none"}
    prepared = prepare(_recipe(data=data, train={"class_weight": given, "batch_size": 8}))
    wanted = {0: 40 / 60, 1: 40 / 20} if given == "balanced" else {0: 3.0, 1: 1.0}
    assert prepared.spec.class_weight == pytest.approx(wanted)


@pytest.mark.parametrize(
    "section",
    [
        {"name": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.5},
        {"name": "adamw", "weight_decay": 0.1, "options": {"beta_1": 0.8}},
        {"name": "rmsprop", "momentum": 0.5, "clipnorm": 1.0},
        {"name": "nadam", "gradient_accumulation_steps": 2},
    ],
)
def test_every_key_of_the_optimiser_arrives(section):
    optimizer = make_optimizer(_recipe(optimizer=section))
    config = optimizer.get_config()
    assert type(optimizer).__name__.lower() == section["name"]
    for key, value in {**section, **section.get("options", {})}.items():
        if key not in ("name", "options"):
            assert config[key] == pytest.approx(value), key


def test_a_target_that_never_varies_has_a_plain_loss():
    data = Dataset(np.zeros((4, 2), np.float32), np.full(4, 7.0, np.float32), "regression")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert objective_for(model, data).loss_weight is None


@pytest.mark.parametrize(("outliers", "loss"), [(0, "mean_squared_error"), (3, "huber_loss")])
def test_a_few_rows_of_a_long_tailed_target_do_not_decide_its_scale(outliers, loss, tmp_path):
    y = np.random.default_rng(0).normal(100.0, 10.0, size=200)
    y[:outliers] = 1e5
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i % 7},{one}\n" for i, one in enumerate(y)))
    data = {"source": str(tmp_path / "t.csv"), "target": "b", "validation": "none"}
    prepared = prepare(_recipe(data=data, train={"batch_size": 8}))
    units = prepared.model.get_layer("target_units")
    assert prepared.objective.loss.name == loss
    assert np.ravel(units.offset) == pytest.approx([100.0], abs=2)
    assert np.ravel(units.scale) == pytest.approx([10.0], abs=2)


def test_a_split_seed_keeps_the_split_while_the_seed_changes():
    def parts(seed, **data):
        return prepare(_recipe(seed=seed, data={"source": "digits", **data})).parts

    first, second, other = parts(0, split_seed=5), parts(1, split_seed=5), parts(1)
    assert np.array_equal(first.validation.x, second.validation.x)
    assert np.array_equal(first.train.x, second.train.x)
    assert not np.array_equal(second.validation.x, other.validation.x)
    assert np.array_equal(parts(5).validation.x, first.validation.x)  # without one it is the recipe's seed


def test_several_targets_are_learned_each_in_its_scale(tmp_path):
    """A long-tailed target in the tens of thousands, beside one near 1 and one far from 0."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 700))
    columns = {"big": np.exp(9 + a + b / 2), "small": np.exp(1.2 * b - 0.7 * a), "plain": 3 * a - b + 50}
    path = tmp_path / "table.csv"
    polars.DataFrame({"a": a, "b": b, **columns}).write_csv(path)
    data = {"source": str(path), "target": "big,small,plain", "validation": 0.2}
    sections = {"model": {"builder": "mlp", "hidden": [64, 64]}, "train": {"batch_size": 32, "epochs": 40}}
    result = train(_recipe(data=data, **sections), parent=tmp_path, verbose=0)
    assert result.result.evaluations["validation"].metrics["r2"] > 0.85
