"""Progress: the stages that a call names, how displays show them, and when a time left appears."""

import doctest
import io
import re

import keras
import numpy as np
import pytest
from sklearn.datasets import make_blobs

import kilter
from kilter import _progress
from kilter._engine.epochs import EpochBar, EpochLines, EpochStages, epochs_on
from kilter._progress import SILENT, Later, Lines, Pace, UpdatingLine, display, shown
from kilter._treatment.remedies import REMEDIES
from kilter.errors import OptionError


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Listener:
    """Notes every stage it hears of."""

    def __init__(self):
        self.heard = []

    def stage(self, name, done=0, total=0, **details):
        self.heard.append((name, done, total, details))

    def names(self):
        return list(dict.fromkeys(name for name, *_ in self.heard))

    def counts(self, name):
        return [(done, total) for heard, done, total, _ in self.heard if heard == name]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


class NotebookStream(io.StringIO):
    """A stream as a Jupyter kernel gives it."""

    __module__ = "ipykernel.iostream"


def screen(text):
    """What stands on a terminal after ``text``: a carriage return goes back to the start of the line."""
    lines = []
    for line in text.split("\n"):
        row = ""
        for part in line.split("\r"):
            row = part + row[len(part) :]
        lines.append(row.rstrip())
    return lines


def network(x):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def rows(count=64):
    x = np.random.default_rng(0).normal(size=(count, 3)).astype("float32")
    return x, x.sum(axis=1)


def test_examples():
    found = doctest.testmod(_progress)
    assert found.attempted > 0
    assert found.failed == 0


# What a call says


@pytest.fixture(scope="module")
def treated():
    """The stages of a treatment of a network that does not learn: its weights are all zero."""
    x, y = make_blobs(600, centers=3, cluster_std=0.8, random_state=3)
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(8, "relu", kernel_initializer="zeros") for _ in range(2)]
    model = keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    listener = Listener()
    kilter.treat(
        model, ((x - x.mean(axis=0)) / x.std(axis=0)).astype("float32"), y, epochs=6, verbose=listener
    )
    return listener


def test_a_treatment_names_its_stages_in_order(treated):
    names = treated.names()
    expected = [
        "Diagnosing: checking the model and the data",
        "Diagnosing: compiling a forward and a backward pass",
        "Measuring the first steps: step",
        "Treating: preparing the remedies",
        "Treating: compiling a training step",
        "Trial",
        "Full training: epoch",
        "Proof: training",
        "Diagnosing the trained model",
    ]
    assert [name for name in names if name in expected] == expected


def test_counts_go_up_by_one_to_their_totals(treated):
    assert treated.counts("Measuring the first steps: step") == [(step, 64) for step in range(1, 65)]
    assert treated.counts("Proof: training") == [(run, 12) for run in range(1, 13)]
    assert treated.counts("Full training: epoch") == [(epoch, 6) for epoch in range(1, 7)]


def test_a_trial_names_its_remedies(treated):
    trials = [(done, details["detail"]) for name, done, _, details in treated.heard if name == "Trial"]
    numbers, tried = zip(*trials, strict=True)
    assert numbers == tuple(range(1, len(tried) + 1))
    assert tried
    assert all(set(one.split(" + ")) <= set(REMEDIES) for one in tried)


LONG_CALLS = {
    "diagnose": lambda model, x, y, verbose: kilter.diagnose(model, x, y, steps=4, verbose=verbose),
    "fit": lambda model, x, y, verbose: kilter.fit(model, x, y, epochs=2, verbose=verbose),
    "evaluate": lambda model, x, y, verbose: kilter.evaluate(model, x, y, verbose=verbose),
    "predict": lambda model, x, y, verbose: kilter.predict(model, x, verbose=verbose),
    "find_lr": lambda model, x, y, verbose: kilter.find_lr(model, x, y, batch_size=8, verbose=verbose),
    "clip_threshold": lambda model, x, y, verbose: kilter.clip_threshold(
        model, x, y, steps=20, batch_size=8, verbose=verbose
    ),
    "noise_scale": lambda model, x, y, verbose: kilter.gradient_noise_scale(
        model, x, y, batch_size=8, verbose=verbose
    ),
    "curvature": lambda model, x, y, verbose: kilter.largest_curvature(model, x, y, verbose=verbose),
}


