"""Where a trained model can be cut, to reuse the layers below.

A cut goes through one array: everything above depends on the inputs only through that array. Only layers with
weights are counted, except normalisations and learned slopes, which belong to the layer before them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kilter._models.copying import check_graph
from kilter._models.editing import Graph, read_graph
from kilter._models.layers import NORMALIZATIONS
from kilter._models.tracing import LayerCall
from kilter._text import did_you_mean, few
from kilter._validation import whole_number
from kilter.errors import OptionError

ALL = "all"
_layers = keras.layers
# Layers with weights that belong to the layer before them.
_FOLLOWERS = (*NORMALIZATIONS, _layers.Normalization, _layers.PReLU, _layers.UnitNormalization)
_SHOWN = 12


@dataclass(frozen=True)
class Cut:
    """A place to cut: ``layer``, by its path, is the last one below, and ``keep`` counts the layers below.

    ``number``: of the call of that layer, if there are several.
    """

    keep: int
    layer: str
    number: int = 0


def is_counted(layer: Any) -> bool:
    """Whether ``layer`` has weights and is not a normalisation or learned slope."""
    return bool(getattr(layer, "weights", ())) and not isinstance(layer, _FOLLOWERS)


def counted_layers(model: keras.Model) -> int:
    """The number of counted layers of a built model; one that is called twice counts once."""
    return _counted(read_graph(model).calls)


def cuts(model: keras.Model) -> tuple[Cut, ...]:
    """The places where a built Sequential or Functional model can be cut, from the bottom up, one per count.

    If several places have the same count, the last one: activation, normalisation, pooling and dropout after
    a layer stay with it. Parallel branches have no place to cut, and neither do places where a layer would be
    called on both sides. Layers of nested models count where they are called.

    Raises :class:`~kilter.errors.ModelError` for a model that is not built or not a graph of layers.
    """
    graph = read_graph(model)
    found: dict[int, Cut] = {}
    for index in range(len(graph.calls)):
        if _obstacle(graph, index) is None:
            cut = _cut_at(graph, index)
            found[cut.keep] = cut
    return tuple(found[keep] for keep in sorted(found) if keep > 0)


def find_cut(model: keras.Model, keep: int | str) -> Cut:
    """The cut at ``keep``: a count (negative: of layers to leave out), a layer's name, or "all"."""
    check_graph(model)
    if isinstance(keep, str) and keep != ALL:
        return _cut_by_name(model, keep)
    if keep != ALL:
        words = 'keep as a whole number, a layer\'s name or "all"'
        whole_number("keep", keep, expected=words, remedy="keep=-1 keeps all layers but the output")
    there, places = counted_layers(model), cuts(model)
    wanted = there if keep == ALL else int(keep) + (there if int(keep) < 0 else 0)
    if keep == 0 or not 1 <= wanted <= there:
        raise OptionError(
            expected=f"keep from 1 to {there}, or from -1 to {1 - there} to leave layers out: "
            f"model {model.name!r} has {there} layers with weights",
            received=f"keep={keep!r}",
            remedy="keep=-1 keeps all layers but the output" if there > 1 else 'keep="all" keeps the model',
        )
    found = next((place for place in places if place.keep == wanted), None)
    if found is None:
        raise OptionError(
            expected=f"keep where model {model.name!r} can be cut through one array: {_listed(places)}",
            received=f"keep={keep!r}, which lies within branches, or between two calls of the same layer",
            remedy=_nearest(places, wanted),
        )
    return found


def part_below(model: keras.Model, cut: Cut) -> tuple[keras.Model, dict[int, keras.Model]]:
    """The part of ``model`` up to ``cut``, of the model's own layers, to be copied but not called.

    Also the parts of nested models that are cut, by the ``id`` of the model.
    """
    parts: dict[int, keras.Model] = {}
    return _part(model, cut.layer.split("/"), cut.number, parts), parts


def _part(model: Any, path: Sequence[str], number: int, parts: dict[int, keras.Model]) -> keras.Model:
    graph: Any = model._functional if isinstance(model, keras.Sequential) else model
    depths = sorted(graph._nodes_by_depth, reverse=True)
    nodes = [node for depth in depths for node in graph._nodes_by_depth[depth] if not node.is_input]
    called = [node for node in nodes if node.operation.name == path[0]]
    node = called[number if len(path) == 1 else 0]
    if len(path) > 1:
        parts[id(node.operation)] = _part(node.operation, path[1:], number, parts)
    # No layer is called: making a model of connected layers leaves them unchanged.
    return keras.Model(graph.input, node.outputs[0], name=model.name)


