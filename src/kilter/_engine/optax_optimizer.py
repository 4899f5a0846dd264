"""Any optax transformation as a Keras optimiser: ``model.compile(OptaxOptimizer(optax.lion(1e-4)), ...)``.

Keras does gradient clipping, the moving average of weights and gradient accumulation; optax makes the update.
The transformation's state is in Keras variables, one for each array, so it works in ``kilter.fit`` and
``model.fit``, and is checkpointed and resumed like any other optimiser.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import optax

from kilter.errors import ModelError, OptionError


@keras.saving.register_keras_serializable(package="kilter")
class OptaxOptimizer(keras.optimizers.Optimizer):
    """A Keras optimiser with the update of ``transformation``.

    The transformation gets the parameters as a dict from each variable's ``path`` ("sequential/dense/kernel")
    to its value, so masks and ``optax.multi_transform`` can select layers by name.

    The learning rate is the transformation's. If that was made by ``optax.inject_hyperparams`` with a number
    as ``learning_rate``, that number is Keras's ``learning_rate``: callbacks and ``schedule=`` set it.
    Otherwise Keras's ``learning_rate`` is a factor on the update, initially 1.0.

    Args:
        transformation: an ``optax.GradientTransformation`` that needs only gradients, state and parameters
            for its update. Line searches and others that need the loss do not work in Keras's train step.
        name: the optimiser's name.
        options: Keras's ``clipnorm``, ``clipvalue``, ``global_clipnorm``, ``use_ema``, ``ema_momentum``,
            ``ema_overwrite_frequency``, ``loss_scale_factor``, ``gradient_accumulation_steps``.

    A saved model does not hold the transformation, which consists of functions: load it with
    ``compile=False``.

    Raises:
        OptionError: if ``transformation`` is not an optax transformation.

    Example:
        >>> import keras, optax
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(OptaxOptimizer(optax.chain(optax.clip(1.0), optax.sgd(0.1))), "mse")
    """

    def __init__(
        self, transformation: optax.GradientTransformation, *, name: str = "optax", **options: Any
    ) -> None:
        if not isinstance(transformation, optax.GradientTransformation):
            raise OptionError(
                expected="an optax.GradientTransformation",
                received=f"transformation={transformation!r}",
                remedy="pass the result of optax.adamw(1e-3) or the like",
            )
        super().__init__(learning_rate=1.0, name=name, **options)
        self.transformation = transformation
        self._slots: list[keras.Variable] = []
        self._layout: Any = None
        self._has_own_rate = False

    @property
    def state(self) -> Any:
        """The transformation's state in optax's structure; None before the optimiser is built."""
        if self._layout is None:
            return None
        leaves = [
            slot.value if key is None else jax.random.wrap_key_data(slot.value, impl=key)
            for slot, key in zip(self._slots, self._keys, strict=True)
        ]
        return jax.tree.unflatten(self._layout, leaves)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create a variable for each array of the transformation's initial state."""
        if self.built:
            return
        super().build(variables)
        self._names = _unique_names(variables)
        state = self.transformation.init(self._parameters())
        found, self._layout = jax.tree.flatten_with_path(state)
        self._keys = [_key_type(leaf) for _, leaf in found]
        self._slots = [self._slot(jax.tree_util.keystr(path), leaf) for path, leaf in found]
        rates = [slot for (path, _), slot in zip(found, self._slots, strict=True) if _is_rate(path, found)]
        if len(rates) == 1:
            self._untrack_variable(self._learning_rate)
            self._learning_rate, self._has_own_rate = rates[0], True

    def _slot(self, name: str, leaf: Any) -> keras.Variable:
        value = jnp.asarray(_stored(leaf))
        slot = self.add_variable(value.shape, "zeros", value.dtype.name, name=name.replace("/", "_"))
        slot.assign(value)
        return slot

    def _parameters(self) -> dict[str, jax.Array]:
        return {
            name: variable.value
            for name, variable in zip(self._names, self._trainable_variables, strict=True)
        }

    def _backend_update_step(
        self, grads: Sequence[jax.Array], trainable_variables: Sequence[keras.Variable], learning_rate: Any
    ) -> None:
        # Keras leaves out variables without a gradient; optax needs the whole tree. They do not change.
        given = {
            id(variable): gradient for variable, gradient in zip(trainable_variables, grads, strict=True)
        }
        parameters, known = self._parameters(), self._trainable_variables
        gradients = {
            name: given.get(id(variable), jnp.zeros_like(parameters[name]))
            for name, variable in zip(self._names, known, strict=True)
        }
        updates, state = self.transformation.update(gradients, self.state, parameters)
        if not self._has_own_rate:
            updates = jax.tree.map(lambda update: update * jnp.asarray(learning_rate, update.dtype), updates)
        changed: Any = optax.apply_updates(parameters, updates)
        for slot, leaf in zip(self._slots, jax.tree.leaves(state), strict=True):
            slot.assign(_stored(leaf))
        for name, variable in zip(self._names, known, strict=True):
            if id(variable) in given:
                variable.assign(changed[name])

    def get_config(self) -> dict[str, Any]:
        """Keras's options; the transformation itself cannot be saved."""
        config = super().get_config()
        del config["learning_rate"], config["weight_decay"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "OptaxOptimizer":
        """Always raises :class:`~kilter.errors.ModelError`: see the class."""
        raise ModelError(
            expected="an optimiser that can be read from a file",
            received=f"OptaxOptimizer {config.get('name')!r}, with a transformation made of functions",
            remedy="load the model with compile=False, then compile it with a new optimiser",
        )


def _unique_names(variables: Sequence[keras.Variable]) -> list[str]:
    names: list[str] = []
    for index, variable in enumerate(variables):
        names.append(variable.path if variable.path not in names else f"{variable.path}#{index}")
    return names


def _is_rate(path: Any, found: Sequence[tuple[Any, Any]]) -> bool:
    """Whether the leaf at ``path`` is an injected learning rate without a schedule of optax."""
    if len(path) < 2 or str(path[-2]) != ".hyperparams" or str(path[-1]) != "['learning_rate']":
        return False
    schedule = (*map(str, path[:-2]), ".hyperparams_states", "['learning_rate']")
    return not any(tuple(map(str, other[: len(schedule)])) == schedule for other, _ in found)


def _key_type(leaf: Any) -> Any:
    return jax.random.key_impl(leaf) if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key) else None


def _stored(leaf: Any) -> Any:
    # A Keras variable cannot hold a typed random key, only its bits.
    return leaf if _key_type(leaf) is None else jax.random.key_data(leaf)