@pytest.fixture(scope="module")
def trained_rows():
    x, y = rows()
    return network(x), x, y


@pytest.mark.parametrize("name", LONG_CALLS)
def test_every_long_call_tells_a_listener_and_prints_nothing_at_0(name, trained_rows, capsys):
    listener = Listener()
    LONG_CALLS[name](*trained_rows, listener)
    assert listener.heard
    capsys.readouterr()  # what an earlier call printed late is not this one's
    LONG_CALLS[name](*trained_rows, 0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", LONG_CALLS)
@pytest.mark.parametrize("verbose", [3, -1, "loud", None])
def test_a_verbosity_that_does_not_exist_is_refused(name, verbose, trained_rows):
    with pytest.raises(OptionError, match="verbose as 0, 1, 2"):
        LONG_CALLS[name](*trained_rows, verbose)


# How displays show it


def test_off_a_terminal_a_stage_has_one_line_and_a_long_one_a_line_every_ten_seconds():
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, clock=clock)
    for epoch in range(1, 31):
        lines.stage("Full training: epoch", epoch, 30)
        clock.now += 1
    lines.stage("Proof: training", 1, 12)
    assert stream.getvalue().splitlines() == [
        "Full training: epoch 1 of 30...",
        "Full training: epoch 11 of 30...",
        "Full training: epoch 21 of 30...",
        "Proof: training 1 of 12...",
    ]


@pytest.mark.parametrize("columns", [20, 40, 80, 120])
def test_the_updating_line_fits_and_leaves_no_remnant(columns):
    stream = Terminal()
    line = UpdatingLine(stream, kept=stream, columns=lambda: columns, clock=Clock())
    line.stage("Epoch", 12, 100, detail="batch 120 of 400, loss 0.2500  val_mae 0.1250", seconds_left=75.0)
    (wide,) = screen(stream.getvalue())
    assert wide.startswith("Epoch 12 of 100")
    assert len(wide) < columns
    assert not re.search(r"val_ma?$|los?$", wide)  # parts are left out whole
    line.stage("Short")
    assert screen(stream.getvalue()) == ["Short"]
    line.print("epoch 12/100  loss 0.2500")
    line.stage("Next")
    assert screen(stream.getvalue()) == ["epoch 12/100  loss 0.2500", "Next"]
    line.close()
    assert screen(stream.getvalue()) == ["epoch 12/100  loss 0.2500", ""]


def test_a_notebook_has_one_line_however_many_epochs():
    stream = NotebookStream()
    shown_to = display("auto", stream)
    callback = EpochLines(shown_to)
    played(callback, epochs=300)
    shown_to.close()
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert screen(text)[0].startswith("epoch 300/300  loss 0.2500")
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("verbose", "stream", "kind"),
    [
        (0, Terminal, type(SILENT)),
        (1, io.StringIO, UpdatingLine),
        (2, Terminal, Lines),
        ("auto", Terminal, UpdatingLine),
        ("auto", NotebookStream, UpdatingLine),
        ("auto", io.StringIO, Lines),
    ],
)
def test_the_display_fits_the_stream(verbose, stream, kind):
    assert isinstance(display(verbose, stream()), kind)


def test_a_quick_call_shows_nothing_and_a_long_one_the_stage_it_is_in():
    stream = io.StringIO()
    quick = Later(Lines(stream), 60)
    quick.stage("Predicting")
    quick.close()
    assert stream.getvalue() == ""
    slow = Later(Lines(stream), 0)
    while "Predicting" not in stream.getvalue():
        slow.stage("Predicting")
    slow.close()
    assert stream.getvalue() == "Predicting...\n"


def test_a_call_that_fails_leaves_the_line_clean(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)

    def call():
        with shown("auto") as listener:
            listener.stage("Compiling")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call()
    assert screen(stream.getvalue()) == [""]


# The time left


def test_no_time_is_left_before_a_step_is_timed():
    clock = Clock()
    pace = Pace(clock)
    assert pace.seconds_left(0, 10) is None
    pace.begin(0)
    assert pace.seconds_left(0, 10) is None
    clock.now = 2.0
    assert pace.seconds_left(1, 10) == pytest.approx(18.0)


