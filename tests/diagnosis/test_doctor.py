"""The callback finds what kilter.diagnose finds, and leaves the training as it is."""

import keras
import numpy as np

import kilter


def trained(callbacks, initializer):
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(96, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    layers = keras.layers
    hidden = [layers.Dense(8, activation="relu", kernel_initializer=initializer) for _ in range(2)]
    model = keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=2, verbose=0, callbacks=callbacks(x, y))
    return model


def test_the_doctor_names_the_fault_and_says_it_once(capsys):
    seen = []

    def callbacks(x, y):
        seen.append(kilter.Doctor(x, y))
        return seen

    trained(callbacks, "zeros")
    assert "constant-initializer" in seen[0].diagnosis.codes("severe")
    assert capsys.readouterr().out.count("constant-initializer") == 1


def test_the_doctor_changes_no_bit_of_the_training():
    with_doctor = trained(lambda x, y: [kilter.Doctor(x, y, steps=8)], "he_normal")
    without = trained(lambda x, y: [], "he_normal")
    for one, other in zip(with_doctor.weights, without.weights, strict=True):
        np.testing.assert_array_equal(one, other)
