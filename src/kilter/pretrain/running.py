"""What all pretraining shares: the model of encoder, head and task, its training, and the outcome.

Inside the compiled step, a task turns each batch into an input (a corrupted, rotated or masked copy) with a
known target. Random draws come from a seed generator of the model.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TypedDict

import jax
import keras
import numpy as np

from kilter._engine.fit import fit
from kilter._engine.history import History
from kilter._engine.inference import evaluate
from kilter._models.arrays import some_rows
from kilter._models.copying import copy_model
from kilter._progress import Verbose
from kilter._records import Figure, drawn
from kilter._text import first_line
from kilter._validation import number, whole_number
from kilter.errors import OptionError
from kilter.pretrain.decoder import Layers, as_model
from kilter.pretrain.targets import check_encoder, check_varied, checked_rows
from kilter.runs.records import DataRecord


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
        whole.append(one, shift=len(whole.epoch))
    return whole


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A pretrained encoder.

    Attributes:
        task: the task it was trained on, such as "denoising autoencoder" or "rotation".
        encoder: the trained copy of the given encoder, uncompiled, ready for :func:`kilter.reuse`.
        decoder: from codes to rows in the data's units, for tasks that reconstruct; otherwise None.
        history: the epochs; for a greedy stack those of all stages in order.
        figures: measured at the end on validation rows, or on training rows without any. Tasks that
            reconstruct have ``error`` (mean squared error), ``baseline`` (of the mean row), both in units of
            the targets, and ``explained`` = 1 - error / baseline. Tasks that choose have ``accuracy`` and
            ``chance`` (of guessing). ``rows`` counts the measured rows. A sparse autoencoder has
            ``activity``, the mean absolute code.
        notes: sentences about what is wrong; empty if nothing is.
        learnt: whether the encoder beats the baseline or chance.
        data: how a recipe's rows were read, stored in the encoder's file; None for arrays.
    """

    task: str
    encoder: keras.Model
    decoder: keras.Model | None
    history: History
    figures: Mapping[str, float]
    notes: tuple[str, ...]
    learnt: bool
    data: DataRecord | None = field(default=None, kw_only=True)

    @property
    def seconds(self) -> float:
        """Seconds of all epochs, without compilation."""
        return sum(self.history.seconds)

    def to_json(self) -> dict[str, Any]:
        """The outcome as a JSON object, without the models."""
        return {
            "task": self.task,
            "learnt": self.learnt,
            "figures": dict(self.figures),
            "notes": list(self.notes),
            "epochs": len(self.history.epoch),
            "seconds": self.seconds,
            "compile_seconds": self.history.compile_seconds,
        }

    def plot(self) -> Figure:
        """The history, with a dotted line at the baseline error or at the accuracy of guessing."""
        levels = {name: self.figures[name] for name in ("baseline", "chance") if name in self.figures}
        return drawn("history", self.history, levels=levels)


MEASURED_ROWS: Final = 4096
# An autoencoder that explains less than this share of the baseline's error has learnt nothing.
LEAST_EXPLAINED: Final = 0.05
# An accuracy must be this many standard errors above chance.
SURE: Final = 3.0

Encoder = keras.Model | Callable[[], keras.Model]


class Subject(NamedTuple):
    """The trained copy of the encoder, the training rows, and the validation rows if any."""

    encoder: keras.Model
    rows: np.ndarray
    held_out: np.ndarray | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a row."""
        return tuple(self.rows.shape[1:])

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of a row's code."""
        return tuple(self.encoder.outputs[0].shape[1:])

    def measured_rows(self, seed: int) -> np.ndarray:
        """At most :data:`MEASURED_ROWS` rows to measure on: validation rows if there are any."""
        return some_rows(self.rows if self.held_out is None else self.held_out, MEASURED_ROWS, seed)

    def mirror(self, stages: Sequence[Layers]) -> keras.Model:
        """The decoder made of the mirrored layers of each of the encoder's stages."""
        backward = [layer for stage in reversed(stages) for layer in stage]
        return as_model(backward, self.code_shape, "mirror")


def subject_of(encoder: Encoder, x: Any, validation: Any, training: Training) -> Subject:
    """Check encoder, rows and options, and copy the encoder."""
    whole_number("batch_size", training.batch_size, 1)
    whole_number("epochs", training.epochs, 1)
    whole_number("seed", training.seed, 0)
    training.make_optimizer()
    if not isinstance(encoder, keras.Model) and callable(encoder):
        encoder = encoder()
    check_encoder(encoder)
    rows = checked_rows(x, encoder)
    check_varied(rows)
    held_out = (
        None if validation is None else checked_rows(validation, encoder, named="validation_data", least=1)
    )
    return Subject(copy_model(encoder).model, rows, held_out)


def reconstruction_figures(
    model: PretextModel, subject: Subject, baseline: float, seed: int
) -> dict[str, float]:
    """The error of a model that reconstructs rows, and ``baseline``, the error of the mean row."""
    rows = subject.measured_rows(seed)
    error = evaluate(model, rows, verbose=0)["error"]
    return {"error": error, "baseline": baseline, "explained": 1 - error / baseline, "rows": len(rows)}


def baseline_error(subject: Subject, targets: Any, seed: int) -> float:
    """The mean squared error, in units of the targets, of predicting the mean training row."""
    mean = np.asarray(targets.of(some_rows(subject.rows, MEASURED_ROWS, seed))).mean(axis=0, dtype=np.float64)
    return float(np.square(np.asarray(targets.of(subject.measured_rows(seed))) - mean).mean())


def reconstruction_notes(figures: dict[str, float]) -> tuple[str, ...]:
    """What is wrong with a model that reconstructs rows."""
    if not math.isfinite(figures["error"]):
        return ("The error is not finite: training diverged. Lower the learning rate.",)
    if figures["explained"] >= LEAST_EXPLAINED:
        return ()
    return (
        f"Nothing was learnt: the error, {figures['error']:.4g}, is no better than that of the mean row, "
        f"{figures['baseline']:.4g}. Train longer, change the learning rate, or use a wider code.",
    )


def choice_notes(figures: dict[str, float]) -> tuple[str, ...]:
    """What is wrong with a model that chooses a class: its accuracy could be chance."""
    accuracy, chance = figures["accuracy"], figures["chance"]
    deviation = math.sqrt(chance * (1 - chance) / figures["rows"])
    if accuracy > chance + SURE * deviation:
        return ()
    return (
        f"Nothing was learnt: {accuracy:.2%} right answers on {figures['rows']:.0f} rows; guessing "
        f"gives {chance:.2%}. Train longer, change the learning rate, or choose an easier task.",
    )
