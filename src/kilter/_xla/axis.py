"""The geometry of a convolution along one dimension of space, shared by the convolution rules."""

from dataclasses import dataclass
from typing import Any

Parameters = dict[str, Any]


@dataclass(frozen=True)
class Axis:
    """One dimension of space: result t is the sum over the taps p of x(stride·t + apart·p - low) y(p).

    The images x have ``size`` places; with ``spread`` above 1 there are zeros between them.
    """

    size: int
    taps: int
    stride: int
    spread: int
    apart: int
    low: int
    high: int

    @property
    def results(self) -> int:
        """The number of results."""
        length = (self.size - 1) * self.spread + 1 + self.low + self.high
        return (length - (self.taps - 1) * self.apart - 1) // self.stride + 1


def axes_of(images: Any, kernel: Any, parameters: Parameters) -> list[Axis]:
    return [
        Axis(*numbers, *padding)
        for *numbers, padding in zip(
            images.shape[1:-1],
            kernel.shape[:-2],
            parameters["window_strides"],
            parameters["lhs_dilation"],
            parameters["rhs_dilation"],
            parameters["padding"],
            strict=True,
        )
    ]
