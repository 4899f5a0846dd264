"""PyTorch Lightning: its Trainer in one long fit that sleeps before each epoch until it is asked for."""

from __future__ import annotations

import time

import lightning
import torch
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from peers.conversation import Conversation, load, options
from peers.torch_model import module, optimizer, tensors


class Classifier(lightning.LightningModule):
    """The workload's network with loss and accuracy logged over the epoch, as Keras reports them."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: list[torch.Tensor], _index: int) -> torch.Tensor:
        """Cross-entropy from the logits."""
        inputs, labels = batch
        logits = self.network(inputs)
        loss = functional.cross_entropy(logits, labels)
        accuracy = (logits.argmax(1) == labels).float().mean()
        self.log_dict(
            {"loss": loss, "accuracy": accuracy}, on_step=False, on_epoch=True, batch_size=len(labels)
        )
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The same optimiser as plain PyTorch's."""
        return optimizer(self.network)


class EpochOnCommand(lightning.Callback):
    """Blocks at the start of an epoch until it is wanted, and reports at its end.

    A ``fit`` call an epoch would make a new optimiser each time, which nobody does.
    """

    def __init__(self, talk: Conversation) -> None:
        self.talk = talk
        self.begin = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, _module: lightning.LightningModule) -> None:
        """Sleep until the driver speaks; stop training where it says so."""
        if not self.talk.epoch_wanted():
            raise KeyboardInterrupt  # the Trainer's own way to end at once
        self.begin = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, _module: lightning.LightningModule) -> None:
        """Report the epoch."""
        self.talk.report(time.perf_counter() - self.begin, float(trainer.callback_metrics["loss"]))


def loader(x: torch.Tensor, y: torch.Tensor, batch_size: int) -> DataLoader:
    """Whole batches by index; the default collates row by row, several times slower on data in memory."""
    rows = TensorDataset(x, y)
    batches = BatchSampler(RandomSampler(rows), batch_size, drop_last=False)
    return DataLoader(rows, sampler=batches, batch_size=None)


def main() -> None:
    """Serve epochs until told to stop."""
    talk, chosen = Conversation(), options()
    x, y = tensors(*load(chosen.workload, chosen.data), chosen.workload)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[EpochOnCommand(talk)],
    )
    talk.ready("lightning", "torch", "numpy")
    trainer.fit(Classifier(module(chosen.workload)), loader(x, y, chosen.workload.batch_size))


if __name__ == "__main__":
    main()
