"""The initialisers: what 20 layers do to the signal before the first step, as measured and as predicted."""

from __future__ import annotations

import statistics
from typing import Any

import kilter

# isort: split
import keras
import plotly.graph_objects as graph_objects
from plotly.colors import qualitative
from plotly.subplots import make_subplots

from bench.pages import Table, between
from compared.task import Task, compiled
from compared.training import Outcome
from kilter._engine.measuring import probe
from kilter.nn.depth import DepthRecord

ACTIVATIONS = ("sigmoid", "tanh", "relu", "elu", "selu", "swish")
INITIALIZERS = ("glorot_uniform", "he_normal", "lecun_normal", "orthogonal")
SEEDS = 3


def compare_initializers(task: Task) -> Outcome:
    """Every pair of activation and initialiser, over some seeds."""
    rows, figures, curves = [], {}, {}
    for activation in ACTIVATIONS:
        for initializer in INITIALIZERS:
            records = [_record(task, activation, initializer, seed) for seed in range(SEEDS)]
            curves[activation, initializer] = records[0]
            backward = _backward(task, activation, initializer)
            last = [_hidden(record)[-1].deviation for record in records]
            theory = _hidden(records[0])[-1].predicted_deviation
            rows.append(
                (
                    activation,
                    initializer,
                    *(f"{_hidden(records[0])[at - 1].deviation:.3g}" for at in (1, task.size.depth // 2)),
                    f"{statistics.median(last):.3g}",
                    between(last, ".3g"),
                    "–" if theory is None else f"{theory:.3g}",
                    f"{backward:.3g}",
                )
            )
            figures[f"{activation}, {initializer}"] = {
                "deviation": [[one.deviation for one in _hidden(record)] for record in records],
                "predicted": [one.predicted_deviation for one in _hidden(records[0])],
                "gradient, first over last layer": backward,
            }
    return Outcome(_table(task, rows), figures, _picture(curves))


def _network(task: Task, activation: str, initializer: str, seed: int) -> keras.Model:
    preset = "self-normalizing" if activation == "selu" else "standard"
    options: dict[str, Any] = {"preset": preset, "activation": activation, "initializer": initializer}
    return task.network(task.size.depth, seed=seed, unchecked=True, **options)


def _record(task: Task, activation: str, initializer: str, seed: int) -> DepthRecord:
    return kilter.nn.variance_through_depth(_network(task, activation, initializer, seed), task.x, rows=512)


def _hidden(record: DepthRecord) -> list[Any]:
    return [one for one in record.layers if one.layer.startswith("dense_")]


def _backward(task: Task, activation: str, initializer: str) -> float:
    """The deviation of the gradient by the first hidden layer's output over that by the last one's."""
    model = compiled(_network(task, activation, initializer, seed=0), keras.optimizers.SGD(1e-3))
    found = probe(model, task.x, task.y)
    hidden = [index for index, name in enumerate(found.layers) if name.startswith("dense_")]
    deviation = found.values["gradient_std"][0]
    return float(deviation[hidden[0]] / deviation[hidden[-1]])


def _picture(curves: dict[tuple[str, str], DepthRecord]) -> graph_objects.Figure:
    """A panel for each activation: measured as lines, predicted as crosses."""
    figure = make_subplots(rows=2, cols=3, subplot_titles=ACTIVATIONS, shared_xaxes=True, shared_yaxes=True)
    for (activation, initializer), record in curves.items():
        row, column = divmod(ACTIVATIONS.index(activation), 3)
        color = qualitative.D3[INITIALIZERS.index(initializer)]
        place = {"row": row + 1, "col": column + 1}
        hidden = _hidden(record)
        numbers = list(range(1, len(hidden) + 1))
        shown = {"legendgroup": initializer, "showlegend": activation == ACTIVATIONS[0]}
        measured = [one.deviation for one in hidden]
        figure.add_scatter(
            x=numbers, y=measured, name=initializer, mode="lines", line={"color": color}, **shown, **place
        )
        figure.add_scatter(
            x=numbers,
            y=[one.predicted_deviation for one in hidden],
            name=f"{initializer}, predicted",
            mode="markers",
            marker={"color": color, "symbol": "x", "size": 5},
            **shown,
            **place,
        )
    figure.update_xaxes(title_text="hidden layer", row=2)
    figure.update_yaxes(type="log", dtick=1, exponentformat="power")
    figure.update_yaxes(title_text="standard deviation", col=1)
    return figure.update_layout(template="plotly_white", height=700)


def _table(task: Task, rows: list[tuple[str, ...]]) -> Table:
    depth = task.size.depth
    header = (
        "activation", "initialiser", "std, layer 1", f"layer {depth // 2}", f"layer {depth}", "range",
        "predicted", "gradient, layer 1 over last",
    )  # fmt: skip
    notes = (
        f"{depth} hidden layers of 100 before the first step, on 512 rows of Fashion-MNIST; std: the "
        "deviation of a layer's outputs over rows and units (kilter.nn.variance_through_depth); for "
        f"the last layer the median and range of {SEEDS} seeds, with the mean-field prediction from "
        "initialiser and activation beside it. Gradient: deviation of the loss's gradient by the first "
        "layer's outputs over that by the last one's; 1 is neither vanishing nor exploding.",
    )
    return Table(f"Initialisers through {depth} layers", header, tuple(rows), notes)
