"""History and checkpoint of a resumed run: one cut, no epoch trained twice, no hole; and it is said."""

import json
import shutil
import warnings

import numpy as np
import pytest

from kilter.errors import RunError, RunWarning
from kilter.runs import Interrupted, checkpoints, create_run, open_run, reopen_run, resume, train
from kilter.runs.checksums import replacing, require_unchanged
from kilter.runs.consistency import newest_cut, restore_history
from kilter.runs.reading import read_history
from kilter.runs.records import EpochRecord

from .interrupting import InterruptIn

LINES = [EpochRecord(epoch, {"loss": 1.0 / (1 + epoch)}, seconds=1.0).to_json() for epoch in range(5)]


def _text(lines):
    return "".join(f"{line}\n" for line in lines)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run of five epochs, killed with checkpoints after the third and the fourth."""
    with create_run(tmp_path_factory.mktemp("runs"), "killed", recipe_text="") as run:
        for epoch, line in enumerate(LINES):
            run.record_epoch(EpochRecord.from_json(line))
            if epoch in (2, 3):
                history = {checkpoints.HISTORY: LINES[: epoch + 1]}
                checkpoints.save(run.path, epoch, {"a": [np.full(3, epoch)]}, history)
    return run.path


def _cut(path):
    """What a resume starts from: the checkpoint's epoch and the lines of history.jsonl."""
    with reopen_run(path) as run:
        checkpoint = newest_cut(path)
        history = restore_history(run, checkpoint)
    assert (path / "history.jsonl").read_text() == _text(history)
    return None if checkpoint is None else checkpoint.epoch, list(history)


# The content of history.jsonl, and what is to be said.
HISTORIES = {
    "as it was": (_text(LINES), ["1 epoch after"]),
    "as far as the checkpoint": (_text(LINES[:4]), []),
    "torn after the checkpoint": (_text(LINES)[:-30], []),
    "torn before the checkpoint": (_text(LINES[:4])[:-30], ["lacked 1 of 4"]),
    "with the line breaks of Windows": (_text(LINES).replace("\n", "\r\n"), ["1 epoch after"]),
    "shorter": (_text(LINES[:2]), ["lacked 2 of 4"]),
    "emptied": ("", ["lacked 4 of 4"]),
    "lost": (None, ["lacked 4 of 4"]),
    "with a hole": (_text([LINES[0], *LINES[2:]]), ["1 epoch after", "lacked 1 of 4"]),
    "with a line twice": (_text([*LINES[:2], *LINES[1:]]), ["1 epoch after"]),
    "with a damaged line that is trained again": (_text([*LINES[:4], LINES[4][:-9] + "\0"]), []),
}


@pytest.mark.parametrize("case", HISTORIES)
def test_the_history_ends_where_the_checkpoint_does(case, killed, tmp_path):
    content, wanted = HISTORIES[case]
    path = shutil.copytree(killed, tmp_path / "run")
    (path / "history.jsonl").unlink()
    if content is not None:
        (path / "history.jsonl").write_text(content, newline="")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert _cut(path) == (3, LINES[:4])
    assert [one.category for one in said] == [RunWarning] * len(wanted)
    noted = open_run(path).journal
    assert len(noted) == len(wanted)
    for text, found in zip(wanted, noted, strict=True):
        assert text in found


def _no_json(line):
    return line[:-40] + "\0" + line[-39:]


def _another_number(line):
    return line.replace("1.0", "1.5", 1)


@pytest.mark.parametrize("changed", [0, 3])
@pytest.mark.parametrize("bad", [_no_json, _another_number])
@pytest.mark.parametrize("remedy", ["the line removed", "the file removed"])
def test_the_remedies_for_a_changed_line_lead_to_the_same_cut(changed, bad, remedy, killed, tmp_path):
    path = shutil.copytree(killed, tmp_path / "run")
    lines = [bad(line) if number == changed else line for number, line in enumerate(LINES)]
    assert lines != LINES
    (path / "history.jsonl").write_text(_text(lines))
    with pytest.raises(RunError, match=f"line {changed + 1}.*remove that line, or the file"):
        _cut(path)
    del lines[changed]
    if remedy == "the line removed":
        (path / "history.jsonl").write_text(_text(lines))
    else:
        (path / "history.jsonl").unlink()
    with pytest.warns(RunWarning, match="restored"):
        assert _cut(path) == (3, LINES[:4])


