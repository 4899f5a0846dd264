"""A workload as a PyTorch module with Keras's defaults where the two differ."""

from __future__ import annotations

import torch
from torch import nn

from bench.workloads import CLASSES, IMAGE_SHAPE, INPUTS, KERNEL, LEARNING_RATE, Workload

BATCH_NORM_MOMENTUM, BATCH_NORM_EPSILON = 0.01, 1e-3  # Keras's 0.99 and 1e-3


def module(workload: Workload) -> nn.Sequential:
    """The network; convolutions take images as [rows, 3, 32, 32]."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    side, channels = IMAGE_SHAPE[0], IMAGE_SHAPE[2]
    for filters in workload.filters:
        layers += [nn.Conv2d(channels, filters, KERNEL, padding="same"), nn.ELU(), nn.MaxPool2d(2)]
        side, channels = side // 2, filters
    width = side * side * channels if workload.filters else INPUTS
    if workload.filters:
        layers.append(nn.Flatten())
    for units in workload.hidden:
        layers.append(nn.Linear(width, units, bias=not workload.batch_norm))
        if workload.batch_norm:
            layers.append(nn.BatchNorm1d(units, momentum=BATCH_NORM_MOMENTUM, eps=BATCH_NORM_EPSILON))
        layers.append(nn.ELU())
        width = units
    layers.append(nn.Linear(width, CLASSES))
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """NAdam over all parameters at once (``foreach``), PyTorch's fastest form of it on a CPU."""
    return torch.optim.NAdam(network.parameters(), lr=LEARNING_RATE, eps=1e-7, foreach=True)


def tensors(x, y, workload: Workload) -> tuple[torch.Tensor, torch.Tensor]:
    """NumPy rows as tensors: no copy for flat rows, images moved to channels first; labels int64."""
    inputs = torch.from_numpy(x)
    if workload.filters:
        inputs = inputs.permute(0, 3, 1, 2).contiguous()
    return inputs, torch.from_numpy(y).long()
