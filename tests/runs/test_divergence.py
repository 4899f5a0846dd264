"""A training that breaks goes back, is recorded, and the broken step is found again."""

import jax.numpy as jnp
import keras
import numpy as np
import pytest

import kilter
from kilter._engine import divergence, loop
from kilter.errors import ModelError, RunError
from kilter.recipe import parse_recipe
from kilter.runs import Interrupted, checkpoints, open_run, replay, replay_with, replaying, train
from kilter.runs.flights import flights

from .test_within_an_epoch import Press

X = np.random.default_rng(0).normal(size=(200, 3)).astype("float32")
Y = X[:, :1] * 2


@keras.saving.register_keras_serializable("kilter-tests")
class Log(keras.layers.Layer):
    """Undefined below zero."""

    def call(self, inputs):
        return keras.ops.log(inputs)


def _model(rate=5.0, *more, optimizer=keras.optimizers.SGD, **options):
    keras.utils.set_random_seed(1)
    hidden = keras.layers.Dense(8, "relu", name="first")
    model = keras.Sequential(
        [keras.Input((3,)), hidden, keras.layers.Dense(1, name="second"), *more], name="net"
    )
    model.compile(optimizer(rate), "mse", **options)
    return model


def _fit(model, run, **more):
    given = {"epochs": 8, "batch_size": 16, "run": run, "verbose": 0, "seed": 0} | more
    return kilter.fit(model, given.pop("x", X), given.pop("y", Y), **given)


COSINE = kilter.schedules.cosine(5.0, length=8, steps_per_epoch=13)


@pytest.fixture(params=["kept", "copied"])
def _size(request, monkeypatch):
    """Small states are kept as they are, large ones are copied."""
    if request.param == "copied":
        monkeypatch.setattr(divergence, "SMALL_STATE", 0)


@pytest.mark.usefixtures("_size")
@pytest.mark.parametrize("schedule", [None, COSINE])
def test_it_goes_back_and_ends_with_a_model_that_has_learnt(schedule, tmp_path):
    history = _fit(_model(), tmp_path, schedule=schedule)
    assert np.isfinite(history.history["loss"]).all()
    assert history.history["loss"][-1] < 1
    (run,) = tmp_path.iterdir()
    assert flights(run) == [one.iteration for one in history.events]
    assert "non-finite" in [one.code for one in history.findings]
    assert "0.1 times the learning rate" in open_run(run).journal[0]
    assert np.isnan(_fit(_model(), None, schedule=schedule).history["loss"]).any(), "without the guard"


def test_one_row_with_most_of_the_loss_is_no_jump_when_it_falls_into_the_short_last_batch():
    targets = Y.copy()
    targets[7] = 1000.0
    history = _fit(_model(1e-6), None, y=targets, epochs=60, guard=True)
    assert not history.events


@pytest.mark.parametrize("schedule", [None, COSINE])
def test_the_step_is_repeated_bit_for_bit_and_the_operation_named(schedule, tmp_path):
    _fit(_model(), tmp_path, schedule=schedule)
    (run,) = tmp_path.iterdir()
    for step in flights(run):
        found = replay_with(run, _model(), step, schedule=schedule)
        assert found.same_bits
        assert found.birth is not None
        assert (found.birth.operation, found.layer) == ("dot_general", "second")
        assert len(found.event.rows) == 16


@pytest.mark.parametrize("chunk", [1, 5])
def test_where_chunks_are_cut_changes_nothing(chunk, monkeypatch, tmp_path):
    wanted = _fit(_model(), tmp_path / "wanted").history
    monkeypatch.setattr(loop, "_FIRST_CHUNK", chunk)
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 1e-9)
    assert _fit(_model(), tmp_path / "cut").history == wanted


@pytest.mark.parametrize("source", ["batches", "memmap"])
def test_streams_too(source, tmp_path):
    data = {"x": [(X[i : i + 16], Y[i : i + 16]) for i in range(0, 192, 16)], "y": None}
    if source == "memmap":
        x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype="float32", shape=X.shape)
        x[:] = X
        data = {"x": x}
    assert np.isfinite(_fit(_model(), tmp_path / "runs", **data).history["loss"]).all()
    (run,) = (tmp_path / "runs").iterdir()
    found = replay_with(run, _model())
    assert found.same_bits
    assert found.event.rows is None


def test_a_layer_that_makes_nan_is_named_and_the_run_ends_clearly(tmp_path):
    with pytest.raises(ModelError, match=r"step 1 of epoch 1, 4 times.*kilter replay RUN --step 0"):
        _fit(_model(0.01, Log(name="bad_log")), tmp_path)
    (run,) = tmp_path.iterdir()
    assert f"kilter.runs.replay_with({str(run)!r}, model, 0)" in open_run(run).journal[0]
    found = replay_with(run, _model(0.01, Log(name="bad_log")))
    assert (found.birth.operation, found.layer, found.birth.made) == ("log", "bad_log", "NaN")
    assert "bad_log, in the forward pass" in "\n".join(found.sentences)


def test_a_batch_that_is_not_finite_is_named(tmp_path):
    x = X.copy()
    x[17] = np.nan
    with pytest.raises(ModelError, match="diverge"), pytest.warns(UserWarning, match="NaN"):
        _fit(_model(0.01), tmp_path, x=x)
    (run,) = tmp_path.iterdir()
    found = replay_with(run, _model(0.01))
    assert found.in_data
    assert 17 in found.event.rows


