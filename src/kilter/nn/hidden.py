"""Options of hidden layers: defaults, checks, and combinations that contradict theory.

Imports neither Keras nor JAX, so that recipes are checked quickly.
"""

from typing import Any, Final

from kilter._validation import number, one_of
from kilter.errors import OptionError
from kilter.nn.options import (
    ACTIVATIONS,
    BATCH_NORM,
    BATCH_NORM_DEFAULTS,
    DEFAULTS,
    EACH_LAYER,
    INITIALIZERS,
    OWN_OPTIONS,
    PRELU_SLOPES,
    HiddenOptions,
    NetworkOptions,
    default_activation,
    default_initializer,
)
from kilter.nn.pairing import VarianceScaling

ALLOW: Final = "unchecked=True allows it"


def network_options(layers: int, **keywords: Any) -> NetworkOptions:
    """The options of each of ``layers`` hidden layers, from the keywords of :func:`hidden_options`.

    ``activation``, ``initializer`` and ``dropout`` may be sequences with one value per layer. Options of one
    activation (such as ``negative_slope``) go to the layers that have it.

    Example:
        >>> [one.dropout for one in network_options(2, dropout=(0.1, 0.5)).hidden]
        [0.1, 0.5]
    """
    each = {key: keywords.pop(key) for key in EACH_LAYER if isinstance(keywords.get(key), list | tuple)}
    for key, given in each.items():
        if len(given) != layers:
            raise OptionError(
                expected=f"one {key} for all, or one for each of the {layers} hidden layers",
                received=f"{len(given)} in {key}={list(given)!r}",
                remedy="count the convolutions first, then the dense layers; the output layer has none",
            )
    if not layers:
        return NetworkOptions(hidden_options(**keywords), ())
    rows = [dict(zip(each, row, strict=True)) for row in zip(*each.values(), strict=True)] or [{}] * layers
    default = default_activation(keywords.get("preset", "standard"))
    merged = [{"activation": None} | keywords | row for row in rows]
    merged = [one | {"activation": one["activation"] or default} for one in merged]
    names = {str(one["activation"]) for one in merged}
    hidden = tuple(hidden_options(**_without_others(one, names)) for one in merged)
    return NetworkOptions(hidden[0], hidden)


def _without_others(keywords: dict[str, Any], activations: set[str]) -> dict[str, Any]:
    """``keywords`` without options of ``activations`` that only other layers have."""
    others = activations - {keywords["activation"]}
    theirs = {key for key, owner in OWN_OPTIONS.items() if owner in others}
    return {key: value for key, value in keywords.items() if key not in theirs}


def hidden_options(*, unchecked: bool = False, **keywords: Any) -> HiddenOptions:
    """The checked options of a hidden layer; options that are missing or None get their default.

    ``unchecked`` allows combinations that contradict theory, for experiments: a slope of 1 or more, zeros or
    ones as initialiser, SELU outside the self-normalizing preset, and anything but its conditions inside.
    """
    given = {key: value for key, value in keywords.items() if value is not None}
    default = default_activation(given.get("preset", "standard"))
    activation = given.setdefault("activation", default)
    one_of("activation", activation, ACTIVATIONS)
    given.setdefault("initializer", default_initializer(activation))
    own = {key: DEFAULTS[key] for key, owner in OWN_OPTIONS.items() if owner == activation}
    norm = BATCH_NORM_DEFAULTS if given.get("batch_norm") else {}
    filled: dict[str, Any] = own | norm | given
    options = HiddenOptions(**filled)
    _check_ranges(options)
    if not unchecked:
        _check_theory(options)
        _check_self_normalization(options)
    return options


