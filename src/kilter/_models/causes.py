"""Frequent errors of Keras and JAX while a model is traced: what each one means and how to fix it."""

import difflib
import re
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras

from kilter.errors import DataError

# How Keras frames an error of a layer: the call, an inference of shapes, the text, the arguments.
_CALLING: Final = re.compile(
    r"Exception encountered when calling (\S+\.call\(\))\.\s+"
    r"(?:Could not automatically infer .*?Error encountered:\s+)?(.*?)\s+Arguments received by .*",
    re.DOTALL,
)
# The values of a variable, which hide the rest of a message.
_VALUES: Final = re.compile(r", value=\[.*?\](?=>)", re.DOTALL)
_BOLD: Final = re.compile("\x1b\\[[0-9;]*m")
OWN: Final = str(Path(__file__).parent.parent)
"""The folder of kilter's own code."""
LIBRARIES: Final = (*(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")), "<frozen")
"""How the paths of other libraries' code begin."""
# Keras cannot rebuild JAX's errors with a longer text: the chain ends with the error itself.
_WRAPPERS: Final = ("Unable to automatically build the model", "_error_repr")

CODE: Final = "code that can be traced: in layers, losses, metrics and steps"


@dataclass(frozen=True)
class Trouble:
    """An error while tracing ``model`` with ``batch``, a tuple (x, y, sample_weight) or None.

    Attributes:
        text: of all errors of the chain.
        place: the loss or metric in which it occurred, such as "metric 'precision'"; "" for neither.
        line: the deepest line of code outside libraries; "" if there is none.
    """

    text: str
    model: Any
    batch: Any
    place: str
    line: str

    @property
    def y(self) -> Any:
        """The targets."""
        return None if self.batch is None else self.batch[1]

    @property
    def weight_axes(self) -> int:
        """The number of axes of the weights; 0 if there are none."""
        return 0 if self.batch is None else len(getattr(self.batch[2], "shape", ()))

    @property
    def numbers_classes(self) -> bool:
        """Whether the targets are one array with one column, as class numbers are."""
        shape = getattr(self.y, "shape", None)
        return shape is not None and (len(shape) == 1 or shape[-1] == 1)


@dataclass(frozen=True)
class Cause:
    """``says``: a pattern of the text; ``remedy`` may use its groups.

    ``expected``, ``received``: instead of good data, and of their shapes; the latter may use the groups.
    """

    says: str
    remedy: str | Callable[[Trouble, re.Match[str]], str]
    when: Callable[[Trouble], bool] = lambda trouble: True
    expected: str = ""
    received: str = ""


def _near(name: str, names: list[str]) -> str:
    known = {one.lower(): one for one in (*names, "mse", "mae", "accuracy")}
    words = set(name.lower().split("_"))
    full = [one for one in known if len(words) > 1 and words <= set(one.split("_"))]
    found = [known[one] for one in full or difflib.get_close_matches(name.lower(), known, 1)]
    return f": did you mean {found[0]!r}? Or" if found else ", or"


def _named(module: Any, kind: str) -> Callable[[Trouble, re.Match[str]], str]:
    return lambda trouble, match: (
        f"use a name from keras.{module.__name__.rsplit('.', 1)[-1]}"
        f"{_near(match[1], dir(module))} pass the {kind} itself; a custom name needs "
        "keras.saving.register_keras_serializable"
    )


def _optimizer(trouble: Trouble, match: re.Match[str]) -> str:
    optimizer = trouble.model.optimizer
    own = {id(variable) for variable in trouble.model.variables}
    built = getattr(optimizer, "_trainable_variables", None) or []
    if built and all(id(variable) in own for variable in built):
        return "call model.compile again, as after every change of trainable: layers were frozen or unfrozen"
    return (
        "give each model its own optimizer: this one was built for another model, or before layers were added"
    )


def _classes(trouble: Trouble, match: re.Match[str]) -> str:
    loss = getattr(trouble.model, "loss", None)
    if "binary" in str(getattr(loss, "name", loss)).lower():
        return (
            "use sparse_categorical_crossentropy for class numbers, or give the model one output unit: "
            "binary_crossentropy compares y with the output, column by column"
        )
    return (
        "use sparse_categorical_crossentropy for class numbers, or make y one-hot with "
        "keras.utils.to_categorical"
    )


def _metric(trouble: Trouble, match: re.Match[str]) -> str:
    if trouble.numbers_classes:
        return (
            f"leave {trouble.place} out, or use one for class numbers such as SparseCategoricalAccuracy, "
            "or make y one-hot with keras.utils.to_categorical"
        )
    return f"compare the shapes of y and model.output_shape with what {trouble.place} takes"


def _axes(trouble: Trouble, match: re.Match[str]) -> str:
    shape = getattr(trouble.batch[0] if trouble.batch else None, "shape", ())
    if len(shape) == int(match[2]):  # x is right, so what a layer before this one returns is not
        hint = ": a recurrent layer before it needs return_sequences=True" if match[2] == "3" else ""
        return f"give layer {match[1]!r} {match[2]} axes, not {match[3]}, from the layer before it{hint}"
    axes = {
        "2": "(rows, features)",
        "3": "(rows, steps, features): add the missing axis with x[..., None]",
        "4": "(rows, height, width, channels): add the channels of grey images with x[..., None]",
        "5": "(rows, depth, height, width, channels)",
    }.get(match[2], f"{match[2]} axes")
    return f"give layer {match[1]!r} an array of {axes}"


def _outputs(trouble: Trouble, match: re.Match[str]) -> str:
    names = list(getattr(trouble.model, "output_names", None) or [])
    return (
        f"pass y as a list or dict with an array for each of the {len(names) or ''} outputs "
        f"({', '.join(names) or 'of call'})"
    )


def _output_names(trouble: Trouble, match: re.Match[str]) -> str:
    output = getattr(trouble.model, "output", None) if getattr(trouble.model, "outputs", None) else None
    known = sorted(output) if isinstance(output, dict) else getattr(trouble.model, "output_names", None) or []
    names = ", ".join(map(repr, known)) or "those of call"
    return f"in compile, name the outputs of the model: {names}"


def _inputs(trouble: Trouble, match: re.Match[str]) -> str:
    x = None if trouble.batch is None else trouble.batch[0]
    if isinstance(x, dict) and "y" in x:
        return "make each batch a tuple (x, y), not a dict with keys 'x' and 'y'"
    return "pass one array for each of the model's inputs, as a list or as a dict by name"


CAUSES: Final = (
    *(
        Cause(
            rf"Could not interpret {kind} identifier: (.*)",
            _named(module, kind),
            expected=f"a {kind} that Keras knows",
            received="{0}",
        )
        for kind, module in (("loss", keras.losses), ("metric", keras.metrics))
    ),
    Cause(
        r"Could not (?:locate|interpret|find)|register_keras_serializable|custom_objects",
        "decorate the class or function with @keras.saving.register_keras_serializable()",
    ),
    Cause(r"forgot to call `?super|super\(\)\.__init__", "call super().__init__() first", expected=CODE),
    Cause(
        r"`optimizer_variables` must be|Unknown variable: |optimizer was built|Invalid variable value in",
        _optimizer,
    ),
    Cause(
        r"\b(train|test|predict)_step\(\) (?:takes|missing)",
        "write {0}_step(self, state, data): on JAX a step is stateless, takes the state and returns it; see "
        "keras.io/guides/custom_train_step_in_jax",
        expected="a step as Keras calls it on JAX",
    ),
    Cause(
        r"(?:not enough|too many) values to unpack",
        "unpack data with keras.utils.unpack_x_y_sample_weight(data), as parts not given are left out; "
        "the state has four parts in train_step and three in test_step",
        expected=CODE,
    ),
    Cause(
        r"__array__\(\) was called on traced|has no attribute '?numpy|TracerArrayConversionError",
        "use keras.ops instead of NumPy on tensors",
        expected=CODE,
    ),
    Cause(
        r"boolean conversion of traced|[Tt]ruth value|as a Python `?bool",
        "use keras.ops.where or keras.ops.cond instead of `if`, `while`, `and` and `or` on tensors",
        expected=CODE,
    ),
    Cause(
        r"Abstract tracer value|traced array with shape|interpreted as an integer|ConcretizationTypeError",
        "leave tensors as they are: int(), float() and range() need numbers known before the data",
        expected=CODE,
    ),
    Cause(
        r"UnexpectedTracerError|[Ll]eaked tr|unexpected tracer",
        "keep no tensor in an attribute or list: use a variable (self.add_weight) and its assign()",
        expected=CODE,
    ),
    Cause(
        r"__jax_array__",
        "return tensors, not variables, from result() and other methods, and pass tensors to ops.where and "
        "functions of JAX: keras.ops.convert_to_tensor(self.count)",
        expected=CODE,
    ),
    Cause(
        r"Gradient only defined for scalar|must be scalar|loss .* scalar",
        'leave the reduction of the loss at "sum_over_batch_size", or return keras.ops.mean(loss)',
        expected="a loss that is one number",
    ),
    Cause(
        r"None is not a valid|NoneType",
        "pass y, which the compiled loss compares with the output; in batches: tuples (x, y)",
        when=lambda trouble: trouble.batch is not None and trouble.y is None,
        expected="targets y",
    ),
    Cause(
        r"None is not a valid",
        "return a tensor from the loss function, the metric or the layer: it returned None",
        expected="a loss that is one number",
    ),
    Cause(r"Invalid `(?:loss|metrics)|in the `(?:loss|metrics|weighted_metrics)", _output_names),
    Cause(r"have different structures|number of values in `(?:y_true|y_pred)`|same paths", _outputs),
    Cause(
        r"unexpected keyword argument|required positional argument|takes .* positional argument",
        "correct the signature: layers take call(self, inputs), losses (y_true, y_pred), metrics "
        "update_state(self, y_true, y_pred, sample_weight=None)",
        expected=CODE,
    ),
    Cause(r".", _metric, when=lambda trouble: trouble.place.startswith("metric") and not trouble.line),
    Cause(
        r"same shape up until the last dimension",
        "use categorical_crossentropy for one-hot rows, or make y class numbers with y.argmax(axis=-1)",
        when=lambda trouble: len(getattr(trouble.y, "shape", ())) == 2 and not trouble.numbers_classes,
    ),
    Cause(
        r"`target` and `output` must have the same (?:shape|rank)",
        _classes,
        when=lambda trouble: trouble.numbers_classes,
    ),
    Cause(r"of layer '(.*?)' is incompatible .* (?:min_|max_)?ndim=(\d+), found ndim=(\d+)", _axes),
    Cause(
        r"of layer '(.*?)' is incompatible with the layer: expected axis .* to have value (\d+)",
        "pass rows with {1} features to layer {0!r}, which is built for them, or rebuild the model",
    ),
    Cause(
        r"broadcast|rank",
        "give sample_weight one number a row, shape (rows,), or one for each value of the loss, such as "
        "(rows, steps) for sequences",
        when=lambda trouble: trouble.weight_axes > max(1, len(getattr(trouble.y, "shape", ()))),
        expected="weights that fit the loss of each row",
    ),
    Cause(r"expects \d+ (?:named )?input|[Mm]issing data for input|Expected \d+ inputs", _inputs),
    Cause(
        r"input .*is None|not optional",
        "pass an array for this input, or make it keras.Input(..., optional=True)",
    ),
    Cause(
        r"total size of the tensor must be unchanged",
        "give the Reshape layer a target_shape with as many values as a row has",
    ),
    Cause(
        r"`?Concatenate`? layer requires|Cannot concatenate|concatenate arrays with",
        "give the layer arrays that agree in all axes except the one it concatenates",
    ),
    Cause(r".", lambda trouble, _: f"correct {trouble.line}", lambda trouble: bool(trouble.line), CODE),
    Cause(
        r".",
        "give y the shape of the output, which the loss compares it with: {shapes}",
        when=lambda trouble: trouble.place.startswith("loss") or "y_pred" in trouble.text,
    ),
)


def explained(problem: Exception, model: Any, batch: Any) -> DataError:
    """A :class:`DataError` that begins with Keras's own text, with the cause and what to do."""
    chain = list(_chain(problem))
    trouble = Trouble(
        text="\n".join(f"{type(one).__name__}: {_text(one)}" for one in chain),
        model=model,
        batch=batch,
        place=next((place for one in chain if (place := _place(one))), ""),
        line=next((line for one in reversed(chain) if (line := _line(one))), ""),
    )
    said = next((text for one in chain if not any(word in (text := _text(one)) for word in _WRAPPERS)), "")
    expected, received, remedy = _advice(trouble)
    for where in filter(None, (trouble.place, trouble.line)):
        received += f", in {where}"
    kind = next((kind for base, kind in _KINDS.items() if isinstance(problem, base)), DataError)
    return kind(expected=expected, received=received, remedy=remedy, said=said or _text(problem))


def _advice(trouble: Trouble) -> tuple[str, str, str]:
    """What was expected, what was received, and what to do, by the first cause that applies."""
    name = trouble.model.name
    inputs_only = trouble.batch is None
    received = "inputs of other shapes" if inputs_only else f"shapes {_shapes(trouble.batch)}"
    wanted = (
        f"inputs that fit model {name!r}" if inputs_only else f"data that fit model {name!r} and its loss"
    )
    for cause in CAUSES:
        match = re.search(cause.says, trouble.text)
        if match is None or not cause.when(trouble):
            continue
        remedy = cause.remedy
        if isinstance(remedy, str):
            remedy = remedy.format(*match.groups(), shapes=getattr(trouble.model, "output_shape", "unknown"))
        else:
            remedy = remedy(trouble, match)
        return cause.expected or wanted, cause.received.format(*match.groups()) or received, remedy
    shapes = "x with model.input_shape"
    if not inputs_only:
        shapes = "x and y with model.input_shape, model.output_shape and the loss"
    return wanted, received, f"compare the shapes of {shapes}"


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__


def _text(error: BaseException) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    plain = _VALUES.sub("", _BOLD.sub("", str(text))).strip() or type(error).__name__
    framed = _CALLING.fullmatch(plain)  # what went wrong comes first, then where
    return f"{framed[2]}\n\nRaised in {framed[1]}." if framed else plain


def _place(error: BaseException) -> str:
    """The loss or metric with the method that raised the error."""
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.metrics.Metric) and not type(owner).__name__.startswith("Compile"):
            found = f"metric {owner.name!r}"
        elif isinstance(owner, keras.losses.Loss) and not type(owner).__name__.startswith("Compile"):
            found = f"loss {owner.name!r}"
    return found


def _line(error: BaseException) -> str:
    """The deepest line of the traceback in user code that a model calls."""
    found = ""
    entered = False
    for frame, number in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        if path.startswith((*LIBRARIES, OWN)):
            entered = True
        elif entered:  # not the script that called kilter
            found = f"{Path(path).name}, line {number}, in {frame.f_code.co_name}"
    return found


class _KerasDataError(DataError):
    """A :class:`DataError` that is also an error of the kind that Keras raised; a pickle is the plain one."""

    __str__ = Exception.__str__

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, _ = super().__reduce__()
        return type(rebuild)(DataError, **rebuild.keywords), ()


_KINDS: Final[dict[type[Exception], type[DataError]]] = {
    base: type("DataError", (_KerasDataError, base), {"__module__": DataError.__module__})
    for base in (KeyError, TypeError, RuntimeError)
}


def _shapes(batch: Any) -> str:
    def shapes(part: Any) -> Any:
        return keras.tree.map_structure(lambda leaf: None if leaf is None else tuple(leaf.shape), part)

    named = zip(("x", "y", "sample_weight"), batch, strict=False)
    return ", ".join(f"{name}={shapes(part)}" for name, part in named)
