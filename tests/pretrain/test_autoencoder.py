"""kilter.pretrain.autoencoder: every kind learns, leaves what it is given alone, and repeats itself."""

import keras
import numpy as np
import pytest

from kilter.pretrain import autoencoder

from .models import conv_encoder, dense_encoder, kinds_of_images, same, table, table_encoder, weights

QUICK = {"batch_size": 32, "learning_rate": 1e-2, "verbose": 0}
IMAGES, KINDS = kinds_of_images()

CASES = {
    "plain": (dense_encoder, {}),
    "tied": (dense_encoder, {"kind": "tied"}),
    "denoising": (dense_encoder, {"kind": "denoising"}),
    "masking noise": (dense_encoder, {"kind": ("denoising",), "corruption": "masking", "noise": 0.2}),
    "sparse, KL": (lambda: dense_encoder("sigmoid"), {"kind": "sparse", "activity": 0.2}),
    "sparse, L1": (dense_encoder, {"kind": "sparse", "penalty": "l1"}),
    "convolutional": (conv_encoder, {"kind": "convolutional"}),
    "all at once": (conv_encoder, {"kind": ("tied", "denoising", "convolutional")}),
    "greedy": (dense_encoder, {"greedy": True}),
    "greedy, stage by stage only": (dense_encoder, {"greedy": True, "finish": False}),
    "greedy, tied, denoising": (conv_encoder, {"greedy": True, "kind": ("tied", "denoising")}),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("case", CASES)
def test_every_kind(case):
    make, options = CASES[case]
    encoder = make()
    encoder.compile("sgd", "mse")
    before, optimizer, flags = weights(encoder), encoder.optimizer, [one.trainable for one in encoder.layers]
    done = autoencoder(encoder, IMAGES, epochs=15, validation_data=IMAGES[:40], **QUICK, **options)
    # What was given is as it was.
    assert same(before, weights(encoder))
    assert encoder.optimizer is optimizer
    assert [one.trainable for one in encoder.layers] == flags
    # The copy is another one, with the same flags and layers, and has learnt.
    assert not same(before, weights(done.encoder))
    assert [one.name for one in done.encoder.layers] == [one.name for one in encoder.layers]
    assert [one.trainable for one in done.encoder.layers] == flags
    assert not done.encoder.compiled
    assert done.learnt
    assert done.notes == ()
    assert 0.05 < done.figures["explained"] < 1
    assert done.figures["rows"] == 40
    assert len(done.history.epoch) == len(done.history.history["val_error"]) == len(done.history.seconds)
    assert done.history.epoch == list(range(len(done.history.epoch)))
    # The error is that of the rows that encoder and decoder give back, in the units of the targets.
    back = done.decoder.predict(done.encoder.predict(IMAGES[:40], verbose=0), verbose=0)
    assert back.shape == IMAGES[:40].shape
    error = np.square((back - IMAGES[:40]) / 255).mean()
    assert error == pytest.approx(done.figures["error"], rel=1e-4)
    mean = IMAGES.astype("float64").mean(axis=0)
    baseline = np.square((IMAGES[:40] - mean) / 255).mean()
    assert done.figures["baseline"] == pytest.approx(baseline, rel=1e-4)
    assert done.figures["explained"] == pytest.approx(1 - error / baseline, rel=1e-3)


@pytest.mark.long
def test_the_same_seed_gives_the_same_bits_and_another_one_others():
    def run(seed):
        options = {"kind": "denoising", "epochs": 2, **QUICK}
        return autoencoder(dense_encoder(), IMAGES, seed=seed, **options)

    first, again, other = run(1), run(1), run(2)
    assert same(weights(first.encoder), weights(again.encoder))
    assert same(weights(first.decoder), weights(again.decoder))
    assert first.history.history == again.history.history
    assert not same(weights(first.encoder), weights(other.encoder))


@pytest.mark.long
def test_a_table_is_given_back_in_its_own_units():
    rows = table()
    done = autoencoder(table_encoder(), rows, epochs=120, **QUICK)
    back = done.decoder.predict(done.encoder.predict(rows, verbose=0), verbose=0)
    assert done.figures["explained"] > 0.8
    assert done.figures["baseline"] == pytest.approx(5 / 6, rel=1e-3)  # five columns of variance 1, one of 0
    for column, spread in enumerate(rows.std(axis=0)):
        assert np.abs(back[:, column] - rows[:, column]).mean() < 0.6 * spread + 0.1


def test_one_linear_unit_finds_the_first_principal_component():
    # Bourlard and Kamp 1988: a linear autoencoder spans what the principal components span.
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(300, 1)) @ [[2.0, 1.0, -1.0]] + rng.normal(0, 0.2, (300, 3))).astype("float32")
    unit = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(seed=1)),
        ]
    )
    done = autoencoder(unit, rows, epochs=60, **QUICK)
    standardised = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    eigenvalues = np.linalg.eigvalsh(np.cov(standardised.T, bias=True))
    assert done.figures["explained"] == pytest.approx(eigenvalues[-1] / eigenvalues.sum(), abs=0.01)


