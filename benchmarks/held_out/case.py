"""What a program is: a compiled model, its data and how it would be trained; and the list of all programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

CCE = keras.losses.SparseCategoricalCrossentropy
SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam


@dataclass
class Case:
    """One compiled model with the rows, epochs and batch size that its author chose."""

    model: keras.Model
    x: Any
    y: Any
    val: tuple[Any, Any]
    epochs: int
    batch_size: int
    measure: str | tuple[str, ...]
    fit: dict[str, Any] = field(default_factory=dict)

    def train(self, epochs: int | None = None, callbacks: Any = ()) -> None:
        """Train with plain Keras, as the author would."""
        self.model.fit(
            self.x,
            self.y,
            epochs=epochs or self.epochs,
            batch_size=self.batch_size,
            callbacks=list(callbacks),
            verbose=0,
            **self.fit,
        )


@dataclass(frozen=True)
class Program:
    """A program by name: `sort` is faulty, sound or noise; `cause` says in plain words what is wrong."""

    name: str
    sort: str
    kind: str
    source: str
    cause: str
    repairable: bool
    make: Callable[..., Case]

    def build(self, seed: int = 0) -> Case:
        """Return the program as it was written."""
        keras.utils.set_random_seed(seed)
        return self.make(False) if self.sort == "faulty" else self.make()

    def fix(self, seed: int = 0) -> Case:
        """Return a faulty program mended by hand."""
        keras.utils.set_random_seed(seed)
        return self.make(True)


PROGRAMS: dict[str, Program] = {}


def _add(sort: str, kind: str, source: str, repairable: bool) -> Callable[..., Any]:
    def note(make: Callable[..., Case]) -> Callable[..., Case]:
        name = make.__name__.strip("_").replace("_", "-")
        if name in PROGRAMS:
            raise ValueError(f"two programs are called {name}")
        cause = " ".join((make.__doc__ or "").split())
        PROGRAMS[name] = Program(name, sort, kind, source, cause, repairable, make)
        return make

    return note


def faulty(kind: str, source: str, *, repairable: bool = True) -> Callable[..., Any]:
    """Note a faulty program. Its function takes whether to build the mended one; its docstring is the cause.

    Not repairable means that the rows themselves are spoilt, so that a doctor can only say so.
    """
    return _add("faulty", kind, source, repairable)


def sound(kind: str, source: str) -> Callable[..., Any]:
    """Note a sound program."""
    return _add("sound", kind, source, False)


def noise(kind: str, source: str = "kind: targets drawn independently of the inputs") -> Callable[..., Any]:
    """Note a program whose targets have nothing to do with its inputs."""
    return _add("noise", kind, source, False)


def case(
    model: keras.Model,
    optimizer: Any,
    loss: Any,
    data: tuple[Any, Any, Any, Any],
    epochs: int,
    batch: int = 32,
    measure: str | tuple[str, ...] = "accuracy",
    *,
    metrics: Any = None,
    loss_weights: Any = None,
    **fit: Any,
) -> Case:
    """Compile a model and put it together with its data."""
    model.compile(optimizer, loss, metrics=metrics, loss_weights=loss_weights)
    x, y, x_val, y_val = data
    return Case(model, x, y, (x_val, y_val), epochs, batch, measure, fit)


def stack(shape: tuple[int, ...], *body: Any, dtype: str | None = None) -> keras.Model:
    """Return a Sequential model for inputs of this shape."""
    return keras.Sequential([keras.Input(shape, dtype=dtype), *body])


def convolutions(first: int, second: int) -> list[Any]:
    """Return two convolutions of 3 by 3 with a pooling between them."""
    return [
        layers.Conv2D(first, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(second, 3, activation="relu"),
    ]


def yes_or_no(shape: tuple[int, ...], body: list[Any], optimizer: Any, data: Any, epochs: int) -> Case:
    """Return layers with one sigmoid unit behind them, under binary cross-entropy."""
    model = stack(shape, *body, layers.Dense(1, activation="sigmoid"))
    return case(model, optimizer, "binary_crossentropy", data, epochs)
