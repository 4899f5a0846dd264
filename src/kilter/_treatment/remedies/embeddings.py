"""Remedies for ids and padding: a table that holds every id, numbers projected, padding masked."""

from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._diagnosis.checks.ids import are_words, id_columns
from kilter._diagnosis.checks.padding import padding_of
from kilter._engine.arrays import collect
from kilter._engine.embedding_ids import IdCheck, WrongIds
from kilter._models.copying import fresh_name
from kilter._models.editing import Cut, open_layers
from kilter._models.layers import RECURRENT, LayerFacts
from kilter._records import Finding
from kilter._text import counted
from kilter._treatment.remedies.base import operated, rebuilt, remedies, replaceable
from kilter._treatment.remedies.inputs import input_scalings, statistics
from kilter._treatment.subject import Subject

_MOST_IDS = 1_000_000
_MOST_EXACT: Final = 1 << 24  # a scaling layer computes in float32, which holds whole numbers up to this
_PROBED: Final = 64  # rows
_ID_WIDTH: Final = 8
_WORD_WIDTH: Final = 32
_LEAST_FACTOR: Final = 3.0  # by which positions are louder than tokens


def fit_embedding(subject: Subject, finding: Finding) -> Subject | None:
    """A table as large as the largest id, behind a shift by the smallest id if that is negative.

    None for real numbers, for more than a million ids, and if all ids are in the table.
    """
    found = [(one, layer) for one, layer in _wrong(subject) if _are_whole(one)]
    if not found:
        return None
    cuts: dict[Any, Cut] = {}
    before, after, paths = [], [], []
    for one, layer in found:
        low, high = _range(subject, layer)
        shift, size = max(0, -low), high + max(0, -low) + 1
        if size > _MOST_IDS or not replaceable(subject, [layer]):
            return None
        cuts[layer.layer] = _fitted(max(size, one.size), shift)
        before.append(f"{one.size} rows for ids from {low} to {high}")
        after.append(f"{max(size, one.size)} rows" + (f", ids shifted by {shift}" if shift else ""))
        paths.append(one.path)
    return operated(subject, tuple(paths), ("; ".join(before), "; ".join(after)), cuts)


def _fitted(size: int, shift: int) -> Cut:
    def change(config: Any) -> Any:
        table = {**config, "input_dim": size}
        return [keras.layers.Rescaling(1.0, offset=float(shift), dtype="float32"), table] if shift else table

    return change


def embed_ids(subject: Subject, finding: Finding) -> Subject | None:
    """An Embedding in front for columns of ids that are read as quantities; other columns are standardised.

    Ids outside the known range read a row of the table too. The layers behind are rebuilt for the new width.
    None if the table would be too large, as for ids of nine digits. Rows of words read by a dense layer share
    one table, and become the mean of their words.
    """
    if "embed-ids" in subject.remedies:  # its tables read the inputs of this model already
        return None
    arrays = [np.asarray(one) for one in jax.tree.leaves(subject.x)]
    if finding.code == "ids-as-quantities" and len(arrays) == 1 and are_words(arrays[0]):
        return _embed_words(subject, arrays[0])
    found = id_columns(subject.layers, arrays, subject.facts[1])
    if not found or len(arrays) != len(subject.model.inputs):
        return None
    held = [np.asarray(one) for one in jax.tree.leaves(subject.x_val)]
    tables = [np.concatenate(pair) for pair in zip(arrays, held, strict=True)]
    columns = [[one.column for one in found if one.place == place] for place in range(len(arrays))]
    known = [table[:, ids] for table, ids in zip(tables, columns, strict=True) if ids]
    if any(np.ptp(one, axis=0).sum() > _MOST_IDS or np.abs(one).max() > _MOST_EXACT for one in known):
        return None
    front = [
        _embedded(table, ids, fresh_name(subject.model, f"ids_{place}")) if ids else None
        for place, (table, ids) in enumerate(zip(tables, columns, strict=True))
    ]
    cuts: dict[Any, Cut] = {one: rebuilt(type(one)) for one in open_layers(subject.model) if one.weights}
    cuts |= {one.layer: lambda _: None for one in input_scalings(subject)}
    before = f"{counted(len(found), 'column')} of ids read as quantities"
    after = f"each id a row of {_ID_WIDTH} weights, by an Embedding in the model"
    snippet = (
        f"ids = keras.layers.Embedding(int(x_train[:, {found[0].column}].max()) + 1, {_ID_WIDTH})"
        "  # one for each column of ids, joined with the other columns"
    )
    return operated(subject, ("data",), (before, after), cuts, front=front, snippet=snippet)


