"""Plain PyTorch: the loop people write by hand, on tensors in memory, without a loader's overhead."""

from __future__ import annotations

import time

import torch
from torch.nn import functional

from peers.conversation import Conversation, load, options
from peers.torch_model import module, optimizer, tensors


def train_epoch(
    network: torch.nn.Module, update: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor, batch_size: int
) -> tuple[float, float]:
    """One shuffled pass with the last partial batch; mean loss and accuracy, as Keras reports them."""
    loss_sum, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
    for rows in torch.randperm(len(x)).split(batch_size):
        inputs, labels = x[rows], y[rows]
        logits = network(inputs)
        loss = functional.cross_entropy(logits, labels)
        update.zero_grad()
        loss.backward()
        update.step()
        loss_sum += loss.detach() * len(rows)
        correct += (logits.argmax(1) == labels).sum()
    return float(loss_sum) / len(x), int(correct) / len(x)


def main() -> None:
    """Serve epochs until told to stop."""
    talk, chosen = Conversation(), options()
    x, y = tensors(*load(chosen.workload, chosen.data), chosen.workload)
    network = module(chosen.workload)
    update = optimizer(network)
    talk.ready("torch", "numpy")
    while talk.epoch_wanted():
        begin = time.perf_counter()
        loss, _accuracy = train_epoch(network, update, x, y, chosen.workload.batch_size)
        talk.report(time.perf_counter() - begin, loss)


if __name__ == "__main__":
    main()
