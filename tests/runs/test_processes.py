"""Two processes train one model as one process does; if one is lost, the other ends and the run goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kilter._engine.processes import together
from kilter.errors import OptionError

CLOSE = 1e-5
RECIPE = """name = "two"
[data]
source = "digits"
standardize = false
[model]
builder = "mlp"
hidden = [8]
dropout = 0.2
[optimizer]
learning_rate = 0.01
[train]
epochs = 3
batch_size = 256
"""
ENVIRONMENT = os.environ | {
    "KERAS_BACKEND": "jax",
    "KILTER_CACHE": "off",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
}
MAIN = [sys.executable, "-c", "from kilter._cli.main import main; main()"]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*MAIN, *arguments], cwd=folder, env=ENVIRONMENT, **pipes)


def started(folder: Path, *arguments: str) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    how = ["--coordinator", address, "--processes", "2", "--rank"]
    return [start(folder, *arguments, *how, str(rank)) for rank in (0, 1)]


def done(process: subprocess.Popen[str], seconds: float = 300) -> str:
    said, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, said
    return said


def losses(folder: Path) -> list[float]:
    (history,) = folder.glob("*/history.jsonl")
    lines = [json.loads(line)["logs"] for line in history.read_text().splitlines()]
    return [value for line in lines for name, value in line.items() if "loss" in name]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


@pytest.mark.long
def test_two_processes_are_as_one(folder):
    both = started(folder, "train", "recipe.toml", "--runs", "two")
    one = start(folder, "train", "recipe.toml", "--runs", "one")
    said = [done(process) for process in (*both, one)]
    assert losses(folder / "two") == pytest.approx(losses(folder / "one"), rel=CLOSE)
    assert len(list(folder.glob("two/*"))) == 1  # process 0 alone writes
    assert "report:" in said[0]
    assert "report:" not in said[1]


@pytest.mark.long
@pytest.mark.parametrize("killed", [0, 1])
def test_one_is_killed(folder, killed):
    both = started(folder, "train", "recipe.toml", "--runs", "two", "--epochs", "100000")
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        history = list(folder.glob("two/*/history.jsonl"))
        if history and len(history[0].read_text().splitlines()) > 20:
            break
        time.sleep(0.2)
    both[killed].send_signal(signal.SIGKILL)
    left = both[1 - killed]
    said, _ = left.communicate(timeout=30)
    both[killed].communicate()
    assert left.returncode != 0
    if killed == 1:
        assert "another process that is gone" in said
        assert "Traceback" not in said
    (run,) = folder.glob("two/*")
    assert not list(run.rglob("*.unfinished"))
    epochs = len((run / "history.jsonl").read_text().splitlines())
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 100000", f"epochs = {epochs + 2}"))
    done(start(folder, "resume", str(run)))  # with one process fewer
    assert json.loads((run / "result.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    "given",
    [
        ("host:1", None, None),
        ("host:1", 2, 2),
        ("host", 2, 0),
        ("host:port", 2, 0),
        (None, 2, 0),
        ("auto", 2, None),
    ],
)
def test_options_that_do_not_fit(given):
    with pytest.raises(OptionError, match="coordinator"), together(*given):
        pass
