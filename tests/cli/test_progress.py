"""The bar and the lines, called as the engine calls them."""

import io

import numpy as np
import pytest
from rich.console import Console

from kilter.cli.progress import EpochBar, EpochLines, progress


class Stop(Exception):
    """Training that ends in mid-epoch, as by Ctrl-C; carries the console it wrote to."""


def told(terminal, epochs=2, steps=4, stop=None):
    """What is written when two epochs of four steps are trained, in chunks of two steps."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=140, legacy_windows=False)
    with progress(console) as shown:
        shown.set_params({"epochs": epochs, "steps": steps, "verbose": 0})
        shown.on_train_begin()
        for epoch in range(epochs):
            shown.on_epoch_begin(epoch)
            for batch in (1, 3):
                shown.on_train_batch_end(batch, {"loss": np.float32(0.5)})
                if stop == (epoch, batch):
                    raise Stop(console)
            shown.on_epoch_end(
                epoch, {"accuracy": 0.75, "loss": np.float32(0.25), "val_loss": np.float64("nan")}
            )
        shown.on_train_end()
    return console.file.getvalue()


def test_elsewhere_a_line_an_epoch_and_no_control_character():
    lines = told(terminal=False).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2  loss 0.2500  accuracy 0.7500  val_loss nan  ")
    assert all(line.isprintable() for line in lines)


def test_on_a_terminal_the_lines_and_a_bar_that_goes_away():
    text = told(terminal=True)
    assert text.count("loss 0.2500  accuracy 0.7500  val_loss nan") == 2
    assert "batches/s" in text
    assert "left" in text
    assert text.rstrip().endswith("\x1b[2K")  # the bar's line is wiped
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is shown again


def test_an_interrupted_bar_leaves_the_cursor_shown():
    with pytest.raises(Stop) as stopped:
        told(terminal=True, stop=(1, 1))
    text = stopped.value.args[0].file.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert text.count("loss 0.2500") == 1


def test_steps_that_are_not_known_beforehand():
    told(terminal=True, steps=None)


def test_only_the_bar_asks_to_be_told_of_batches():
    # The engine runs an epoch in one call where nobody wants to hear of batches.
    assert "on_train_batch_end" not in vars(EpochLines)
    assert "on_train_batch_end" in vars(EpochBar)


def test_a_metric_named_like_markup_is_printed_as_it_is(capsys):
    console = Console(file=io.StringIO(), force_terminal=False)
    with progress(console) as shown:
        shown.set_params({"epochs": 1})
        shown.on_epoch_begin(0)
        shown.on_epoch_end(0, {"[red]loss[/red]": 1.0})
    assert "[red]loss[/red] 1.0000" in console.file.getvalue()
