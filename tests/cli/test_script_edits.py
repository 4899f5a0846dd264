"""Scripts: edits of calls and their diff, and ``kilter diagnose`` on one that a person wrote."""

import ast
import json
import sys

import keras
import numpy as np
import pytest

from kilter._cli.script_calls import Sites, Training, _arrays, first_training
from kilter._cli.script_changes import _said_compile
from kilter._cli.script_child import training_of
from kilter._cli.script_edits import Script, arguments_of
from kilter.errors import DataError, RunError

SOURCE = '''"""A network."""
from tensorflow import keras

net = keras.Sequential([
    keras.layers.Dense(8, "relu"),  # é
    keras.layers.Dropout(0.9),
])
net.add(keras.layers.Dense(1, activation="softmax"))
net.compile("sgd", loss="mse")
net.fit(x, y, epochs=3)
'''


def call(script: Script, part: str) -> ast.Call:
    found = [one for one in script._calls() if script._text(one).startswith(part)]
    return min(found, key=lambda one: len(script._text(one)))


def edited(part: str, change) -> list[str]:
    """The lines that an edit of one call gives in place of others."""
    script = Script(SOURCE)
    change(script, call(script, part))
    after = script.edited().splitlines()
    return [line.strip() for line in after if line not in SOURCE.splitlines()]


