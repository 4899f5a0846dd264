"""Two processes train one model as one process does; if one is lost, the other ends and the run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kilter._engine import joining
from kilter._engine.joining import together
from kilter.errors import OptionError

from .crashing import free_address

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
    how = ["--coordinator", free_address(), "--processes", "2", "--rank"]
    return [start(folder, *arguments, *how, str(rank)) for rank in (0, 1)]


def wait_for_epochs(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        history = list(folder.glob("two/*/history.jsonl"))
        if history and len(history[0].read_text().splitlines()) > count:
            return
        time.sleep(0.2)


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
    wait_for_epochs(folder, 20)
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


def test_the_first_does_not_wait_for_ever():
    """JAX would abort the process."""
    program = f"""
from kilter._engine import joining
joining._WAIT_SECONDS = 1
with joining.together("{free_address()}", 2, 0):
    pass
"""
    alone = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True)
    assert alone.returncode == 2
    assert "OptionError: Expected 2 processes" in alone.stderr
    assert "not all of them connected within 1 seconds" in alone.stderr


@pytest.fixture(scope="module")
def in_both(tmp_path_factory):
    """What each case of two_processes.py gave, in both processes."""
    folder, program = tmp_path_factory.mktemp("both"), Path(__file__).with_name("two_processes.py")
    command = [sys.executable, str(program), free_address()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([*command, str(rank), str(folder)], env=ENVIRONMENT, **pipes) for rank in (0, 1)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    lines = [[one for one in out.splitlines() if one.startswith('["')] for out, _ in said]  # beside Gloo's
    return [dict(map(json.loads, one)) for one in lines]


@pytest.mark.long
@pytest.mark.parametrize("case", ["same", "other weights", "a run", "a run resumed"])
def test_both_processes_have_the_same_numbers(case, in_both):
    one, other = (found[case] for found in in_both)
    assert one == other
    wanted = in_both[0]["three epochs" if case == "a run resumed" else "same"]
    assert one == wanted, "the weights are those of process 0"


@pytest.mark.long
@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("other rows", "the same rows"),
        ("other rows of validation", "validation_data"),
        ("another order", "batch size"),
        ("ModelParallel", "over 2 processes"),
    ],
)
def test_what_cannot_be_trained_by_several_is_refused_in_all(case, says, in_both):
    assert all(says in found[case] for found in in_both)


@pytest.mark.long
def test_process_0_alone_has_the_run(in_both):
    assert [found["runs"] for found in in_both] == [1, 0]


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("asked", [[1], [0, 1]])
def test_a_signal_stops_all_after_the_same_step(folder, number, asked):
    both = started(folder, "train", "recipe.toml", "--runs", "two", "--epochs", "100000")
    wait_for_epochs(folder, 3)
    for rank in asked:
        both[rank].send_signal(number)
    said = [process.communicate(timeout=30)[0] for process in both]
    assert [process.returncode for process in both] == [128 + number] * 2, said
    (run,) = folder.glob("two/*")
    ended = json.loads((run / "result.json").read_text())
    assert (ended["status"], ended["reason"]) == ("interrupted", "Ctrl-C" if number == 2 else "SIGTERM")
    stopped = [next(line for line in out.splitlines() if line.startswith("Stopped after")) for out in said]
    one, other = (line.partition(" To continue")[0] for line in stopped)
    assert one == other
    assert "process 0" in said[1]


@pytest.mark.parametrize(
    "given",
    [
        ("host:1", None, None),
        ("host:1", 2, 2),
        ("host", 2, 0),
        ("host:port", 2, 0),
        ("host:65536", 2, 0),
        (None, 2, 0),
        ("auto", 2, None),
    ],
)
def test_options_that_do_not_fit(given):
    with pytest.raises(OptionError, match="coordinator"), together(*given):
        pass


def test_process_0_that_cannot_be_reached_is_named(monkeypatch):
    monkeypatch.setattr(joining, "_TRIES", 1)
    monkeypatch.setattr(joining.time, "sleep", lambda seconds: None)
    address = free_address()
    with pytest.raises(OptionError, match=f"process 0 at {address}"), together(address, 2, 1):
        pass


@pytest.mark.long
def test_ctrl_c_ends_process_0_while_it_waits_for_the_others(folder):
    waiting = start(
        folder,
        *("train", "recipe.toml", "--coordinator", free_address(), "--processes", "2", "--rank", "0"),
    )
    assert waiting.stdout is not None
    while "Waiting for the other processes" not in waiting.stdout.readline():
        pass
    time.sleep(5)
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(timeout=30) == 130
