"""The command line called in this process, and one small trained run of each kind that the tests share."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kilter._cli.main import app


@dataclass(frozen=True)
class Ended:
    """How a call of the command line ended."""

    code: int
    out: str
    err: str  # without the progress
    progress: tuple[str, ...]


@pytest.fixture(scope="session")
def kilter():
    """Call the command line with words; a traceback fails the test, unless it is KeyboardInterrupt's."""

    def call(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        lines = result.stderr.splitlines(keepends=True)
        stages = [line for line in lines if line.endswith("...\n") and not line.startswith("Usage:")]
        err = "".join(line for line in lines if line not in stages)
        return Ended(result.exit_code, result.stdout, err, tuple(line.rstrip("\n") for line in stages))

    return call


@pytest.fixture(scope="session")
def digits_run(kilter, tmp_path_factory) -> Path:
    """A run on scikit-learn's digits: a classifier of images."""
    parent = tmp_path_factory.mktemp("digits")
    return trained(kilter, "digits", parent, "--epochs", 3, "--set", "model.hidden=[20]")


@pytest.fixture(scope="session")
def prices(tmp_path_factory) -> Path:
    """A table with a number, a category and a number to predict; the price is 1000·size + 5000 if red."""
    path = tmp_path_factory.mktemp("prices") / "prices.csv"
    rng = np.random.default_rng(0)
    sizes, reds = rng.uniform(10, 100, 200), rng.integers(0, 2, 200)
    rows = [
        f"{s:.3f},{'red' if r else 'blue'},{1000 * s + 5000 * r:.1f}"
        for s, r in zip(sizes, reds, strict=True)
    ]
    path.write_text("size,colour,price\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="session")
def prices_run(kilter, prices, tmp_path_factory) -> Path:
    """A run on the table of prices: a regression."""
    parent = tmp_path_factory.mktemp("prices-runs")
    return trained(kilter, prices, parent, "--target", "price", "--epochs", 40, "--set", "model.hidden=[20]")


def trained(kilter, source, parent, *options):
    ended = kilter("train", source, "--runs", parent, "--quiet", *options)
    assert (ended.code, ended.err) == (0, "")
    return Path(ended.out.strip())
