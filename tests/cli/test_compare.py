"""kilter compare: what reaches the comparison, what is printed, and how it ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from kilter._compare import compare as comparing
from kilter._compare.comparison import Candidate, PairedRun, judge

RECIPE = """
[data]
source = "digits"
validation = 0.2
[model]
builder = "mlp"
hidden = [{units}]
[train]
epochs = 2
batch_size = 256
"""


@pytest.fixture
def folder(tmp_path):
    """Two recipes, in the order of their names."""
    (tmp_path / "recipes").mkdir()
    for name, units in (("b-wide", 16), ("a-narrow", 4)):
        (tmp_path / "recipes" / f"{name}.toml").write_text(RECIPE.format(units=units))
    return tmp_path / "recipes"


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The comparison replaced by one that notes what it was asked for, and gives two runs of each."""
    calls = []

    def compare(recipes, *, progress, verbose, **options):
        calls.append((recipes, options))
        runs = [
            tuple(PairedRun(seed, number + seed / 8, 0, 2.0, ({"val_accuracy": 0.5},), "") for seed in (0, 1))
            for number in range(len(recipes))
        ]
        candidates = [Candidate(name, own) for name, own in zip(recipes, runs, strict=True)]
        progress(comparing.Progress(1, 4, "a-narrow", "val_accuracy", runs[0][1], 30.0))
        return judge(candidates, "val_accuracy", level=0.05, path=tmp_path)

    monkeypatch.setattr(comparing, "compare", compare)
    return calls


def test_options_and_settings_reach_the_comparison(kilter, asked, folder, tmp_path):
    words = [
        "--pairs",
        9,
        "--metric",
        "val_loss",
        "--seed",
        4,
        "--out",
        tmp_path,
        "--workers",
        1,
        "--allow-code",
    ]
    kilter("compare", folder / "b-wide.toml", folder / "a-narrow.toml", *words, "--set", "train.epochs=5")
    ((recipes, options),) = asked
    assert list(recipes) == ["b-wide", "a-narrow"]
    assert [recipe.train.epochs for recipe in recipes.values()] == [5, 5]
    given = {"pairs": 9, "metric": "val_loss", "seed": 4, "out": tmp_path, "workers": 1, "ray": None}
    assert options == given | {"allow_code": True}


def test_a_folder_gives_its_recipes_in_order_and_names_are_told_apart(kilter, asked, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "b-wide.toml").write_text(RECIPE.format(units=3))
    kilter("compare", folder, other / "b-wide.toml")
    ((recipes, options),) = asked
    assert list(recipes) == ["a-narrow", "recipes-b-wide", "other-b-wide"]
    default = {"pairs": None, "metric": None, "seed": 0, "out": None, "workers": None, "ray": None}
    assert options == default | {"allow_code": False}


def test_what_is_printed(kilter, asked, folder, tmp_path):
    ended = kilter("compare", folder)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "2 recipes: a-narrow, b-wide",
        "run 1/4  a-narrow  seed 1  val_accuracy 0.125  2.0 s  about 30.0 s left",
        "",
        "candidate  val_accuracy  lowest  highest   time  better by      p  verdict",
        "a-narrow         0.0625       0    0.125  2.0 s                    baseline",
        "b-wide            1.062       1    1.125  2.0 s          1  0.500  too few pairs",
        "",
        "Too few pairs to tell whether b-wide and a-narrow differ: val_accuracy better by 1 on average "
        "(95% interval 1 to 1); p = 0.5.",
        "2 pairs cannot prove any difference at level 0.05: at least 6 are needed.",
        f"runs: {tmp_path}",
        f"report: {tmp_path / 'report.html'}",
    ]
    assert (tmp_path / "report.html").stat().st_size > 1e6


def test_a_warning_is_a_plain_line_before_the_first_run(kilter, monkeypatch, asked, folder):
    stub = comparing.compare

    def warning(recipes, **options):
        warnings.warn("2 pairs cannot prove anything", stacklevel=1)
        return stub(recipes, **options)

    monkeypatch.setattr(comparing, "compare", warning)
    lines = kilter("compare", folder).out.splitlines()
    assert lines[1] == "2 pairs cannot prove anything"
    assert lines[2].startswith("run 1/4")


def test_json_alone_is_on_stdout(kilter, asked, folder):
    ended = kilter("compare", folder, "--json")
    assert json.loads(ended.out)["differences"][0]["verdict"] == "too few pairs"
    assert "run 1/4" in ended.err


@pytest.mark.long
def test_ctrl_c_ends_the_workers_and_says_what_is_kept(folder, tmp_path):
    """As on a terminal: the signal goes to every process of the command's group."""
    process = started(folder, tmp_path / "out")
    printed = [process.stdout.readline() for _ in range(3)]
    assert printed[2].startswith("run 1/4"), process.stderr.read()
    workers = children(process.pid)
    assert workers
    os.killpg(process.pid, signal.SIGINT)
    rest, said = process.communicate(timeout=300)
    assert process.returncode == 130
    stopped = said.partition("\nStopped after ")[2]
    assert stopped, said
    assert "Traceback" not in rest + said
    assert not alive(workers)
    assert len(list((tmp_path / "out").glob("*/*/*/result.json"))) == int(stopped.split()[0])


@pytest.mark.long
def test_workers_end_with_the_process_that_started_them(folder, tmp_path):
    """Also when it is killed, and can do nothing about it."""
    process = started(folder, tmp_path / "out")
    assert [process.stdout.readline() for _ in range(3)][2].startswith("run 1/4"), process.stderr.read()
    workers = children(process.pid)
    assert alive(workers)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while alive(workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(workers)


@pytest.mark.long
def test_a_script_needs_no_guard_of_main(folder, tmp_path):
    """Workers do not run the script that compares."""
    script = tmp_path / "script.py"
    recipes = {path.stem: str(path) for path in folder.iterdir()}
    script.write_text(
        "import kilter\nprint('started')\n"
        f"kilter.compare({recipes}, pairs=2, workers=1, out='out', verbose=0)\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "started\n"
    assert (tmp_path / "out" / "comparison.json").is_file()


def started(folder, out):
    """The command, comparing by one worker, in a process group of its own."""
    code = "from kilter._cli.main import main; main()"
    words = ["compare", str(folder), "--pairs", "2", "--out", str(out), "--workers", "1"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def alive(processes):
    """Those that still run; one that nobody has waited for yet is a zombie, and does not."""
    states = {}
    for process in processes:
        with contextlib.suppress(FileNotFoundError):
            states[process] = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return [process for process, state in states.items() if state != "Z"]


def children(process):
    """The processes that this one has started."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if path.exists() and path.read_text().rpartition(")")[2].split()[1] == str(process)
    ]
