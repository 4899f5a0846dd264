"""Pure step functions of a Keras model: (state, batch) -> (state, logs).

They call the model's own ``train_step`` and ``test_step``, so that everything in Keras (regularisers,
constraints, clipping, loss scaling, gradient accumulation, EMA, custom losses and metrics, overridden steps)
works as it does there. Inside the engine a batch is always ``(x, y, sample_weight)``; a step gets as many
parts as Keras would pass. Keras on JAX loses the update of metrics that a model updates in its own ``call``;
here they are carried along with the others.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras

from kilter._engine.overrides import overrides
from kilter._engine.padding import Padded, real_rows
from kilter._engine.scheduling import Schedule, momentum_set, scheduler
from kilter._engine.stable_losses import stable_losses
from kilter._models.keras_internals import get_stateless_scope
from kilter._models.tracing import intercept_calls, replace_attribute
from kilter._models.variables import State
from kilter._text import warn_once
from kilter.errors import ModelError

Batch = Any
Logs = dict[str, Any] | None
Step = Callable[..., tuple[State, Logs]]  # (state, batch), and further arrays of the program
PredictStep = Callable[[list[Any], list[Any], Batch], tuple[Any, list[Any]]]

# The methods that make a step's logs from the metrics.
_LOGGING = ("compute_metrics", "get_metrics_result", "_update_metrics_variables")


def train_step(model: keras.Model, schedule: Schedule | None = None, *, logged: bool = False) -> Step:
    """The model's training step as a pure function.

    ``schedule`` sets the learning rate of each step, and the momentum if it cycles that. Logs are None where
    they are the results of the metrics, which the state carries: unless the model overrides what makes them,
    or they are to be ``logged``.
    """
    schedule_in = scheduler(model, schedule)
    keep_logs = logged or overrides(model, "train_step", *_LOGGING)

    def step(state: State, batch: Batch) -> tuple[State, Logs]:
        scheduled, momentum = schedule_in(state.optimizer)
        given = (state.trainable, state.non_trainable, scheduled, state.metrics)
        with traced_as_one(model, batch, state), momentum_set(model, momentum):
            logs, new = _returned("train_step", model.train_step(given, packed(batch)), given)
        new = like(State(*new), state)
        return new, (_arrays(logs) if keep_logs else None)

    return step


def test_step(model: keras.Model, *, logged: bool) -> Step:
    """The model's evaluation step as a pure function; the optimiser's state is passed through."""
    keep_logs = logged or overrides(model, "test_step", *_LOGGING)

    def step(state: State, batch: Batch) -> tuple[State, Logs]:
        given = (state.trainable, state.non_trainable, state.metrics)
        with traced_as_one(model, batch, state):
            logs, new = _returned("test_step", model.test_step(given, packed(batch)), given)
        trainable, non_trainable, metrics = new
        new = like(State(trainable, non_trainable, state.optimizer, metrics), state)
        return new, (_arrays(logs) if keep_logs else None)

    return step


@contextlib.contextmanager
def traced_as_one(model: keras.Model, batch: Batch, state: State) -> Generator[None]:
    """What the engine changes of the model's own step while it is traced."""
    known = {id(variable) for variable in model.variables}
    with stable_losses(model), real_rows(model, batch), metrics_in_call(model, state.metrics):
        yield
    if late := [variable.path for variable in model.variables if id(variable) not in known]:
        raise ModelError(
            expected=f"model {model.name!r} to have all its variables before training",
            received=f"a step that creates {', '.join(late)}",
            remedy="create layers and weights in __init__ or build(), and call layers also where training is "
            "False; or call the model once with training=True before fit",
        )


def predict_step(model: keras.Model) -> PredictStep:
    """``(trainable, non-trainable, batch) -> (outputs, non-trainable)``: the model's prediction step."""

    def step(trainable: list[Any], non_trainable: list[Any], batch: Batch) -> tuple[Any, list[Any]]:
        returned = model.predict_step((trainable, non_trainable), packed(batch))
        outputs, (new,) = _returned("predict_step", returned, (non_trainable,))
        return outputs, like(new, non_trainable)

    return step


