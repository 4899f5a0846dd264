"""The diff of a script applies, and the changed script runs and trains better, however it is written."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kilter._cli.script_calls import Sites, first_training
from kilter._cli.script_changes import rewritten
from kilter._cli.script_edits import Script
from kilter._engine.training_spec import TrainingSpec
from kilter._records import Finding
from kilter._treatment.remedies import REMEDIES
from kilter._treatment.request import readable
from kilter._treatment.subject import Subject

DATA = """import keras
import numpy as np

random = np.random.default_rng(0)
x = random.normal(5000, 300, (240, 4)).astype("float32")
y = (x[:, 0] > x[:, 1]).astype("int64")
"""
SHAPES = {
    "a Sequential": """
model = keras.Sequential([
    keras.Input((4,)),
    keras.layers.Dense(16, activation="relu"),
    keras.layers.Dense(2, activation="softmax"),
])
model.compile(keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=12, batch_size=16, verbose=0)
""",
    "a generator of batches": """
def batches():
    while True:
        for at in range(0, 240, 16):
            yield x[at : at + 16], y[at : at + 16]


model = keras.Sequential([
    keras.Input((4,)),
    keras.layers.Dense(16, activation="relu"),
    keras.layers.Dense(2, activation="softmax"),
])
model.compile(keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(batches(), steps_per_epoch=15, epochs=12, verbose=0)
""",
    "calls of add, and a batch of Keras's own size": """
net = keras.Sequential()
net.add(keras.layers.Dense(16, activation="relu"))
net.add(keras.layers.Dense(2, activation="softmax"))
net.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.SGD(0.3))
net.fit(x=x, y=y, epochs=20, verbose=0)
""",
    "the functional API": """
from keras import layers
inputs = keras.Input(shape=(4,))
hidden = layers.Dense(16, activation="relu")(inputs)
outputs = layers.Dense(2, activation="softmax")(hidden)
model = keras.Model(inputs, outputs)
model.compile(optimizer=keras.optimizers.SGD(0.3), loss="sparse_categorical_crossentropy")
history = model.fit(x, y, epochs=12, batch_size=16, verbose=0)
""",
    "functions and main()": """
def build():
    return keras.Sequential([
        keras.layers.Dense(16, activation="relu"),
        keras.layers.Dense(2, activation="softmax"),
    ])


def main():
    model = build()
    model.compile(optimizer=keras.optimizers.SGD(0.3), loss="sparse_categorical_crossentropy")
    model.fit(x, y, epochs=12, batch_size=16, verbose=0)


if __name__ == "__main__":
    main()
""",
    "arguments": """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=12)