def test_a_damaged_checkpoint_takes_the_history_back_with_it(killed, tmp_path):
    path = shutil.copytree(killed, tmp_path / "run")
    shutil.rmtree(path / "checkpoints" / "epoch-000003" / "state")
    with pytest.warns(RunWarning, match="epoch-000003 is damaged"):
        assert _cut(path) == (2, LINES[:3])
    (noted,) = open_run(path).journal
    assert "epoch-000003 is damaged" in noted


def test_lost_checkpoints_end_the_resume_until_it_is_asked_to_begin_again(killed, tmp_path):
    path = shutil.copytree(killed, tmp_path / "run")
    shutil.rmtree(path / "checkpoints")
    with pytest.raises(RunError, match=r"not copied with the run.*empty folder"):
        _cut(path)
    assert (path / "history.jsonl").read_text() == _text(LINES), "nothing is lost"
    (path / "checkpoints").mkdir()
    with pytest.warns(RunWarning, match="first epoch"):
        assert _cut(path) == (None, [])


@pytest.mark.parametrize(("lines", "epoch"), [(LINES, 3), (LINES[:4], 3), (LINES[:3], 2)])
def test_of_version_0_1_0_the_newest_that_the_history_reaches_is_used(lines, epoch, killed, tmp_path):
    path = shutil.copytree(killed, tmp_path / "run")
    for folder in (path / "checkpoints").iterdir():
        (folder / "manifest.json").unlink()
        scalars = json.loads((folder / "scalars" / "metadata").read_text())
        (folder / "scalars" / "metadata").write_text(json.dumps({"epoch": scalars["epoch"], "score": 1.0}))
    (path / "history.jsonl").write_text(_text(lines))
    with pytest.warns(RunWarning) as said:
        assert _cut(path) == (epoch, LINES[: epoch + 1])
    assert "no checksums" in str(said[-1].message)
    (path / "history.jsonl").write_text(_text([LINES[0], *LINES[2:]]))
    with pytest.raises(RunError, match="has only 2 of the 3"):
        _cut(path)


@pytest.fixture(scope="module")
def stopped(recipe, tmp_path_factory):
    """A run that was stopped after two of its four epochs, with a checkpoint after each."""
    parent = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints.Throttle, "due", lambda self: True)
        with pytest.raises(Interrupted) as caught:
            train(recipe, parent=parent, callbacks=[InterruptIn(2)], verbose=0)
    return caught.value.path


def _tear_history(path):
    file = path / "history.jsonl"
    file.write_text(file.read_text()[:-30])


def _lose_history_and_cut_the_checkpoint(path):
    (path / "history.jsonl").unlink()
    newest = max((path / "checkpoints").iterdir())
    file = newest / "state" / "_METADATA"
    file.write_bytes(file.read_bytes()[:100])


@pytest.mark.parametrize("damage", [_tear_history, _lose_history_and_cut_the_checkpoint])
def test_a_resume_after_damage_ends_with_the_bits_of_an_undisturbed_run(damage, stopped, trained, tmp_path):
    path = shutil.copytree(stopped, tmp_path / "run")
    damage(path)
    with pytest.warns(RunWarning):
        resume(path, verbose=0)
    found, wanted = (checkpoints.latest(run) for run in (path, trained.path))
    assert found is not None
    assert wanted is not None
    for group in ("trainable", "non_trainable", "optimizer", "best"):
        assert [np.asarray(one).tobytes() for one in found.tree[group]] == [
            np.asarray(one).tobytes() for one in wanted.tree[group]
        ]
    assert [(line.epoch, line.logs) for line in read_history(path)] == [
        (line.epoch, line.logs) for line in read_history(trained.path)
    ]


def test_a_run_killed_before_data_json_was_written_is_resumed(stopped, tmp_path):
    """A checksum of a file that never was would stop it."""
    with create_run(tmp_path, "killed", recipe_text="") as run:
        with pytest.raises(ZeroDivisionError), replacing(run.path, "data.json", "0" * 64):
            raise ZeroDivisionError
        require_unchanged(run.path / "data.json")
    path = shutil.copytree(stopped, tmp_path / "run")
    (path / "data.json").unlink()
    sums = json.loads((path / "checksums.json").read_text())
    del sums["data.json"]
    (path / "checksums.json").write_text(json.dumps(sums))
    resume(path, verbose=0)
    assert (path / "data.json").exists()
