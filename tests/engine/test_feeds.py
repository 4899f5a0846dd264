"""Data from files, batches from iterables: the same numbers as arrays in memory."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from kilter._engine import feed as feed_module
from kilter._engine import padding, program_cache
from kilter._engine.arrays import collect, is_array, on_device
from kilter._engine.feed import Order, ResidentFeed, StreamFeed
from kilter._engine.fit import fit
from kilter._engine.host_rows import take
from kilter._engine.inference import evaluate, predict
from kilter.errors import DataError, OptionError

from .cases import BATCH, classifier, difference, rows, same_bits

QUIET = {"batch_size": BATCH, "verbose": 0}


def on_disk(folder: Path, array: np.ndarray, name: str = "x") -> np.memmap:
    mapped = np.memmap(folder / name, dtype=array.dtype, mode="w+", shape=array.shape)
    mapped[:] = array
    mapped.flush()
    return np.memmap(folder / name, dtype=array.dtype, mode="r", shape=array.shape)


def networks() -> tuple[keras.Model, keras.Model]:
    make = lambda: classifier("adam", hidden=lambda: [keras.layers.Dropout(0.3)])  # noqa: E731
    return make(), make()


# In the last two the partial batch is padded: it needs few rows to be whole.
@pytest.mark.parametrize(
    ("block_bytes", "missing"), [(1, None), (1500, None), (1 << 27, None), (1500, 1), (1 << 27, 2)]
)
def test_a_file_gives_the_bits_of_an_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, missing: int | None
):
    monkeypatch.setattr(feed_module, "BLOCK_BYTES", block_bytes)
    x, y = rows() if missing is None else rows(5 * BATCH - missing)
    weights = np.linspace(0.5, 1.5, len(x))
    resident, streamed = networks()
    how = {"epochs": 2, "sample_weight": weights, "seed": 4, **QUIET}
    got = fit(streamed, on_disk(tmp_path, x), y, **how).history
    assert got == fit(resident, x, y, **how).history
    assert same_bits(resident, streamed)


def test_files_for_several_inputs(tmp_path: Path):
    x, y = rows(48)

    def make() -> keras.Model:
        keras.utils.set_random_seed(2)
        inputs = {name: keras.Input((12,), name=name, dtype="float32") for name in ("a", "b")}
        joined = keras.layers.Concatenate()([inputs["a"], keras.layers.Rescaling(0.1)(inputs["b"])])
        model = keras.Model(inputs, keras.layers.Dense(3)(joined))
        model.compile("adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    pixels = (np.abs(x) * 50).astype("uint8")
    resident, streamed = make(), make()
    fit(resident, {"a": x, "b": pixels}, y, **QUIET)
    files = {"a": on_disk(tmp_path, x, "a"), "b": on_disk(tmp_path, pixels, "b")}
    fit(streamed, files, y, **QUIET)
    assert same_bits(resident, streamed)


def test_files_of_different_lengths_are_refused(tmp_path: Path):
    x, y = rows()
    files = {"a": on_disk(tmp_path, x, "a"), "b": on_disk(tmp_path, x[:-1], "b")}
    with pytest.raises(DataError, match="same number of rows"):
        StreamFeed.of(files, y, None, None, Order(BATCH, shuffle=False, seed=0))


def test_validation_from_a_file(tmp_path: Path):
    x, y = rows()
    held = rows(23, seed=1)
    resident, streamed = networks()
    expected = fit(resident, x, y, validation_data=held, **QUIET).history
    got = fit(streamed, x, y, validation_data=(on_disk(tmp_path, held[0]), held[1]), **QUIET).history
    assert got == expected


@pytest.mark.parametrize("block_bytes", [1, 1500, 1 << 27])
def test_a_file_is_evaluated_and_predicted_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
):
    monkeypatch.setattr(feed_module, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(ResidentFeed, "blocks", None)
    (x, y), model = rows(), classifier(output="softmax")
    mapped = on_disk(tmp_path, x)
    expected = model.evaluate(x, y, batch_size=50, verbose=0, return_dict=True)
    assert evaluate(model, mapped, y, batch_size=BATCH) == pytest.approx(expected, rel=1e-5)
    for size in (BATCH, 100):
        got = predict(model, mapped, batch_size=size)
        np.testing.assert_allclose(got, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block_bytes", [1, 1 << 27])
def test_a_not_a_number_in_a_file_is_found_and_its_row_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
):
    monkeypatch.setattr(feed_module, "BLOCK_BYTES", block_bytes)
    x, y = rows()
    x[37, 3] = np.nan
    with pytest.raises(DataError, match=r"1 NaN .* in 1 row; first rows \[37\]"):
        fit(classifier(), on_disk(tmp_path, x), y, check="strict", **QUIET)


def test_what_must_be_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    x, _ = rows()
    assert feed_module.must_stream({"a": x, "b": on_disk(tmp_path, x)})
    assert not feed_module.must_stream(x)

    class Small:
        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 2 * x.nbytes, "bytes_in_use": x.nbytes}

    monkeypatch.setattr(jax, "local_devices", lambda: [Small()])
    assert feed_module.must_stream(x)
    assert not feed_module.must_stream(x[:20])


def parts(with_weights: bool = False) -> list[tuple[Any, ...]]:
    x, y = rows()
    weights = np.linspace(0.0, 2.0, len(x), dtype="float32")
    columns = (x, y, weights) if with_weights else (x, y)
    return [tuple(part[start : start + BATCH] for part in columns) for start in range(0, len(x), BATCH)]


class Sequence(keras.utils.PyDataset):
    """Keras's own interface: batches by number, told when an epoch ends."""

    def __init__(self, batches: list[tuple[Any, ...]]) -> None:
        super().__init__()
        self.batches, self.epochs = batches, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.batches[index]

    def on_epoch_end(self) -> None:
        self.epochs += 1


