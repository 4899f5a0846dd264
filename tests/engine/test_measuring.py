"""Measurements against NumPy on networks small enough to write out, and that reading leaves no trace."""

from pathlib import Path

import keras
import numpy as np
import pytest

import kilter
from kilter._engine import measuring
from kilter._engine.measuring import VALUES, measured_steps, probe
from kilter._models.layers import activation_name, saturation
from kilter.errors import OptionError

layers = keras.layers


def data(rows: int = 96, features: int = 6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, features)).astype("float32")
    return x, (x[:, 0] > 0).astype("int32")


def compiled(*stack: keras.layers.Layer, loss: str = "sparse_categorical_crossentropy") -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), *stack])
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def arrays(model: keras.Model) -> list[np.ndarray]:
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [np.asarray(variable).copy() for variable in variables]


def reading(model: keras.Model, name: str, **options) -> dict[str, float]:
    found = probe(model, *data(), **options)
    index = found.layers.index(name)
    return {value: float(found.values[value][0, index]) for value in VALUES}


@pytest.fixture(scope="module")
def relu_model() -> keras.Model:
    return compiled(layers.Dense(5, activation="relu", name="one"), layers.Dense(2, name="two"), loss="mse")


def test_outputs_and_gradients_are_those_of_numpy(relu_model):
    x, _ = data()
    y = np.ones((len(x), 2), "float32")
    found = probe(relu_model, x, y)
    (w1, b1), (w2, b2) = (layer.get_weights() for layer in relu_model.layers)
    z = x @ w1 + b1
    h = np.maximum(z, 0)
    error = 2 * (h @ w2 + b2 - y) / y.size
    by_h = error @ w2.T
    by_w1 = x.T @ (by_h * (z > 0))
    by_b1 = (by_h * (z > 0)).sum(axis=0)
    got = {name: found.values[name][0, 0] for name in VALUES}
    assert found.layers == ("one", "two")
    assert found.kinds == ("Dense", "Dense")
    np.testing.assert_allclose(found.loss, [np.mean((h @ w2 + b2 - y) ** 2)], rtol=1e-5)
    expected = {
        "mean": h.mean(),
        "std": h.std(),
        "zeros": (h == 0).mean(),
        "dead": (h == 0).all(axis=0).mean(),
        "gradient_norm": np.linalg.norm(by_h),
        "gradient_std": by_h.std(),
        "weight_norm": np.sqrt((w1**2).sum() + (b1**2).sum()),
        "weight_gradient_norm": np.sqrt((by_w1**2).sum() + (by_b1**2).sum()),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, err_msg=name)
    assert np.isnan([got["saturated"], got["update_ratio"]]).all()


def test_dead_units_are_counted():
    model = compiled(layers.Dense(4, activation="relu", name="one"), layers.Dense(2))
    kernel, _ = model.layers[0].get_weights()
    model.layers[0].set_weights([kernel, np.array([-100, 0, -100, 0], "float32")])
    assert reading(model, "one")["dead"] == 0.5


def test_saturated_outputs_are_counted():
    model = compiled(layers.Dense(4, activation="tanh", name="one"), layers.Dense(2))
    kernel, _ = model.layers[0].get_weights()
    model.layers[0].set_weights([kernel, np.array([9, -9, 0, 0], "float32")])
    outputs = np.tanh(data()[0] @ kernel + np.array([9, -9, 0, 0]))
    assert reading(model, "one")["saturated"] == pytest.approx((np.abs(outputs) > 0.99).mean(), abs=0.01)


def test_layers_that_are_measured_together_are_told_apart(monkeypatch):
    """Layers of one shape, each other than the rest, one of them not finite; read together and one by one."""
    names = ("four", "wide", "five", "three", "six")
    stack = [layers.Dense(9 if name == "wide" else 4, "tanh", name=name) for name in names]
    model = compiled(*stack, layers.Dense(2, name="out"))
    for number, layer in enumerate(stack, start=1):
        kernel, bias = layer.get_weights()
        layer.set_weights([number * kernel, bias + number / 10])
    x, y = data()
    together = probe(model, x, y)
    monkeypatch.setattr(measuring, "_LARGE", 0)
    alone = probe(model, x, y)
    assert together.layers == (*names, "out")
    for value in VALUES:
        np.testing.assert_allclose(together.values[value], alone.values[value], rtol=1e-5, atol=1e-8)
    outputs = x
    for place, layer in enumerate(stack):
        outputs = np.tanh(outputs @ layer.get_weights()[0] + layer.get_weights()[1])
        assert together.values["std"][0, place] == pytest.approx(outputs.std(), rel=1e-4)
        norm = np.sqrt(sum(np.sum(weight**2) for weight in layer.get_weights()))
        assert together.values["weight_norm"][0, place] == pytest.approx(norm, rel=1e-5)
    assert len(set(together.values["weight_norm"][0])) == len(stack) + 1


def test_a_layer_that_is_not_finite_leaves_the_others_numbers():
    one, other = (layers.Dense(6, name=name) for name in ("one", "other"))
    model = compiled(one, other, layers.Dense(2, name="out"))
    other.set_weights([np.full((6, 6), np.inf, "float32"), np.zeros(6, "float32")])
    found = probe(model, *data())
    assert np.isfinite(found.values["weight_norm"][0]).tolist() == [True, False, True]
    assert np.isfinite(found.values["std"][0]).tolist() == [True, False, False]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.shared = layers.Dense(6, activation="elu", name="shared")
        self.head = layers.Dense(2, name="head")

    def call(self, x):
        return self.head(self.shared(self.shared(x)))