def _check_ranges(options: HiddenOptions) -> None:
    one_of("batch_norm", options.batch_norm, BATCH_NORM)
    if isinstance(options.initializer, VarianceScaling):
        number("the scale of an initializer", options.initializer.scale, above=0, remedy="usual is 1 or 2")
    else:
        one_of("initializer", options.initializer, INITIALIZERS)
    _check_own(options)
    for name in ("batch_norm_momentum", "batch_norm_epsilon"):
        if options.batch_norm is False and getattr(options, name) is not None:
            raise OptionError(
                expected=f"{name} with batch_norm only",
                received=f"{name}={getattr(options, name)} with batch_norm=False",
                remedy=f"use batch_norm='before', or leave {name} out",
            )
    for name, bounds, usual in _RANGES:
        value = getattr(options, name)
        if value is not None:
            number(name, value, **bounds, remedy=f"usual is {usual}")


_ABOVE_0: Final[dict[str, Any]] = {"above": 0}
_FROM_0: Final[dict[str, Any]] = {"low": 0}
_RANGES: Final[tuple[tuple[str, dict[str, Any], str], ...]] = (
    ("negative_slope", _FROM_0, "0.01 to 0.3"),
    ("elu_alpha", _ABOVE_0, "1"),
    ("batch_norm_momentum", {"above": 0, "below": 1}, "0.9 to 0.999"),
    ("batch_norm_epsilon", _ABOVE_0, "0.001"),
    ("dropout", {"low": 0, "below": 1}, "0.1 to 0.5"),
    ("l1", _FROM_0, "0 for none, 1e-4 for some"),
    ("l2", _FROM_0, "0 for none, 1e-4 for some"),
    ("max_norm", _ABOVE_0, "1 to 4"),
)


def _check_own(options: HiddenOptions) -> None:
    for name, owner in OWN_OPTIONS.items():
        value = getattr(options, name)
        if value is not None and options.activation != owner:
            raise OptionError(
                expected=f"{name} with {owner} only",
                received=f"{name}={value!r} with activation={options.activation!r}",
                remedy=f"leave {name} out, or use activation={owner!r}",
            )
    if options.prelu_slopes is not None:
        one_of("prelu_slopes", options.prelu_slopes, PRELU_SLOPES)


def _check_theory(options: HiddenOptions) -> None:
    if options.negative_slope is not None and options.negative_slope >= 1:
        raise OptionError(
            expected="a negative_slope from 0 to below 1: at 1 the layer is linear",
            received=f"negative_slope={options.negative_slope}",
            remedy=f"0.01 to 0.3 is usual; {ALLOW}",
        )
    if options.initializer in ("zeros", "ones"):
        raise OptionError(
            expected="a random initializer: equal units get equal gradients and stay equal",
            received=f"initializer={options.initializer!r}",
            remedy=f"use {default_initializer(options.activation)!r}; {ALLOW}",
        )
    if options.activation == "selu" and not options.self_normalizing:
        raise OptionError(
            expected="SELU in a self-normalizing network: with plain dropout or batch normalisation "
            "it has no advantage over ELU",
            received=f"activation='selu' with preset={options.preset!r}",
            remedy=f"use preset='self-normalizing', or activation='elu'; {ALLOW}",
        )


def _check_self_normalization(options: HiddenOptions) -> None:
    if not options.self_normalizing:
        return
    broken = [
        (options.activation != "selu", f"activation={options.activation!r}", "only SELU has the fixed point"),
        (
            options.initializer != "lecun_normal",
            f"initializer={options.initializer!r}",
            "the fixed point needs weights with variance 1/fan_in",
        ),
        (
            options.batch_norm is not False,
            f"batch_norm={options.batch_norm!r}",
            "it replaces the statistics that the network preserves by itself",
        ),
        (
            options.l1 > 0 or options.l2 > 0 or options.max_norm is not None,
            f"l1={options.l1}, l2={options.l2}, max_norm={options.max_norm}",
            "penalties and limits pull the weights away from variance 1/fan_in",
        ),
    ]
    faults = [(given, why) for is_broken, given, why in broken if is_broken]
    if faults:
        raise OptionError(
            expected="what self-normalisation needs (SELU, LeCun normal, no batch normalisation, no penalty "
            "or limit on the weights): " + "; ".join(why for _, why in faults),
            received=", ".join(given for given, _ in faults),
            remedy="leave these out (use alpha dropout to regularise), or use preset='standard'; " + ALLOW,
        )
