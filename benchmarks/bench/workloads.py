"""What is trained: the networks, batch sizes and rows that every peer gets alike, and their FLOPs."""

from __future__ import annotations

import dataclasses
import json

IMAGE_SHAPE = (32, 32, 3)
CLASSES = 10
INPUTS = 32 * 32 * 3
KERNEL = 3  # side of a convolution's window
LEARNING_RATE = 5e-5


@dataclasses.dataclass(frozen=True)
class Workload:
    """One network on one amount of data.

    ``filters`` not empty: images [rows, 32, 32, 3] go through blocks of 3×3 convolution, ELU and 2×2 max
    pooling before the dense layers; otherwise the input is the flattened image [rows, 3072]. ``batch_norm``
    puts batch normalisation before each activation and leaves the bias out. All kernels are He normal,
    activations ELU, the output 10 logits, the optimiser Nadam at 5e-5.
    """

    name: str
    title: str
    batch_size: int
    rows: int
    hidden: tuple[int, ...]
    filters: tuple[int, ...] = ()
    batch_norm: bool = False

    @property
    def data_bytes(self) -> int:
        """Bytes of one float32 copy of the input."""
        return self.rows * INPUTS * 4

    def to_json(self) -> str:
        """One line of JSON that :meth:`from_json` reads back to an equal record."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Workload:
        """Read what :meth:`to_json` wrote."""
        fields = json.loads(text)
        return cls(**fields | {"hidden": tuple(fields["hidden"]), "filters": tuple(fields["filters"])})


WORKLOADS = (
    Workload("mlp-32", "20×100 ELU network, batch 32", 32, 45_000, (100,) * 20),
    Workload("mlp-512", "20×100 ELU network, batch 512", 512, 45_000, (100,) * 20),
    Workload(
        "bn-32", "20×100 ELU network with batch normalisation, batch 32", 32, 45_000, (100,) * 20, (), True
    ),
    Workload("cnn-64", "small CNN: 32 and 64 filters, dense 100; batch 64", 64, 5_000, (100,), (32, 64)),
    Workload("wide-128", "wide network 3×2048, batch 128", 128, 5_000, (2048,) * 3),
)


def multiplications(workload: Workload) -> tuple[int, ...]:
    """Multiply-adds of the forward pass for one row, layer by layer, from the input to the logits.

    Dense: inputs × units. Convolution ('same' padding): 3 × 3 × channels × filters × height × width. Biases,
    activations, pooling and normalisation are not counted.

    Example:
        >>> sum(multiplications(WORKLOADS[0]))  # 3072×100 + 19×100×100 + 100×10
        498200
    """
    counts = []
    side, channels = IMAGE_SHAPE[0], IMAGE_SHAPE[2]
    for filters in workload.filters:
        counts.append(KERNEL * KERNEL * channels * filters * side * side)
        side, channels = side // 2, filters
    width = side * side * channels
    for units in (*workload.hidden, CLASSES):
        counts.append(width * units)
        width = units
    return tuple(counts)


def epoch_flops(workload: Workload) -> int:
    """Model FLOPs of an epoch by the usual count: 6 × multiply-adds of a row × rows.

    A multiply-add is 2 FLOPs; the backward pass costs twice the forward pass (one product for the weights'
    gradient, one for the input's). For dense layers multiply-adds are the weights. See
    :func:`needed_flops`.
    """
    return 6 * sum(multiplications(workload)) * workload.rows


def needed_flops(workload: Workload) -> int:
    """:func:`epoch_flops` without the gradient of the network's own input, which no peer needs to compute."""
    return epoch_flops(workload) - 2 * multiplications(workload)[0] * workload.rows
