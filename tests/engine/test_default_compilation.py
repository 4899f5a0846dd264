"""What must hold bit for bit, once more with XLA's own settings; the other tests compile in a hurry."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = (
    "test_determinism.py::test_same_seeds_give_the_same_bits_with_dropout_and_shuffling",
    "test_feeds.py::test_a_file_gives_the_bits_of_an_array",
    "test_parity.py::test_weights_agree_with_keras[nadam-batch-normalization]",
)


@pytest.mark.long
def test_bits_and_parity_hold_as_users_compile():
    folder = Path(__file__).resolve().parent
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        *(str(folder / case) for case in CASES),
    ]
    environment = os.environ | {"XLA_FLAGS": ""}
    for name in [name for name in environment if name.startswith("PYTEST_XDIST")]:
        del environment[name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout[-4000:]