def _embed_words(subject: Subject, rows: np.ndarray) -> Subject | None:
    """The mean of a row's words, each a row of one table; only for dense layers, which know no order."""
    readers = [one.layer for one in subject.layers if one.takes_input and one.is_weighted]
    top = int(max(rows.max(), np.asarray(jax.tree.leaves(subject.x_val)[0]).max()))
    if top > _MOST_IDS or not readers or not all(isinstance(one, keras.layers.Dense) for one in readers):
        return None
    given = keras.Input(rows.shape[1:])
    words = keras.layers.ReLU(max_value=float(top), dtype="float32")(given)
    looked_up = keras.layers.Embedding(top + 1, _WORD_WIDTH, mask_zero=True)(words)
    name = fresh_name(subject.model, "words")
    front = keras.Model(given, keras.layers.GlobalAveragePooling1D()(looked_up), name=name)
    cuts: dict[Any, Cut] = {one: rebuilt(type(one)) for one in open_layers(subject.model) if one.weights}
    cuts |= {one.layer: lambda _: None for one in input_scalings(subject)}
    after = f"the mean of the row's words, each a row of {_WORD_WIDTH} weights, by an Embedding in the model"
    snippet = f"keras.layers.Embedding({top + 1}, {_WORD_WIDTH}, mask_zero=True), GlobalAveragePooling1D()"
    before = "ids of words read as quantities"
    return operated(subject, ("data",), (before, after), cuts, front=[front], snippet=snippet)


def _embedded(table: np.ndarray, ids: list[int], name: str) -> keras.Model:
    """A model that looks up the columns ``ids`` of an input and standardises the others."""
    low, high = table[:, ids].min(axis=0), table[:, ids].max(axis=0)
    sizes = (high - low + 1).astype(int)
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]) - low
    given = keras.Input(table.shape[1:])
    known = keras.ops.take(given, ids, axis=-1)
    rows = keras.layers.Rescaling(1.0, offset=offsets.tolist(), dtype="float32")(known)
    inside = keras.layers.ReLU(max_value=float(sizes.sum() - 1), dtype="float32")(rows)
    parts = [keras.layers.Flatten()(keras.layers.Embedding(int(sizes.sum()), _ID_WIDTH)(inside))]
    rest = [one for one in range(table.shape[1]) if one not in ids]
    if rest:
        mean, variance = statistics(table[:, rest], -1)
        scale = keras.layers.Normalization(axis=-1, mean=mean, variance=variance)
        parts.append(scale(keras.ops.take(given, rest, axis=-1)))
    joined = parts[0] if len(parts) == 1 else keras.layers.Concatenate()(parts)
    return keras.Model(given, joined, name=name)


def project_numbers(subject: Subject, finding: Finding) -> Subject | None:
    """A dense layer of the table's width on each number, in place of the lookup of real numbers."""
    found = [(one, layer) for one, layer in _wrong(subject) if not _are_whole(one)]
    if not found:
        return None
    cuts: dict[Any, Cut] = {}
    for _, layer in found:
        replaceable(subject, [layer])
        width = layer.layer.output_dim
        shape = layer.shape[1:-1]
        cuts[layer.layer] = _projected(_numbers(subject, layer), shape, width)
    words = "numbers used as rows of an embedding table", "a dense layer on each number"
    return operated(subject, tuple(one.path for one, _ in found), words, cuts)


def _projected(values: np.ndarray, shape: tuple[int, ...], width: int) -> Cut:
    whole: Any = None  # Keras says int and takes None
    mean, variance = float(values.mean()), float(values.var()) or 1.0

    def change(config: Any) -> Any:
        name = config["name"]
        return [
            keras.layers.Normalization(axis=whole, mean=mean, variance=variance, name=f"{name}_scale"),
            keras.layers.Reshape((*shape, 1), name=f"{name}_numbers"),
            keras.layers.Dense(width, name=f"{name}_projection"),
        ]

    return change


def _wrong(subject: Subject) -> list[tuple[WrongIds, LayerFacts]]:
    check = IdCheck(subject.model, "predict")
    if not check.needed:
        return []
    found = check.found(collect(subject.x).data, subject.training.batch_size, subject.rows)
    layers = {one.path: one for one in subject.layers}
    return [(one, layers[one.path]) for one in found if one.path in layers]


def _are_whole(one: WrongIds) -> bool:
    return bool(np.mean(one.ids != np.floor(one.ids)) <= 0.5)