def _cut_by_name(model: keras.Model, name: str) -> Cut:
    graph = read_graph(model)
    paths = [call.path for call in graph.calls]
    found = [index for index, path in enumerate(paths) if name in (path, path.rpartition("/")[2])]
    inside = [index for index, path in enumerate(paths) if f"/{path}".rpartition(f"/{name}/")[1]]
    places = cuts(model)
    if not found and inside:  # a nested model, whose last call makes its output
        found = [index for index in inside if paths[index] == paths[inside[-1]]]
    if not found:
        names = [*paths, *(path.rpartition("/")[2] for path in paths)]
        raise OptionError(
            expected=f"the name of a layer of model {model.name!r}: {_listed(places)}",
            received=f"keep={name!r}",
            remedy=did_you_mean(name, names, "choose one of these"),
        )
    obstacle = _obstacle(graph, found[0])
    if len(found) > 1:
        obstacle = f"model {model.name!r} has it at {len(found)} places"
    cut = _cut_at(graph, found[0])
    if obstacle is None and cut.keep == 0:
        obstacle = "no layer with weights is below it"
    if obstacle is not None:
        raise OptionError(
            expected=f"keep where model {model.name!r} can be cut through one array: {_listed(places)}",
            received=f"keep={name!r}: {obstacle}",
            remedy=_nearest(places, cut.keep),
        )
    return cut


def _obstacle(graph: Graph, index: int) -> str | None:
    """Why the model cannot be cut after call ``index``; None if it can."""
    call = graph.calls[index]
    if len(call.outputs) != 1:
        return f"it gives {len(call.outputs)} arrays"
    below = _below(graph, index)
    above = [other for number, other in enumerate(graph.calls) if number not in below]
    shared = {id(graph.calls[number].layer) for number in below} & {id(other.layer) for other in above}
    for other in above:
        if id(other.layer) in shared and getattr(other.layer, "weights", ()):
            return f"layer {other.path!r} is applied below it and above"
    made_above = {id(output) for other in above for output in other.outputs}
    passing = [
        other.path
        for other in above
        if any(given is not call.outputs[0] and id(given) not in made_above for given in other.inputs)
    ]
    if passing:
        return f"{few(list(map(repr, passing)))} has an input that bypasses it"
    models = call.path.split("/")[:-1]
    if models and sum(other.path == call.path for other in graph.calls) > 1:
        return f"model {models[-1]!r} around it is applied at several places"
    return None


def _below(graph: Graph, index: int) -> set[int]:
    """The calls that call ``index`` depends on, and itself."""
    makers = {id(output): number for number, call in enumerate(graph.calls) for output in call.outputs}
    below, waiting = {index}, [index]
    while waiting:
        for given in graph.calls[waiting.pop()].inputs:
            maker = makers.get(id(given))  # None for the model's own inputs
            if maker is not None and maker not in below:
                below.add(maker)
                waiting.append(maker)
    return below


def _cut_at(graph: Graph, index: int) -> Cut:
    path = graph.calls[index].path
    number = sum(call.path == path for call in graph.calls[:index])
    return Cut(_counted([graph.calls[other] for other in _below(graph, index)]), path, number)


def _counted(calls: Sequence[LayerCall]) -> int:
    return len({id(call.layer) for call in calls if is_counted(call.layer)})


def _listed(places: Sequence[Cut]) -> str:
    """The places as text; the middle of a long list is left out."""
    words = [f"{place.keep} ({place.layer!r})" for place in places]
    if len(words) > _SHOWN:
        words = [*words[: _SHOWN // 2], "…", *words[-_SHOWN // 2 :]]
    return ", ".join(words) or "nowhere"


def _nearest(places: Sequence[Cut], wanted: int) -> str:
    if not places:
        return "make the model of the layers to keep with keras.Model(inputs, outputs), and keep all of it"
    near = min(places, key=lambda place: abs(place.keep - wanted))
    return f"keep={near.keep} keeps all up to {near.layer!r}"
