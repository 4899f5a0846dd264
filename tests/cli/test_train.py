"""kilter train and resume: what reaches the job, what is printed, and how each ends."""

import errno
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from kilter._cli import training
from kilter.errors import RunWarning
from kilter.recipe import CnnSection, load_recipe
from kilter.runs import Interrupted


@pytest.fixture
def asked(monkeypatch):
    """The job replaced by one that notes what it was asked for, and ends as told."""
    calls = []

    def job(recipe, **options):
        calls.append((recipe, options))
        raise calls_end[0]

    calls_end = [KeyboardInterrupt()]
    monkeypatch.setattr(training.job, "train", job)
    job.calls, job.end = calls, lambda error: calls_end.__setitem__(0, error)
    return job


def test_options_and_settings_reach_the_recipe(kilter, asked, tmp_path):
    words = [
        "--set",
        "train.batch_size=7",
        "--set",
        "model.builder=cnn",
        "--epochs",
        3,
        "--seed",
        9,
        "--name",
        "12",
    ]
    kilter("train", "digits", *words, "--target", 'a "b"\n', "--runs", tmp_path)
    ((recipe, options),) = asked.calls
    assert (recipe.train.batch_size, recipe.train.epochs, recipe.seed) == (7, 3, 9)
    assert isinstance(recipe.model, CnnSection)
    assert (recipe.name, recipe.data.target) == ("12", 'a "b"\n')
    assert options["parent"] == tmp_path
    assert set(options) == {"allow_code", "parent", "verbose"}


def test_a_recipe_file_is_read(kilter, asked, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[data]\nsource = "digits"\n[model]\nbuilder = "mlp"\nhidden = [3]\n')
    kilter("train", path, "--epochs", 2)
    ((recipe, _),) = asked.calls
    assert (recipe.name, recipe.model.hidden, recipe.train.epochs) == ("mine", (3,), 2)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_says_how_to_go_on(kilter, asked, number, code):
    asked.end(Interrupted(Path("runs/x"), "Stopped after epoch 3. To go on: kilter resume runs/x", number))
    ended = kilter("train", "digits")
    assert ended.code == code
    assert ended.err == "Stopped after epoch 3. To go on: kilter resume runs/x\n"


def test_ctrl_c_before_the_run_began(kilter, asked):
    ended = kilter("train", "digits")
    assert (ended.code, ended.err) == (130, "Stopped.\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(kilter, asked, number):
    asked.end(OSError(number, os.strerror(number), "/full/file"))
    ended = kilter("train", "digits")
    assert ended.code == 2
    assert ended.err.splitlines()[0] == "Expected:   room on the disk"
    assert "/full/file" in ended.err


def test_a_fault_of_our_own_keeps_its_traceback(kilter, asked):
    asked.end(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        kilter("train", "digits")


CLASSES = ["class", "rows", "correct", "precision", "recall"]


def test_a_whole_run_and_what_is_printed(kilter, tmp_path):
    ended = kilter("train", "digits", "--epochs", 2, "--set", "model.hidden=[8]", "--runs", tmp_path)
    assert (ended.code, ended.err) == (0, "")
    (run,) = tmp_path.iterdir()
    lines = ended.out.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert lines[2].startswith("2 epochs in ")
    assert lines[3].startswith("validation: 180 rows  loss ")
    assert lines[-2:] == [f"run: {run}", f"report: {run / 'report.html'}"]
    (heading,) = [place for place, line in enumerate(lines) if line.split() == CLASSES]
    assert [line.split()[0] for line in lines[heading + 1 : -2]] == [str(digit) for digit in range(10)]
    assert all(line.isprintable() for line in lines)
    for name in ("recipe.toml", "model.keras", "history.jsonl", "result.json", "report.html"):
        assert (run / name).stat().st_size > 0


def test_the_recipe_in_the_run_directory_trains_the_same_again(kilter, digits_run, tmp_path):
    again = Path(kilter("train", digits_run / "recipe.toml", "--quiet", "--runs", tmp_path).out.strip())
    assert load_recipe(again / "recipe.toml") == load_recipe(digits_run / "recipe.toml")

    def logs(run):
        return [json.loads(line)["logs"] for line in (run / "history.jsonl").read_text().splitlines()]

    assert logs(again) == logs(digits_run)


def test_a_warning_about_a_run_is_one_line_on_stderr(kilter, monkeypatch, tmp_path):
    def job(path, **options):
        warnings.warn("epoch-000001 is damaged", RunWarning, stacklevel=1)
        raise KeyboardInterrupt

    monkeypatch.setattr(training.job, "resume", job)
    assert kilter("resume", tmp_path).err == "Warning: epoch-000001 is damaged.\nStopped.\n"


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_a_real_run_keeps_its_epochs_and_resume_goes_on(kilter, number, code, tmp_path):
    words = [
        "train",
        "digits",
        "--epochs",
        "100000",
        "--runs",
        str(tmp_path),
        "--set",
        "train.early_stopping=none",
    ]
    program = "from kilter._cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("epoch 1/100000")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    (run,) = tmp_path.iterdir()
    assert process.returncode == code
    assert len(err.splitlines()) == 1
    assert f"kilter resume {run}" in err
    assert kilter("evaluate", run).code == 0
    recipe = run / "recipe.toml"
    done = len((run / "history.jsonl").read_text().splitlines())
    assert (run / "checkpoints" / f"epoch-{done - 1:06d}").is_dir()
    recipe.write_text(recipe.read_text().replace("epochs = 100000", f"epochs = {done + 1}"))
    ended = kilter("resume", run)
    assert (ended.code, ended.err) == (0, "")
    assert f"{done + 1} epochs in " in ended.out