def test_subclassed_models_and_shared_layers_are_read_at_each_call():
    model = Subclassed()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    found = probe(model, *data())
    assert found.layers == ("shared", "shared#2", "head")
    assert np.isfinite(found.values["weight_norm"][0]).tolist() == [True, False, True]


def test_layers_within_models_are_told_by_their_path():
    inner = keras.Sequential([layers.Dense(3, activation="tanh", name="deep")], name="inner")
    model = compiled(inner, layers.Dense(2, activation="softmax", name="out"))
    assert probe(model, *data()).layers == ("inner/deep", "out")


def test_a_softmax_that_is_sure_still_has_a_gradient():
    model = compiled(layers.Dense(2, activation="softmax", name="out"))
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([kernel, bias + np.array([0, 200], "float32")])
    # Through clipped probabilities it would be exactly 0: the loss comes from the logits.
    assert reading(model, "out")["weight_gradient_norm"] > 0.1


def dropping() -> keras.Model:
    return compiled(
        layers.Dense(8, activation="relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.3, seed=1),
        layers.Dense(2, activation="softmax"),
    )


@pytest.fixture(scope="module")
def trained() -> dict[object, list[np.ndarray]]:
    results: dict[object, list[np.ndarray]] = {}
    for measure in (None, 1):
        model = dropping()
        history = kilter.fit(model, *data(), epochs=3, measure=measure, verbose=0)
        results[measure] = arrays(model)
        results["history", measure] = [history.measurements]
    return results


def test_measuring_changes_no_bit_of_a_training(trained):
    assert all((one == other).all() for one, other in zip(trained[None], trained[1], strict=True))
    assert trained["history", None] == [None]
    (found,) = trained["history", 1]
    assert found.steps.tolist() == [3, 6, 9]


def test_probing_and_trying_steps_leave_the_model_as_it_was():
    model = dropping()
    kilter.fit(model, *data(), epochs=1, verbose=0)
    before = arrays(model)
    tried = measured_steps(model, *data(), steps=7, readings=3)
    probe(model, *data())
    assert all((one == other).all() for one, other in zip(before, arrays(model), strict=True))
    assert tried.steps.tolist() == [0, 3, 6]
    assert tried.loss[-1] < tried.loss[0]


def test_measured_steps_are_those_of_training():
    model, same = dropping(), dropping()
    tried = measured_steps(model, *data(), steps=4, readings=4)
    kilter.fit(same, *data(), epochs=1, verbose=0)
    # One epoch is three steps of 32; the reading before the fourth sees what fit ends with.
    assert tried.loss[3] == pytest.approx(float(probe(same, *data()).loss[0]), rel=1e-5)


def test_the_update_ratio_is_the_step_over_the_weights():
    model = compiled(layers.Dense(2, use_bias=False, name="only"))
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = model.get_weights()[0]
    found = measured_steps(model, *data(32), steps=1, readings=1, rows=32)
    gradient = found.values["weight_gradient_norm"][0, 0]
    expected = 0.1 * gradient / np.linalg.norm(before)
    assert found.values["update_ratio"][0, 0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("layer", "name", "flat", "steep"),
    [
        (layers.Activation("sigmoid"), "sigmoid", [0.001, 0.999], [0.02, 0.98]),
        (layers.Dense(1, activation="tanh"), "tanh", [-0.995, 0.995], [0.5]),
        (layers.ELU(), "elu", [-0.995], [-0.5, 3.0]),
        (layers.Dense(1, activation="selu"), "selu", [-1.757], [-1.0, 2.0]),
    ],
)
def test_flat_ends(layer, name, flat, steep):
    test = saturation(layer)
    assert activation_name(layer) == name
    assert test is not None
    assert np.asarray(test.of(np.array(flat, "float32"))).all()
    assert not np.asarray(test.of(np.array(steep, "float32"))).any()


@pytest.mark.parametrize("layer", [layers.ReLU(), layers.Dense(1), layers.Dense(1, activation="softmax")])
def test_no_flat_end(layer):
    assert saturation(layer) is None


def test_the_work_of_a_training_decides_whether_it_is_measured(monkeypatch):
    model, module = dropping(), "kilter._engine.measuring_callback"
    kilter.fit(model, *data(), epochs=1, verbose=0)
    readings = []
    for least, share in ((2e11, 1e9), (0.0, 1e9), (0.0, 0.0)):
        monkeypatch.setattr(f"{module}.LEAST_WORK", least)
        monkeypatch.setattr(f"{module}.SHARE", share)
        found = kilter.fit(model, *data(), epochs=3, verbose=0).measurements
        readings.append(0 if found is None else len(found.steps))
    assert readings == [0, 3, 1]  # too short; after each epoch; once, since another would cost too much


def test_measure_is_checked(relu_model):
    x, _ = data()
    for wrong in ("often", 0, True, 1.5):
        with pytest.raises(OptionError, match="measure"):
            kilter.fit(relu_model, x, np.ones((len(x), 2)), measure=wrong, verbose=0)


def test_the_first_example_of_the_page_runs(capsys):
    page = (Path(__file__).parents[2] / "docs/measurements.md").read_text(encoding="utf-8")
    x, y = data()
    exec(page.split("```python\n")[1].split("```")[0], {"model": compiled(layers.Dense(2)), "x": x, "y": y})
    assert "dense" in capsys.readouterr().out