def _returned(name: str, result: Any, given: tuple[list[Any], ...]) -> tuple[Any, list[list[Any]]]:
    """The logs or outputs that a step returned, and its lists of values, as many as it was ``given``."""
    predicts = name == "predict_step"
    parts = {4: "trainable, non_trainable, optimizer, metrics", 3: "trainable, non_trainable, metrics"}
    form = "outputs, non_trainable" if predicts else f"logs, ({parts[len(given)]})"
    error = ModelError(
        expected=f"{name} to return {form}, with as many values as it was given",
        received=_form(result),
        remedy=f"end the step with: return {form}",
    )
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise error
    first, new = result[0], (result[1],) if predicts else result[1]
    if not (isinstance(first, Mapping) or predicts) or not isinstance(new, tuple | list):
        raise error
    if any(not isinstance(part, tuple | list) for part in new):
        raise error
    if any(isinstance(one, tuple | list | Mapping) for part in new for one in part):
        raise error
    if [len(part) for part in new] != [len(part) for part in given]:
        raise error
    return first, [list(one) for one in new]


def _form(value: Any, depth: int = 0) -> str:
    """What a step returned, in outline."""
    if not isinstance(value, tuple | list):
        return "a dict" if isinstance(value, Mapping) else f"one {type(value).__name__}"
    if depth == 2 or not any(isinstance(one, tuple | list | Mapping) for one in value):
        return f"{len(value)} values"
    return f"({', '.join(_form(one, depth + 1) for one in value)})"


def like(new: Any, old: Any) -> Any:
    """The values ``new`` in the dtypes of ``old``, since a compiled loop keeps those of its carry.

    Keras may widen one: a float metric in mixed precision.
    """
    return jax.tree.map(lambda value, model: jnp.asarray(value, model.dtype), new, old)


def _arrays(logs: Any) -> Logs:
    return {name: jax.tree.map(jnp.asarray, value) for name, value in logs.items()}


class Gradients(NamedTuple):
    """A batch's loss with all penalties (float, shape ()), and its gradient for each trainable variable.

    ``non_trainable``: that part of the state after the pass.
    """

    loss: jax.Array
    values: list[jax.Array]
    non_trainable: list[jax.Array]


def gradients(model: keras.Model) -> Callable[[State, Batch], Gradients]:
    """``(state, batch) -> Gradients``: ∂loss/∂variable in training mode, before any clipping.

    Cross-entropy from the logits if they are known; dropout as in the step from this state; loss scaling
    undone.
    """

    def compute(state: State, batch: Batch) -> Gradients:
        def loss_of(trainable: list[jax.Array]) -> tuple[jax.Array, Any]:
            return training_loss(model, state._replace(trainable=trainable), batch)

        (_, aux), values = jax.value_and_grad(loss_of, has_aux=True)(state.trainable)
        scale = _loss_scale(model, state)
        return Gradients(aux[0], [value / jnp.asarray(scale, value.dtype) for value in values], aux[2])

    return compute


def training_loss(model: keras.Model, state: State, batch: Batch) -> tuple[jax.Array, Any]:
    """A batch's loss with all penalties, scaled as in mixed precision; and (loss, outputs, non-trainable, …).

    The loss in the tuple is not scaled. Cross-entropy is computed from the logits if they are known.
    """
    with stable_losses(model):
        return model.compute_loss_and_updates(
            state.trainable,
            state.non_trainable,
            state.metrics,
            *batch,
            training=True,
            optimizer_variables=state.optimizer,
        )


def without_optimizer(model: keras.Model, state: State) -> State:
    """The state as :func:`training_loss` needs it: without the optimiser unless it scales losses."""
    scales = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    return state if scales else state._replace(optimizer=[])


def global_norm(values: list[jax.Array]) -> jax.Array:
    """√(Σ ‖value‖²) over all arrays together, in float32; NaN or infinity if any of them has one.

    Example:
        >>> float(global_norm([jnp.array([3.0]), jnp.array([[4.0]])]))
        5.0
    """
    return jnp.sqrt(sum((jnp.sum(jnp.square(value.astype(jnp.float32))) for value in values), jnp.zeros(())))


def inner_product(one: list[jax.Array], other: list[jax.Array]) -> jax.Array:
    """Σ ⟨one, other⟩ over the arrays of two lists of the same shapes.

    Example:
        >>> one = [jnp.array([3.0]), jnp.array([[4.0]])]
        >>> float(inner_product(one, one))
        25.0
    """
    return sum((jnp.vdot(a, b) for a, b in zip(one, other, strict=True)), jnp.zeros(()))