def test_a_weight_that_is_not_finite_before_the_step_is_named(tmp_path):
    infinite = keras.initializers.Constant(np.inf)

    def made():
        return _model(0.01, keras.layers.Dense(2, kernel_initializer=infinite, name="infinite"))

    with pytest.raises(ModelError, match="diverge"):
        _fit(made(), tmp_path)
    (run,) = tmp_path.iterdir()
    found = replay_with(run, made())
    assert (found.birth, found.in_data) == (None, False)
    assert any("infinite/kernel was not finite before the step" in one for one in found.sentences)


FINITE_BUT_FOR_THEIR_DERIVATIVE = {
    "root": lambda x: keras.ops.sqrt(x * 0.0),
    "power": lambda x: keras.ops.power(x * 0.0, 0.5),
    "norm": lambda x: keras.ops.norm(x * 0.0, axis=-1, keepdims=True),
    "arc": lambda x: keras.ops.arccos(1.0 + x * 0.0),
}


@pytest.mark.parametrize("kind", FINITE_BUT_FOR_THEIR_DERIVATIVE)
def test_a_gradient_that_is_not_finite_is_found(kind, tmp_path):
    """JAX computes part of these derivatives beside the forward pass."""

    def made():
        return _model(0.01, keras.layers.Lambda(FINITE_BUT_FOR_THEIR_DERIVATIVE[kind], name=kind))

    with pytest.raises(ModelError, match="diverge"):
        _fit(made(), tmp_path)
    (run,) = tmp_path.iterdir()
    found = replay_with(run, made())
    assert (found.layer, found.birth.direction) == (kind, "backward")
    assert np.isfinite(found.event.rate_before)


def test_a_jump_of_the_loss_goes_back_too(monkeypatch, tmp_path):
    rows = np.concatenate([X] * 8)
    targets = np.concatenate([Y] * 8)
    targets[-200:] += 30
    monkeypatch.setattr(divergence, "SEGMENT_STEPS", 12)
    with pytest.raises(ModelError, match="a loss that jumps"):
        _fit(_model(1e-4), tmp_path, x=rows, y=targets, shuffle=False, batch_size=16, epochs=1)
    (run,) = tmp_path.iterdir()
    assert "the loss jumped" in open_run(run).journal[0]
    assert replay_with(run, _model(1e-4)).same_bits


@pytest.mark.usefixtures("_size")
@pytest.mark.parametrize("guard", [True, False])
def test_a_healthy_training_has_the_same_bits(guard, tmp_path):
    """Of whole batches: without the guard a partial one is padded, and rounded differently."""
    model, whole = _model(0.01), {"x": X[:192], "y": Y[:192]}
    _fit(model, None, guard=guard, **whole)
    wanted = _model(0.01)
    _fit(wanted, None, guard=False, **whole)
    for one, other in zip(model.get_weights(), wanted.get_weights(), strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_rate_that_cannot_be_lowered_ends_at_once(tmp_path):
    fixed = keras.optimizers.schedules.ExponentialDecay(5.0, 10**6, 0.9)
    with pytest.raises(ModelError, match="cannot be lowered"):
        _fit(_model(fixed), tmp_path)


def test_the_lowered_rate_comes_back_with_a_checkpoint(tmp_path):
    wanted = _fit(_model(), tmp_path / "whole", schedule=COSINE)
    with pytest.raises(Interrupted):
        _fit(_model(), tmp_path / "stopped", schedule=COSINE, callbacks=[Press(3)])
    (run,) = (tmp_path / "stopped").iterdir()
    assert checkpoints.latest(run).scalars["divergence"]["attempts"] == 1
    assert _fit(_model(), tmp_path / "stopped", schedule=COSINE, resume=True).history == wanted.history


def test_a_recipe_is_replayed_from_its_run(tmp_path):
    given = {
        "data": {"source": "digits", "validation": 0.2},
        "model": {"builder": "mlp", "hidden": [16]},
        "optimizer": {"name": "sgd", "learning_rate": 1000.0},
        "regularize": {"l2": 1.0},
        "train": {"epochs": 3, "batch_size": 128},
    }
    with pytest.raises(ModelError, match="diverge"):
        train(parse_recipe(given), parent=tmp_path, verbose=0)
    (run,) = tmp_path.iterdir()
    found = replay(run)
    assert found.same_bits
    assert found.birth is not None
    with pytest.raises(RunError, match="recorded steps are"):
        replay(run, 10**6)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
def test_weights_are_finite_or_not_in_every_type(number, dtype):
    usual = jnp.ones((3, 4), "float32")
    odd = jnp.zeros((2, 2), dtype) if dtype == "int32" else jnp.array([[0, number]], dtype)
    wanted = dtype == "int32" or number == 3e38
    assert divergence._is_finite([usual, odd, jnp.ones((0,))]) == wanted
    assert divergence._is_finite([])


def test_a_batch_too_large_for_the_type_of_the_model_is_named():
    event = divergence.Event("not finite", 0, 0, 0, (0,), 1.0, 0.1)
    birth = replaying.Birth("convert_element_type", (), "forward", ((-3e5, 3e5),), "infinity")
    said = replaying.Replay(event, same_bits=True, birth=birth, layer="", in_data=False).sentences
    assert any("too large for the type" in one for one in said)
