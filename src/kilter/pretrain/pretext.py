"""The model that pretraining trains: an encoder, a head, and a task that makes inputs and targets.

Inside the compiled step, a task turns each batch into an input (a corrupted, rotated or masked copy) with a
known target. Random draws come from a seed generator of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypedDict

import jax
import keras

from kilter._engine.fit import fit
from kilter._engine.history import History
from kilter._progress import Verbose
from kilter._text import first_line
from kilter._validation import number
from kilter.errors import OptionError


class Judged(NamedTuple):
    """The loss of a batch, and a measure with its weight."""

    loss: jax.Array
    measure: jax.Array
    weight: jax.Array | float


class Task(Protocol):
    """What an encoder is trained for: a frozen record with two pure functions, which are traced."""

    @property
    def measure(self) -> str:
        """The measure's name in the history: "accuracy" or "error"."""
        ...

    def pose(self, key: jax.Array, x: Any, *, training: bool) -> tuple[Any, Any]:
        """The encoder's input for a batch ``x``, and the target."""
        ...

    def judge(self, head: Any, codes: jax.Array, answer: Any) -> Judged:
        """The loss between ``head(codes)`` and the target."""
        ...


class PretextModel(keras.Model):
    """Compares ``head(encoder(input))`` with the target. Takes rows and no targets.

    ``below``: a frozen model applied to the rows first, in inference mode; the task is then about its
    outputs. Layers are shared with the given models, so training changes those.
    """

    def __init__(
        self,
        encoder: keras.Model,
        head: keras.Model,
        task: Task,
        *,
        seed: int,
        below: keras.Model | None = None,
    ) -> None:
        super().__init__(name=f"{encoder.name}_pretext")
        self.encoder = encoder
        self.head = head
        self.below = below
        self.task = task
        self.draws = keras.random.SeedGenerator(seed)
        self.measured = keras.metrics.Mean(name=task.measure)

    def call(self, x: Any, training: bool | None = False) -> Judged:
        """The loss and the measure of a batch."""
        key = jax.random.wrap_key_data(self.draws.next())
        if self.below is not None:
            x = jax.lax.stop_gradient(self.below(x, training=False))
        question, answer = self.task.pose(key, x, training=bool(training))
        codes = self.encoder(question, training=training)
        return self.task.judge(self.head, codes, answer)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The task's loss plus the encoder's regularisation losses."""
        return y_pred.loss + super().compute_loss(x, None, None, None, training=training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """The mean of the task's measure."""
        self.measured.update_state(y_pred.measure, sample_weight=y_pred.weight)
        return self.get_metrics_result()


class TrainingKeywords(TypedDict, total=False):
    """The options of training that pretraining takes, with their defaults in :class:`Training`."""

    epochs: int
    batch_size: int
    optimizer: str | keras.optimizers.Optimizer
    learning_rate: float | None
    callbacks: Sequence[keras.callbacks.Callback]
    seed: int
    verbose: Verbose


@dataclass(frozen=True)
class Training:
    """The options of :func:`kilter.fit` that pretraining passes on."""

    epochs: int = 20
    batch_size: int = 128
    optimizer: str | keras.optimizers.Optimizer = "adam"
    learning_rate: float | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    seed: int = 0
    verbose: Verbose = "auto"

    def run(self, model: PretextModel, x: Any, validation: Any) -> History:
        """Train ``model`` on rows ``x`` with a new optimizer."""
        self.compile(model)
        return fit(
            model,
            x,
            validation_data=validation,
            batch_size=self.batch_size,
            epochs=self.epochs,
            callbacks=self.callbacks,
            measure=None,
            seed=self.seed,
            verbose=self.verbose,
        )

    def compile(self, model: PretextModel) -> None:
        """Compile ``model`` with a new optimizer."""
        optimizer: Any = self.make_optimizer()  # Keras annotates the name only
        model.compile(optimizer=optimizer)

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        """A new optimiser with the configured settings and fresh slots."""
        rate = self.learning_rate
        if rate is not None:
            remedy = "leave it out for the optimizer's own, or pass a number such as 1e-3"
            rate = number("learning_rate", rate, above=0, remedy=remedy)
        try:
            known: Any = keras.optimizers.get(self.optimizer)
            config = known.get_config()
            if rate is not None:
                config["learning_rate"] = rate
            return type(known).from_config(config)
        except (TypeError, ValueError) as problem:
            raise OptionError(
                expected="optimizer as a Keras optimizer or its name",
                received=f"optimizer={self.optimizer!r} ({first_line(problem)})",
                remedy='for example optimizer="adam"',
            ) from problem


def joined(histories: Sequence[History]) -> History:
    """Several training runs as one history, with epochs numbered consecutively."""
    whole = History()
    for one in histories:
        whole.epoch += [len(whole.epoch) + number for number in range(len(one.epoch))]
        for name, values in one.history.items():
            whole.history.setdefault(name, []).extend(values)
        whole.seconds += one.seconds
        whole.compile_seconds += one.compile_seconds
    whole.params = dict(histories[-1].params or {})
    return whole