def played(callback, epochs=3, steps=4, seconds=1.0, first=0.0, clock=None):
    """A callback called as the engine calls it: epochs of ``seconds``, the first of ``first`` more."""
    clock = Clock() if clock is None else clock
    callback.set_params({"epochs": epochs, "steps": steps})
    callback.on_train_begin()
    for epoch in range(epochs):
        callback.on_epoch_begin(epoch)
        clock.now += first if epoch == 0 else 0.0
        for batch in range(1, steps, 2):
            clock.now += seconds * 2 / steps
            callback.on_train_batch_end(batch, {"loss": np.float32(0.5)})
        callback.on_epoch_end(epoch, {"loss": np.float32(0.25), "val_loss": np.float64("nan")})
    callback.on_train_end()


def test_what_the_first_epoch_sets_up_is_not_extrapolated():
    clock, listener = Clock(), Listener()
    played(EpochStages(listener, clock=clock), epochs=5, first=100.0, clock=clock)
    left = [details["seconds_left"] for *_, details in listener.heard]
    assert left == [None, None, *map(pytest.approx, [3.0, 2.0, 1.0])]


def test_steps_timed_for_less_than_a_second_give_no_pace():
    clock = Clock()
    pace = Pace(clock)
    pace.begin(0)
    clock.now = 0.01  # as after the one step of a partial batch
    assert pace.seconds_left(1, 5000) is None


def test_the_bar_tells_the_time_left_within_the_first_epoch_after_its_first_chunk():
    clock, stream = Clock(), Terminal()
    line = UpdatingLine(stream, kept=stream, columns=lambda: 100, clock=lambda: float(len(stream.getvalue())))
    bar = epochs_on(line, clock=clock)
    assert isinstance(bar, EpochBar)
    played(bar, epochs=2, steps=4, seconds=4.0, first=100.0, clock=clock)
    seen = [part.strip() for part in stream.getvalue().split("\r") if "batch" in part]
    assert seen == [
        "Epoch 1 of 2: batch 2 of 4, loss 0.5000",
        "Epoch 1 of 2, 4.0 s left, 1 batches/s, batch 4 of 4, loss 0.5000",
        "Epoch 2 of 2, 2.0 s left, 1 batches/s, batch 2 of 4, loss 0.5000",
        "Epoch 2 of 2, 0 ms left, 1 batches/s, batch 4 of 4, loss 0.5000",
    ]


def test_compiling_is_not_timed_by_a_training():
    x, y = rows()
    listener, model = Listener(), network(x)
    callback = EpochStages(listener)
    kilter.fit(model, x, y, epochs=1, callbacks=[callback], verbose=0)
    seconds = model.__dict__["_kilter_programs"][1].seconds
    assert seconds > 0
    before = callback._clock()
    model.__dict__["_kilter_programs"][1].seconds += 1000.0  # as if another program had been compiled
    assert callback._clock() < before - 900
    assert listener.heard[0][3]["detail"] == "compiling"


def test_only_the_bar_asks_to_be_told_of_batches():
    # The engine runs an epoch in one call where nobody wants to hear of batches.
    assert "on_train_batch_end" not in vars(EpochLines) | vars(EpochStages)
    assert "on_train_batch_end" in vars(EpochBar)


def test_lines_of_epochs_off_a_terminal_have_no_control_character():
    stream = io.StringIO()
    played(EpochLines(Lines(stream, clock=Clock())), epochs=2)
    first, *lines = stream.getvalue().splitlines()
    assert first == "Epoch 1 of 2..."
    assert lines[1].startswith("epoch 2/2  loss 0.2500 (val nan)  ")
    assert all(line.isprintable() for line in lines)


def test_steps_that_are_not_known_beforehand():
    stream = Terminal()
    played(EpochBar(UpdatingLine(stream, kept=stream, columns=lambda: 80)), steps=4)
    callback = EpochBar(UpdatingLine(stream, kept=stream, columns=lambda: 80, clock=Clock()))
    callback.set_params({"epochs": 1, "steps": None})
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(7, {"loss": 0.5})