given = parser.parse_args()
hidden = keras.layers.Dense(16, activation="relu")
outputs = keras.layers.Dense(2, activation="softmax")
model = keras.Sequential([hidden, outputs])
model.compile(keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy")
if given.epochs:
    model.fit(x, y, epochs=given.epochs, batch_size=16, verbose=0)
""",
    "fit and compile called twice": """
model = keras.Sequential([
    keras.layers.Dense(16, activation="relu"), keras.layers.Dense(2, activation="softmax")
])
model.compile(keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy")
model.fit(x, y, epochs=12, batch_size=16, verbose=0)
model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
model.fit(x, y, epochs=1, verbose=0)
""",
    "a class": """
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(16, activation="relu")
        self.out = keras.layers.Dense(2, activation="softmax")

    def call(self, x):
        return self.out(self.hidden(x))


model = Net()
model.compile(keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy")
model.fit(x, y, epochs=12, batch_size=16, verbose=0)
""",
    "two inputs in a list": """
first, second = keras.Input((2,)), keras.Input((2,))
left = keras.layers.Dense(16, activation="relu")(first)
right = keras.layers.Dense(16, activation="relu")(second)
outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.concatenate([left, right]))
model = keras.Model([first, second], outputs)
model.compile(keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy")
a, b = x[:, :2], x[:, 2:]
y = (x[:, 0] > x[:, 2]).astype("int64")
model.fit([a, b], y, validation_split=0.1, epochs=12, batch_size=16, verbose=0)
""",
    "inputs by name, in a class of layers": """
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(16, activation="relu")
        self.second = keras.layers.Dense(16, activation="relu")
        self.out = keras.layers.Dense(2, activation="softmax")

    def call(self, inputs):
        left, right = self.first(inputs["b"]), self.second(inputs["a"])
        return self.out(keras.ops.concatenate([left, right], axis=-1))


data = {"b": x[:, :2], "a": x[:, 2:]}
y = (x[:, 0] > x[:, 2]).astype("int64")
model = Net()
model.compile(keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy")
model.fit(data, y, epochs=12, batch_size=16, verbose=0)
""",
}
NUMBERS = """import keras
import numpy as np

random = np.random.default_rng(0)
x = random.uniform(30, 250, (240, 4))
y = 2500 * x[:, 0] + 9000 * x[:, 1] + 400_000
"""
REGRESSIONS = {
    "a Sequential": """
model = keras.Sequential([
    keras.Input((4,)),
    keras.layers.Dense(16, activation="relu"),
    keras.layers.Dense(1),
])
""",
    "without an input, in a function": """
def build():
    return keras.Sequential([
        keras.layers.Dense(16, activation="relu"),
        keras.layers.Dense(1),
    ])


model = build()
""",
    "the functional API": """
inputs = keras.Input((4,))
hidden = keras.layers.Dense(16, activation="relu")(inputs)
model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
""",
    "layers that a loop calls": """
inputs = keras.Input((4,))
hidden = inputs
for width in (16, 16, 8):
    hidden = keras.layers.Dense(width, activation="relu")(hidden)
model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
""",
    "layers that a loop adds": """
model = keras.Sequential()
for width in (16, 16):
    model.add(keras.layers.Dense(width, activation="relu"))
model.add(keras.layers.Dense(1))
""",
    "a recurrent network, by calls of add": """
x = x[:, :, None]
model = keras.Sequential()
model.add(keras.layers.LSTM(16, input_shape=(4, 1)))
model.add(keras.layers.Dense(1))
""",
    "with a layer of the same name": """
model = keras.Sequential([
    keras.layers.Dense(16, activation="relu", name="standardize"),
    keras.layers.Dense(1),
])
""",
}
CODES = ("standardize-inputs", "reinitialize-paired", "one-cycle")
FINDING = Finding("unscaled-inputs", "severe", ("data",), (), "", (), "")


def changed(path: Path, codes: Sequence[str] = CODES) -> tuple[str, list[str]]:
    """The diff of a script for remedies, and the remedies that are not in it."""
    sites = Sites(path)
    training = first_training(path, sites)
    training.model(keras.tree.map_structure(lambda one: one[:1], training.x))
    spec = TrainingSpec(epochs=training.options["epochs"], batch_size=training.options.get("batch_size", 32))
    subject = readable(Subject(training.model, training.x, training.y, spec))
    for code in codes:
        subject = REMEDIES[code].apply(subject, FINDING) or subject
    script = Script(path.read_text())
    left = rewritten(script, training, SimpleNamespace(changes=subject.changes, model=subject.model), sites)
    return script.diff(path.name), left


def losses(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The losses of the script's first training."""
    found, fit = [], keras.Model.fit

    def seen(self, *arguments, **options):
        history = fit(self, *arguments, **options)
        found.append(history.history["loss"])
        return history

    monkeypatch.setattr(keras.Model, "fit", seen)
    monkeypatch.setattr(sys, "argv", [str(path)])
    keras.utils.set_random_seed(0)
    exec(compile(path.read_text(), str(path), "exec"), {"__name__": "__main__"})
    monkeypatch.undo()
    return found[0]


@pytest.mark.parametrize("name", SHAPES)
def test_a_diff_applies_and_the_changed_script_learns(name, tmp_path, monkeypatch):
    path = tmp_path / "train.py"
    path.write_text(DATA + SHAPES[name])
    before = losses(path, monkeypatch)
    diff, left = changed(path)
    assert not left
    subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=tmp_path, check=True)
    after = losses(path, monkeypatch)
    assert after[-1] < 0.4 < np.nan_to_num(before[-1], nan=np.inf)


def test_inputs_are_scaled_by_the_rows_that_are_trained_on(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(DATA + SHAPES["a Sequential"].replace("epochs=12", "epochs=12, validation_split=0.25"))
    assert '+model.get_layer("standardize").adapt(x[:int(len(x) * (1 - 0.25))])' in changed(path)[0]


@pytest.mark.parametrize("name", REGRESSIONS)
def test_inputs_and_targets_of_any_scale_are_scaled_in_one_diff(name, tmp_path, monkeypatch):
    path = tmp_path / "train.py"
    ending = 'model.compile("adam", "mse", metrics=["mae"])\nmodel.fit(x, y, epochs=30, verbose=0)\n'
    path.write_text(NUMBERS + REGRESSIONS[name] + ending)
    assert losses(path, monkeypatch)[-1] > 1e9
    diff, left = changed(path, ("standardize-inputs", "rescale-outputs"))
    assert not left
    subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=tmp_path, check=True)
    assert losses(path, monkeypatch)[-1] < 1


def test_the_call_of_a_recurrent_layer_says_the_change_of_its_cell(tmp_path):
    path = tmp_path / "train.py"
    layers = '[keras.layers.LSTM(8, activation="relu"), keras.layers.Dense(1)]'
    model = f"\nx = x[:, :, None]\nmodel = keras.Sequential({layers})\n"
    path.write_text(DATA + model + 'model.compile("adam", "mse")\nmodel.fit(x, y, epochs=1)\n')
    diff, left = changed(path, ["recurrent-tanh"])
    assert not left
    assert f"+model = keras.Sequential({layers.replace('relu', 'tanh')})" in diff
