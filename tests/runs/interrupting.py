"""Ctrl-C at a moment of our choice."""

import os
import signal
from typing import Any

import keras


class InterruptIn(keras.callbacks.Callback):
    """Presses Ctrl-C when an epoch begins."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGINT)