def _loss_scale(model: keras.Model, state: State) -> Any:
    optimizer: Any = model.optimizer
    with keras.StatelessScope(list(zip(optimizer.variables, state.optimizer, strict=True))):
        return keras.ops.convert_to_tensor(optimizer.scale_loss(jnp.ones(())))


@contextlib.contextmanager
def metrics_in_call(model: keras.Model, values: Sequence[Any]) -> Generator[None]:
    """While a step is traced within it, metrics that ``model.call`` updates are part of its result.

    They start at ``values``. Warns if the step does not compute the loss as Keras does: it then loses them.
    """
    given: Any = model
    # Keras updates these outside of ``call``.
    compiled = (given._loss_tracker, given._compile_loss, given._compile_metrics)
    known = {id(variable) for one in compiled if one is not None for variable in one.variables}
    variables = list(model.metrics_variables)
    if all(id(variable) in known for variable in variables):
        yield
        return
    carried = _Carried(variables, list(values))
    with contextlib.ExitStack() as stack, intercept_calls([model], carried.calling):
        loss = model.stateless_compute_loss
        replace_attribute(model, "stateless_compute_loss", carried.losing(loss), stack)
        yield
    carried.check(model)


class _Carried:
    """Carries the values of a model's metric variables from its ``call`` to its loss, in one trace."""

    def __init__(self, variables: list[Any], values: list[Any]) -> None:
        self._variables = variables
        self._first = values
        self._values = values
        self._passes = 0
        self._waiting = False

    def calling(self, _: Any, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run the model's ``call`` with the metrics in the scope that ``stateless_call`` opens for it."""
        scope = get_stateless_scope()
        if scope is None or any(scope.get_current_value(one) is not None for one in self._variables):
            return call(*arguments, **options)
        for variable, value in zip(self._variables, self._values, strict=True):
            scope.add_update((variable, value))
        outputs = call(*arguments, **options)
        found = [scope.get_current_value(variable) for variable in self._variables]
        if any(new is not old for new, old in zip(found, self._values, strict=True)):
            self._values, self._waiting = found, True
            self._passes += 1
        return outputs

    def losing(self, loss: Callable[..., Any]) -> Callable[..., Any]:
        """``stateless_compute_loss``, starting from the metrics as ``call`` left them."""

        def computed(trainable: Any, non_trainable: Any, metrics: Any, *others: Any, **named: Any) -> Any:
            if self._waiting:
                pairs = zip(metrics, self._values, self._first, strict=True)
                metrics = [given if new is old else new for given, new, old in pairs]
                # A value traced inside a gradient must not be used outside of it.
                self._values, self._waiting = self._first, False
            return loss(trainable, non_trainable, metrics, *others, **named)

        return computed

    def check(self, model: keras.Model) -> None:
        if self._waiting or self._passes > 1:
            warn_once(
                f"Model {model.name!r} updates a metric in call, and its own step passes more than once "
                "through the model or computes the loss itself, so updates of the metric are lost, as in "
                "Keras on JAX: make them in compute_metrics, in compute_loss or in the step."
            )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Yielded:
    """A batch from an iterable; ``parts`` is the length of the tuple it came in, 0 for a bare ``x``."""

    x: Any
    y: Any
    sample_weight: Any
    parts: int = field(metadata={"static": True})

    def __iter__(self) -> Iterator[Any]:
        return iter((self.x, self.y, self.sample_weight))

    def __getitem__(self, index: int) -> Any:
        return (self.x, self.y, self.sample_weight)[index]


def packed(batch: Any) -> Any:
    """The batch as Keras passes it to a step.

    Example:
        >>> packed((1, 2, None)), packed((1, None, None)), packed(Yielded(1, 2, None, parts=3))
        ((1, 2), 1, (1, 2, None))
    """
    if isinstance(batch, Yielded):
        return tuple(batch)[: batch.parts] if batch.parts else batch.x
    if isinstance(batch, Padded):
        batch = batch.x, batch.y, batch.sample_weight
    return keras.utils.pack_x_y_sample_weight(*batch)


def with_parts(batch: Any, x: Any, y: Any, sample_weight: Any) -> Any:
    """Other arrays in as many parts as ``batch`` has."""
    if isinstance(batch, Yielded):
        return replace(batch, x=x, y=y, sample_weight=sample_weight)
    return x, y, sample_weight