class Loader:
    """A data loader of another library: it can be iterated, again and again, and nothing else."""

    def __init__(self, batches: list[tuple[Any, ...]]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)


def _grain_rows(batches: list[tuple[Any, ...]]) -> Any:
    columns = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    table = list(zip(*columns, strict=True))
    return grain.MapDataset.source(table).batch(BATCH)


SOURCES = {
    "list": list,
    "PyDataset": Sequence,
    "loader": Loader,
    "grain map": _grain_rows,
    "grain iterator": lambda batches: _grain_rows(batches).to_iter_dataset(),
}


@pytest.mark.parametrize("name", SOURCES)
def test_batches_give_what_their_rows_as_an_array_give(name: str):
    x, y = rows()
    resident, fed = networks()
    weights = np.linspace(0.0, 2.0, len(x), dtype="float32")
    how = {"epochs": 2, "shuffle": False, **QUIET}
    source = SOURCES[name](parts(with_weights=True))
    got = fit(fed, source, **how).history
    expected = fit(resident, x, y, sample_weight=weights, **how).history
    for key, values in expected.items():
        np.testing.assert_allclose(got[key], values, rtol=1e-5)
    assert difference(fed, resident) < 1e-5
    if isinstance(source, Sequence):
        assert source.epochs == 3  # as in Keras, with the one that the model is built from


def test_batches_can_be_the_validation():
    x, y = rows()
    resident, fed = networks()
    expected = fit(resident, x, y, validation_data=(x, y), **QUIET).history
    got = fit(fed, x, y, validation_data=parts(), **QUIET).history
    for key, values in expected.items():
        np.testing.assert_allclose(got[key], values, rtol=1e-5)


def test_batches_of_changing_shapes_are_trained_one_after_the_other():
    x, y = rows()
    cuts = [0, 5, 10, 15, 27, 39, 44, 50]
    batches = [(x[a:b], y[a:b]) for a, b in itertools.pairwise(cuts)]
    ours, theirs = classifier("adam"), classifier("adam")
    fit(ours, batches, verbose=0)
    for batch in batches:
        theirs.train_on_batch(*batch)
    assert difference(ours, theirs) < 1e-4


@pytest.mark.parametrize(
    "source", [iter([1]), (part for part in ()), map(str, [])], ids=["iterator", "generator", "map"]
)
def test_what_can_be_gone_through_only_once_is_refused(source: Any):
    with pytest.raises(DataError, match="only once"):
        fit(classifier(), source, epochs=2, **QUIET)


def test_a_source_without_batches_is_refused():
    with pytest.raises(DataError, match="empty"):
        fit(classifier(), Loader([]), **QUIET)


@pytest.mark.parametrize("name", ["y", "sample_weight"])
def test_what_the_batches_should_carry_is_refused_beside_them(name: str):
    value = np.ones(50)
    with pytest.raises(OptionError, match=name):
        fit(classifier(), parts(), **{name: value}, **QUIET)


