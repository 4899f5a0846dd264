"""Signals that come while the command line loads, or where Python drops what a handler raises."""

import signal
import subprocess
import sys

import pytest

# A command in which the garbage collector is busy, as it is while JAX traces, and signals come within it.
BUSY = """
import gc, signal, sys, time
import kilter._cli.listing as listing
from kilter.__main__ import main

def runs(asked, progress):
    signals = [{number}]
    gc.callbacks.append(lambda *_: signals and signal.raise_signal(signals.pop()))
    for _ in range(500):
        gc.collect()
        time.sleep(0.01)

listing.runs = runs
sys.argv = ["kilter", "runs"]
main()
"""
LOADING = """
import builtins, signal, sys
from kilter.__main__ import main

load = builtins.__import__
def slow(name, *rest):
    if name == "typer":
        signal.raise_signal(signal.SIGINT)
    return load(name, *rest)

builtins.__import__ = slow
main()
"""

# A signal within the initialisation of a compiled module, which wraps what a handler raises or crashes.
COMPILED = """
import builtins, signal, sys
from kilter.__main__ import main

load = builtins.__import__
def slow(name, *rest, **more):
    if name == "jax":
        try:
            signal.raise_signal({number})
        except BaseException as error:
            raise ImportError("Encountered an error while initializing the extension.") from error
    return load(name, *rest, **more)

builtins.__import__ = slow
sys.argv = ["kilter", "train", "digits"]
main()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "program", [COMPILED, BUSY], ids=["while compiled modules load", "within the garbage collector"]
)
def test_a_signal_ends_the_command_at_once(program, name):
    number = int(getattr(signal, name))
    ended = _run(program.replace("{number}", str(number)))
    assert ended.returncode == 128 + number
    assert "Traceback" not in ended.stderr
    assert program == BUSY or "Error" not in ended.stderr


def test_ctrl_c_while_the_command_line_loads_is_no_error():
    ended = _run(LOADING)
    assert (ended.returncode, ended.stderr) == (130, "")


def _run(code):
    words = [sys.executable, "-c", code]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
