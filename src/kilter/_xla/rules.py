"""The registry of rules: which equations of a traced step are rewritten, and how.

One module per rule family; its docstring has a worked example, the measured gain and when to remove it. The
first rule that applies to an equation rewrites it; an equation without a rule stays as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from jax.extend import core

from kilter._xla import convolutions, dense, pooling, random_bits, reciprocals, sums
from kilter._xla.values import Pass, Stored, Value


@dataclass(frozen=True)
class Rule:
    """How to rewrite some equations.

    Attributes:
        primitives: names of the JAX primitives that it may rewrite.
        applies: whether it rewrites this equation, given how its operands are stored, and the pass.
        rewrite: the equation's result.
        stores: how that result is stored; the operands have no arrays yet.
    """

    primitives: frozenset[str]
    applies: Callable[[core.JaxprEqn, list[Value], Pass], bool]
    rewrite: Callable[[core.JaxprEqn, list[Value], Pass], Value]
    stores: Callable[[core.JaxprEqn, list[Value], Pass], Stored] = lambda *_: Stored()


def _rule(primitives: str | frozenset[str], *functions: Any) -> Rule:
    return Rule(frozenset([primitives]) if isinstance(primitives, str) else primitives, *functions)


RULES: Final[dict[str, Rule]] = {
    "product": _rule("dot_general", dense.is_plain_product, dense.product, dense.product_stored),
    "convolution": _rule("conv_general_dilated", lambda *_: True, convolutions.convolution),
    "max pooling": _rule("select_and_scatter_add", pooling.is_max_pooling, pooling.pooled_gradient),
    "broadcast": _rule("broadcast_in_dim", dense.is_vector_broadcast, dense.broadcast),
    "random bits": _rule("random_bits", random_bits.draws_threefry, random_bits.draw),
    "reciprocal": _rule(
        "div",
        reciprocals.divides_by_one_number,
        reciprocals.times_reciprocal,
        lambda _, values, passing: Stored(values[0].transposed),  # like the array
    ),
    "one-channel sum": _rule("reduce_sum", sums.sums_one_channel, sums.sum_apart),
    "sum of rows": _rule("reduce_sum", dense.is_sum_of_rows, dense.sum_of_rows),
    "transpose": _rule("transpose", dense.swaps_axes, dense.transpose, dense.turned),
    "elementwise": _rule(
        dense.ELEMENTWISE, dense.has_transposed_operand, dense.elementwise, lambda *_: Stored(True)
    ),
    "reduction": _rule(dense.REDUCTIONS, dense.has_transposed_operand, dense.reduction),
}
"""All rules by name, in the order in which they are tried."""


def rule_for(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Rule | None:
    """The rule that rewrites an equation; None if it stays as it is."""
    for rule in RULES.values():
        if equation.primitive.name in rule.primitives and rule.applies(equation, values, passing):
            return rule
    return None