def test_integers_keep_their_type_on_the_device_and_floats_get_the_models():
    x = np.arange(12, dtype="uint8").reshape(4, 3)
    held = collect({"pixels": x, "table": x.astype("float64")}, x[:, 0].astype("int64")).data
    assert held[0]["pixels"].dtype == jnp.uint8
    assert held[0]["table"].dtype == jnp.float32
    assert held[1].dtype == jnp.int32


def test_arrays_of_other_libraries_are_arrays():
    import polars

    frame = polars.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    np.testing.assert_array_equal(np.asarray(collect(frame).data[0]), [[1.0, 3.0], [2.0, 4.0]])
    assert is_array([np.ones(2), jnp.ones(2)])
    assert not is_array([(np.ones(2), np.ones(2))])


def test_resident_blocks_are_the_full_batches_and_the_rest():
    x, y = rows()
    feed = ResidentFeed(collect(x, y), Order(BATCH, shuffle=False, seed=0))
    shapes = [(block.order.shape, block.steps) for block in feed.blocks(0)]
    assert shapes == [((3, 16), 3), ((1, 2), 1)]
    assert feed.steps == 4


@pytest.mark.parametrize("count", [50, 16, 3])
def test_what_is_awaited_has_the_shapes_and_types_of_the_blocks(count, monkeypatch):
    x, y = np.zeros((count, 3), "float32"), np.zeros(count, "int64")
    feed = ResidentFeed(collect(x, y, wait=True), Order(np.int64(BATCH), shuffle=True, seed=0))
    assert bool(list(feed.awaited())) == (count == 50)  # small rows: only those of two programs
    monkeypatch.setattr(feed_module, "_LARGE", 1)
    awaited, blocks = list(feed.awaited()), list(feed.blocks(0))

    def told(block):
        leaves = jax.tree.leaves((block.data, block.order))
        return [(leaf.shape, leaf.dtype) for leaf in leaves], block.steps

    assert list(map(told, awaited)) == list(map(told, blocks))
    assert list(feed.awaited()) == []
    other = replace(feed, order=Order(BATCH, shuffle=False, seed=0))  # the same rows are put there once
    assert next(other.blocks(0)).data[0] is blocks[0].data[0]


def test_rows_come_to_the_device_when_the_program_is_compiled(monkeypatch):
    model, (x, y) = classifier("adam"), rows()
    compiled = []

    def noted(array):
        compiled.append(len(program_cache.shelf(model).programs))
        return on_device(array)

    monkeypatch.setattr(feed_module, "on_device", noted)
    monkeypatch.setattr(feed_module, "_SMALL", 0)
    monkeypatch.setattr(feed_module, "_LARGE", 1)
    monkeypatch.setattr(padding, "_FEW_MULTIPLICATIONS", 0)  # so that the last batch has its own program
    fit(model, x, y, epochs=2, **QUIET)
    assert compiled == [2, 2]  # x and y, once each, after the programs of whole batches and of the last one
    assert len(program_cache.shelf(model).programs) == 2


ELEVEN = collect(np.arange(22.0).reshape(11, 2), np.arange(11.0))


@pytest.mark.parametrize("feed", [ResidentFeed, StreamFeed])
def test_a_short_epoch_has_the_first_whole_batches_of_a_long_one(feed):
    def targets(most):
        blocks = feed(ELEVEN, Order(4, shuffle=True, seed=3, most=most)).blocks(5)
        every = (take(block.data, block.order[step]) for block in blocks for step in range(block.steps))
        return [batch[1].tolist() for batch in every]

    long = targets(None)
    assert [len(batch) for batch in long] == [4, 4, 3]
    assert targets(1) == long[:1]
    assert targets(9) == long[:2]
    assert [feed(ELEVEN, Order(4, True, 3, most)).steps for most in (None, 1, 9)] == [3, 1, 2]
    few = feed(collect(np.ones((3, 2)), np.ones(3)), Order(4, shuffle=True, seed=3, most=1))
    assert few.steps == 1


def test_a_short_epoch_runs_in_the_program_of_a_long_one():
    long, short = (ResidentFeed(ELEVEN, Order(4, True, 3, most)) for most in (None, 1))
    assert next(short.blocks(0)).order.shape == next(long.blocks(0)).order.shape