DENSE = ("units", "activation")
EDITS = {
    "a positional argument": (
        "keras.layers.Dense(8",
        lambda s, c: s.set_arguments(c, {"activation": '"elu"'}, DENSE),
        ['keras.layers.Dense(8, "elu"),  # é'],
    ),
    "a named argument": (
        "keras.layers.Dense(1",
        lambda s, c: s.set_arguments(c, {"activation": '"sigmoid"'}, DENSE),
        ['net.add(keras.layers.Dense(1, activation="sigmoid"))'],
    ),
    "a new argument": (
        "keras.layers.Dense(8", lambda s, c: s.set_arguments(c, {"use_bias": "False"}),
        ['keras.layers.Dense(8, "relu", use_bias=False),  # é'],
    ),
    "another class": (
        "keras.layers.Dropout", lambda s, c: s.rename(c, "AlphaDropout"), ["keras.layers.AlphaDropout(0.9),"],
    ),
    "a layer in a list": (
        "keras.layers.Dense(8", lambda s, c: s.insert_after(c, ["keras.layers.BatchNormalization()"]),
        ['keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization(),  # é'],
    ),
    "a layer out of a list": ("keras.layers.Dense(8", lambda s, c: s.remove(c), ["# é"]),
    "the last layer out of a list": ("keras.layers.Dropout", lambda s, c: s.remove(c), []),
    "a layer out of add": ("keras.layers.Dense(1", lambda s, c: s.remove(c), []),
    "a layer after add": (
        "keras.layers.Dense(1", lambda s, c: s.insert_after(c, ["keras.layers.Softmax()"]),
        ["net.add(keras.layers.Softmax())"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_changes_its_call_alone(name: str):
    part, change, lines = EDITS[name]
    assert edited(part, change) == lines


FUNCTIONAL = """x = layers.Conv2D(8, 3)(layers.RandomFlip()(inputs))
y = Dense(3)(x)
"""


def test_layers_that_are_called_are_wrapped_and_left_out():
    script = Script(FUNCTIONAL)
    flip, conv, dense = (call(script, part) for part in ("layers.RandomFlip", "layers.Conv2D", "Dense"))
    assert script.remove(flip)
    assert script.insert_after(conv, ["keras.layers.BatchNormalization()", "keras.layers.ReLU()"])
    twice = Script("if deep:\n    x = layers.ReLU()(x)\ny = x\nx = layers.ReLU()(x)\n")
    for one in [one for one in twice._calls() if one.args == []]:
        assert twice.remove(one)
    assert twice.edited() == "if deep:\n    pass\ny = x\n"
    script.rename(dense, "EinsumDense")
    assert script.insert_after(dense, ["keras.layers.Softmax()"])
    assert script.edited().splitlines() == [
        "import keras",
        "x = keras.layers.ReLU()(keras.layers.BatchNormalization()(layers.Conv2D(8, 3)(inputs)))",
        "y = keras.layers.Softmax()(EinsumDense(3)(x))",
    ]


def test_arguments_that_are_hidden_are_left():
    script = Script("net.fit(*data, **options)\n")
    assert not script.set_arguments(script.method("fit"), {"epochs": "2"})
    assert script.diff("train.py") == ""


def test_a_diff_names_the_script_and_a_missing_import_is_added():
    script = Script("from keras import layers\n\nlayer = layers.Dense(1)\nnet.compile('sgd')\n")
    script.set_arguments(script.method("compile"), {"optimizer": "keras.optimizers.Adam()"}, ("optimizer",))
    assert "+import keras\n" in script.diff("train.py")
    assert "b/train.py" in script.diff("train.py")


def test_arguments_of_a_snippet():
    assert arguments_of("kilter.fit(..., shuffle=True)") == {"shuffle": "True"}
    assert arguments_of("no code") == arguments_of("x = 1") == {}


SCRIPT = """
import keras, numpy as np
x = np.random.default_rng(0).normal(size=(120, 4)).astype("float32")
y = (x[:, 0] > 0).astype("int64")
def made(units):
    return keras.layers.Dense(units, activation="relu", kernel_initializer="zeros")
model = keras.Sequential([keras.Input((4,)), made(6), keras.layers.Dense(1, activation="softmax")])
model.compile("sgd", "binary_crossentropy")
print("trains now")
model.fit(x, y, validation_split=0.25, batch_size=16)
raise SystemExit("never reached")
"""


def test_a_script_is_diagnosed_up_to_its_first_training(kilter, tmp_path):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    found = kilter("diagnose", path, "--steps", 0, "--json", "--quiet")
    assert found.code == 1
    told = json.loads(found.out)
    assert told["schema"] == 1
    assert told["root"] in {one["code"] for one in told["findings"]}
    assert {"output-activation-loss", "constant-initializer"} <= {one["code"] for one in told["findings"]}
    assert 6 in told["lines"].values()
    assert told["fit"] == 10


def test_a_script_takes_no_options_of_recipes(kilter, tmp_path):
    path = tmp_path / "train.py"
    path.write_text("pass")
    found = kilter("diagnose", path, "--target", "price")
    assert found.code == 2
    assert "the script says what is trained" in found.err


OWN_LAYER = """
import keras, numpy as np
class Twice(keras.layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.inner = keras.layers.Dense(3)
    def call(self, x):
        return 2 * self.inner(x)
model = keras.Sequential([keras.Input((4,)), Twice(name="twice")])
model.compile("sgd", "mse")
model.fit(np.zeros((8, 4)), np.zeros((8, 3)))
"""


def test_a_layer_of_the_scripts_own_class_is_where_it_is_made(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(OWN_LAYER)
    sites = Sites(path)
    (layer,) = first_training(path, sites).model.layers
    assert [sites.of(one)[0] for one in (layer, layer.inner)] == [9, 6]


def test_loss_weights_are_said():
    source = "import keras\nmodel.compile('sgd', loss='mse')\n"
    script, models = Script(source), [keras.Sequential([keras.layers.Dense(1)]) for _ in range(2)]
    models[0].compile("sgd", "mse")
    models[1].compile("sgd", "mse", loss_weights=[256.789])
    training = Training(models[0], None, None, {}, 0)
    assert {"loss", "loss_weights"} <= _said_compile(script, training, models[1], "keras")
    assert "model.compile('sgd', loss='mse', loss_weights=[257.0])" in script.edited()


def test_an_epoch_of_batches_is_put_together():
    def endless():
        while True:
            yield np.ones((4, 2)), np.zeros(4)

    x, y, size = _arrays(endless(), None, 3)
    assert (x.shape, y.shape, size) == ((12, 2), (12,), 4)
    with pytest.raises(DataError, match="steps_per_epoch"):
        _arrays(endless(), None, None)


@pytest.mark.parametrize(
    ("text", "received", "remedy"),
    [
        ("def f():\n    raise ValueError('mine')\nf()\n", "ValueError: mine", "run it with Python first"),
        ("x = [\n", "SyntaxError", "run it with Python first"),
        ("from tensorflow import keras\n", "ModuleNotFoundError", "replace `from tensorflow import keras`"),
    ],
    ids=["raises", "syntax", "tensorflow"],
)
def test_the_error_of_a_script_is_its_own(text, received, remedy, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    script = tmp_path / "train.py"
    script.write_text(text)
    with pytest.raises(RunError) as caught:
        training_of(script, Sites(script))
    assert received in caught.value.received
    assert remedy in caught.value.remedy
    printed = capsys.readouterr().err
    assert str(script) in printed
    assert "kilter" not in printed.replace(str(tmp_path), "")
    assert "runpy" not in printed