def _numbers(subject: Subject, layer: LayerFacts) -> np.ndarray:
    """The values of the inputs that the layer reads; of all inputs if these are unknown."""
    arrays = [np.asarray(one) for one in jax.tree.leaves(subject.x)]
    read = [arrays[place] for place in layer.enters] or arrays
    return np.concatenate([one.ravel().astype(np.float64) for one in read])


def _range(subject: Subject, layer: LayerFacts) -> tuple[int, int]:
    """The smallest and largest id, of the validation rows too."""
    held = [] if subject.training.validation_data is None else jax.tree.leaves(subject.x_val)
    values = [_numbers(subject, layer)]
    values += [np.asarray(held[place]).ravel() for place in layer.enters if place < len(held)]
    joined = np.concatenate(values)
    return int(np.floor(joined.min())), int(np.ceil(joined.max()))


def mask_padding(subject: Subject, finding: Finding) -> Subject | None:
    """Padding is masked: by the Embedding for ids of 0, by a Masking layer for sequences of numbers."""
    arrays = [np.asarray(one) for one in jax.tree.leaves(subject.x)]
    cuts: dict[Any, Cut] = {}
    words, paths = [], []
    for index, array in enumerate(arrays):
        padding = padding_of(array)
        readers = [one for one in subject.layers if index in one.enters]
        if padding is None or not readers:
            continue
        for one in replaceable(subject, readers):
            cut = _masking(one, padding.value)
            if cut is not None:
                cuts[one.layer] = cut
                paths.append(one.path)
                words.append(f"{padding.value:g} at {one.path}")
    if not cuts:
        return None
    before = "padding is read like any other step"
    after = f"masked: {', '.join(words)}"
    return operated(subject, tuple(paths), (before, after), cuts)


def _masking(one: LayerFacts, value: float) -> Cut | None:
    layer: Any = one.layer
    if isinstance(layer, keras.layers.Embedding):
        return None if layer.mask_zero or value != 0 else lambda config: {**config, "mask_zero": True}
    if isinstance(layer, keras.layers.Masking):
        masked = float(layer.mask_value) == value
        return None if masked else lambda config: {**config, "mask_value": value}
    recurrent = isinstance(layer, (*RECURRENT, keras.layers.Bidirectional))
    return (lambda config: [keras.layers.Masking(value), config]) if recurrent else None


def scale_embedding(subject: Subject, finding: Finding) -> Subject | None:
    """Tokens at the scale of the positions that are added to them, and the sum of both normalised."""
    model, entering = subject.model, [one for one in subject.layers if one.takes_input]
    tables = [one for one in entering if isinstance(one.layer, keras.layers.Embedding)]
    if len(tables) != 1 or tables[0].layer not in model.layers:
        return None
    (table,) = tables
    operations: Any = getattr(model, "_operations", None) or model.layers
    sums = [one for one in operations if _reads(one, table.layer)]
    if len(sums) != 1 or isinstance(sums[0], keras.layers.Rescaling):
        return None
    factor = _loudness(subject, table.layer, sums[0])
    if factor < _LEAST_FACTOR:
        return None
    cuts: dict[Any, Cut] = {table.layer: lambda config: [config, keras.layers.Rescaling(factor)]}
    if isinstance(sums[0], keras.Layer):
        cuts[sums[0]] = lambda config: [config, keras.layers.LayerNormalization()]
    before = f"the sum with the positions is {factor:.3g} times as large as the tokens"
    after = f"tokens times {factor:.3g}" + (", and layer normalisation of the sum" if len(cuts) > 1 else "")
    return operated(subject, (table.path,), (before, after), cuts)


def _reads(operation: Any, table: Any) -> bool:
    given = (one for node in operation._inbound_nodes for one in node.arguments.keras_tensors)
    return operation is not table and any(one._keras_history.operation is table for one in given)


def _loudness(subject: Subject, table: Any, total: Any) -> float:
    """The deviation of what ``total`` gives, over that of the tokens; 0 if that is unknown."""
    inputs: Any = subject.model.inputs
    rows = [leaf[:_PROBED] for leaf in keras.tree.flatten(subject.x)]
    if len(rows) != len(inputs):  # inputs that the model does not read
        return 0.0
    probe = keras.Model(inputs, [table.output, total.output])
    tokens, after = (float(np.std(np.asarray(one))) for one in probe(rows, training=False))
    return after / tokens if tokens > 0 else 0.0


REMEDIES = remedies(
    fit_embedding, embed_ids, project_numbers, mask_padding, scale_embedding, needs_surgery=True
)