@pytest.mark.long
def test_a_penalty_makes_codes_less_active():
    free = autoencoder(dense_encoder("sigmoid"), IMAGES, epochs=10, **QUICK)
    held = autoencoder(
        dense_encoder("sigmoid"), IMAGES, kind="sparse", penalty_weight=1.0, epochs=30, **QUICK
    )
    codes = [done.encoder.predict(IMAGES, verbose=0) for done in (free, held)]
    assert codes[1].mean() == pytest.approx(held.figures["activity"], rel=1e-4)
    assert codes[1].mean() < 0.5 * codes[0].mean()


def test_frozen_layers_stay_as_they_are():
    encoder = dense_encoder()
    encoder.get_layer("lower").trainable = False
    done = autoencoder(encoder, IMAGES, greedy=True, epochs=2, **QUICK)
    kept = [encoder.get_layer("lower"), done.encoder.get_layer("lower")]
    assert same(*map(weights, kept))
    assert not kept[1].trainable
    assert not same(weights(encoder.get_layer("code")), weights(done.encoder.get_layer("code")))


def test_a_decoder_of_ones_own():
    own = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(64), keras.layers.Reshape((8, 8, 1))], name="own"
    )
    before = weights(own)
    done = autoencoder(dense_encoder(), IMAGES, decoder=own, epochs=10, **QUICK)
    assert same(before, weights(own))
    assert done.learnt
    assert done.decoder.predict(np.zeros((2, 6)), verbose=0).shape == (2, 8, 8, 1)


def test_it_is_said_when_nothing_was_learnt():
    done = autoencoder(dense_encoder(), IMAGES, epochs=1, **{**QUICK, "learning_rate": 1e-9})
    assert not done.learnt
    assert done.notes[0].startswith("Nothing was learnt: the error")
    assert done.to_json()["notes"] == list(done.notes)
    names = {trace.name for trace in done.plot().data}
    assert names == {"loss", "error"}
    assert done.plot().layout.shapes[0].y0 == done.figures["baseline"]


def test_an_encoder_may_be_made_on_the_spot():
    done = autoencoder(lambda: dense_encoder(), IMAGES, epochs=1, **QUICK)
    assert done.task == "autoencoder"
    assert done.encoder.name == "dense_encoder"


def test_saved_and_loaded_the_encoder_gives_the_same_codes(tmp_path):
    done = autoencoder(conv_encoder(), IMAGES, kind="tied", epochs=1, **QUICK)
    for model in (done.encoder, done.decoder):
        model.save(tmp_path / "saved.keras")
        loaded = keras.saving.load_model(tmp_path / "saved.keras")
        x = np.ones((3, *model.input_shape[1:]), "float32")
        assert np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
