"""The compiled step of pretraining: an encoder, a head, and a task that makes questions and answers.

A task poses a question about each batch (a corrupted, turned or masked copy of its rows) whose answer is
known, all inside the compiled step: no second copy of the data is ever made. What is drawn comes from a seed
generator that the model carries, so that the same seed gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import keras

from kilter._engine.fit import fit
from kilter._engine.history import History
from kilter._progress import Verbose
from kilter._text import first_line
from kilter.errors import OptionError


class Judged(NamedTuple):
    """How well a batch was answered: the loss to minimise, and a measure with the weight of the batch."""

    loss: jax.Array
    measure: jax.Array
    weight: jax.Array | float


class Task(Protocol):
    """What an encoder is trained for. A frozen record of numbers; both functions are pure and traced."""

    @property
    def measure(self) -> str:
        """What the measure is called in the history: "accuracy" or "error"."""
        ...

    def pose(self, key: jax.Array, x: Any, *, training: bool) -> tuple[Any, Any]:
        """What the encoder is to see of a batch ``x``, and the answer."""
        ...

    def judge(self, head: Any, codes: jax.Array, answer: Any) -> Judged:
        """The loss of what ``head`` makes of the codes."""
        ...


class PretextModel(keras.Model):
    """``head(encoder(question))`` judged against the answer; takes rows, and no targets.

    ``below``: a frozen model that rows go through first, in inference mode; the task is then about its
    outputs. Layers are shared with the models given, so that training trains these.
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
        """The task's loss and the penalties of the encoder's regularisers."""
        return y_pred.loss + super().compute_loss(x, None, None, None, training=training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """The mean of the task's measure."""
        self.measured.update_state(y_pred.measure, sample_weight=y_pred.weight)
        return self.get_metrics_result()


@dataclass(frozen=True)
class Training:
    """How a pretext model is trained: what of :func:`kilter.fit` a task leaves open."""

    epochs: int
    batch_size: int
    optimizer: str | keras.optimizers.Optimizer
    learning_rate: float | None
    seed: int
    verbose: Verbose
    callbacks: Sequence[keras.callbacks.Callback] = field(default=())

    def run(self, model: PretextModel, x: Any, validation: Any) -> History:
        """Train ``model`` on rows ``x`` with an optimiser of its own."""
        model.compile(optimizer=self.make_optimizer())  # pyright: ignore[reportArgumentType]
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

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        """A new optimiser of the kind asked for: one that was used before keeps its momenta to itself."""
        rate = self.learning_rate
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0):
            raise OptionError(
                expected="learning_rate as a number above 0",
                received=f"learning_rate={rate!r}",
                remedy="leave it out for the optimiser's own, or pass a number such as 1e-3",
            )
        try:
            known: Any = keras.optimizers.get(self.optimizer)
            config = known.get_config()
            if rate is not None:
                config["learning_rate"] = float(rate)
            return type(known).from_config(config)
        except (TypeError, ValueError) as problem:
            raise OptionError(
                expected="optimizer as a Keras optimiser or its name",
                received=f"optimizer={self.optimizer!r} ({first_line(problem)})",
                remedy='for example optimizer="adam"',
            ) from problem


def joined(histories: Sequence[History]) -> History:
    """Several trainings as one history: their epochs counted on."""
    whole = History()
    for one in histories:
        whole.epoch += [len(whole.epoch) + number for number in range(len(one.epoch))]
        for name, values in one.history.items():
            whole.history.setdefault(name, []).extend(values)
        whole.seconds += one.seconds
        whole.compile_seconds += one.compile_seconds
    whole.params = dict(histories[-1].params or {})
    return whole
