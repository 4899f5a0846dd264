"""Checkpoints: the same bits come back, the last two and the best stay, a full disk costs nothing."""

import itertools
import json
import math
import shutil
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kilter.errors import RunError, RunWarning
from kilter.runs import checkpoints


def _tree(value=1.0):
    generator = np.random.default_rng(0)
    return {
        "trainable": [jnp.asarray(generator.normal(size=(7, 3)), jnp.float32) * value, jnp.float32(3.5)],
        "non_trainable": [jnp.asarray([3, 2**32 - 1], jnp.uint32), jnp.asarray(-5, jnp.int32)],
        "optimizer": [
            jnp.asarray([math.nan, -0.0, math.inf, 1e-45], jnp.float32),
            jnp.asarray(generator.normal(size=(33,)), jnp.bfloat16),
            jnp.asarray([1.0, 2.0], jnp.float16),
            jnp.asarray([True, False]),
        ],
        "best": [np.float32(1.5) * np.ones((2, 2), np.float32)],
        "empty": [],
    }


def _bits(tree):
    return jax.tree.map(
        lambda leaf: (np.asarray(leaf).dtype, np.shape(leaf), np.asarray(leaf).tobytes()), tree
    )


def _epochs(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_every_bit_comes_back(tmp_path):
    checkpoints.save(tmp_path, 4, _tree(), {"monitor": "val_loss", "value": 0.1 + 0.2})
    found = checkpoints.latest(tmp_path)
    assert found is not None
    assert found.epoch == 4
    assert found.scalars["value"] == 0.1 + 0.2
    assert _bits(found.tree) == _bits(_tree())


def test_the_last_two_and_the_best_stay(tmp_path):
    scores = [3.0, 1.0, math.nan, 2.0, 1.0, 5.0]
    for epoch, score in enumerate(scores):
        checkpoints.save(tmp_path, epoch, {"a": [np.ones(2)]}, {}, score=score)
    assert _epochs(tmp_path) == ["epoch-000001", "epoch-000004", "epoch-000005"]


def test_without_a_best_the_last_two_stay_and_the_first_of_equals(tmp_path):
    for epoch in range(4):
        checkpoints.save(tmp_path, epoch, {"a": [np.ones(2)]}, {})
    assert _epochs(tmp_path) == ["epoch-000000", "epoch-000002", "epoch-000003"]


def test_within_an_epoch_the_last_two_the_last_whole_and_the_best_stay(tmp_path):
    for epoch, step, score in ((0, None, 1.0), (1, None, 2.0), (2, 3, 0.0), (2, 7, 0.0), (2, 12, 0.0)):
        checkpoints.save(tmp_path, epoch, {"a": [np.ones(2)]}, {}, step=step, score=score)
    names = ["epoch-000000", "epoch-000001", "epoch-000002-step-00000007", "epoch-000002-step-00000012"]
    assert _epochs(tmp_path) == names
    found = checkpoints.latest(tmp_path)
    assert found is not None
    assert (found.epoch, found.step, found.finished) == (2, 12, 2)
    checkpoints.drop_newer(tmp_path, checkpoints.Checkpoint(2, {}, {}, step=7))
    assert _epochs(tmp_path) == names[:3]


def test_an_epoch_saved_again_is_replaced(tmp_path):
    checkpoints.save(tmp_path, 0, _tree(1.0), {})
    checkpoints.save(tmp_path, 0, _tree(2.0), {})
    found = checkpoints.latest(tmp_path)
    assert found is not None
    assert _bits(found.tree) == _bits(_tree(2.0))


def _flip(path, other):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


DAMAGE = {
    "flipped": _flip,
    "cut": lambda path, other: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "removed": lambda path, other: path.unlink(),
    "of the other epoch": lambda path, other: path.write_bytes(other.read_bytes()),
    "a folder": lambda path, other: (path.unlink(), path.mkdir()),
    "added": lambda path, other: path.with_name("added").write_bytes(b""),
}


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    for epoch in range(2):
        checkpoints.save(run, epoch, _tree(1.0 + epoch), {"epochs": epoch})
    return run


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", DAMAGE)
def test_no_damage_to_any_file_of_a_checkpoint_goes_unnoticed(damage, two_epochs, tmp_path):
    files = _files(two_epochs / "checkpoints" / "epoch-000001")
    others = itertools.cycle(_files(two_epochs / "checkpoints" / "epoch-000000"))
    assert len(files) > 10
    for number, (file, other) in enumerate(zip(files, others, strict=False)):
        if damage == "of the other epoch" and other.read_bytes() == file.read_bytes():
            continue
        run = tmp_path / str(number)
        shutil.copytree(two_epochs, run, ignore=shutil.ignore_patterns("epoch-000000"))
        DAMAGE[damage](run / file.relative_to(two_epochs), other)
        with pytest.raises(RunError, match=r"epoch-000001 is damaged: .*empty that folder"):
            checkpoints.latest(run)


@pytest.mark.parametrize("damage", ["flipped", "cut", "removed"])
def test_the_checkpoint_before_a_damaged_one_is_used_and_it_is_said(damage, two_epochs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(two_epochs, run)
    largest = max(
        _files(run / "checkpoints" / "epoch-000001" / "state"), key=lambda path: path.stat().st_size
    )
    DAMAGE[damage](largest, None)
    with pytest.warns(RunWarning, match=rf"{largest.name}.*epoch-000000"):
        found = checkpoints.latest(run)
    assert found is not None
    assert (found.epoch, len(found.passed_over)) == (0, 1)
    assert _bits(found.tree) == _bits(_tree())


def test_a_checkpoint_under_the_name_of_another_epoch_is_not_used(two_epochs, tmp_path):
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    (tmp_path / "checkpoints" / "epoch-000001").rename(tmp_path / "checkpoints" / "epoch-000007")
    with pytest.warns(RunWarning, match="it contains epoch 2"):
        found = checkpoints.latest(tmp_path)
    assert found is not None
    assert found.epoch == 0


def _as_of_version_0_1_0(folder):
    (folder / "manifest.json").unlink()
    scalars = folder / "scalars" / "metadata"
    content = json.loads(scalars.read_text())
    del content["format"]
    scalars.write_text(json.dumps(content))


def test_one_without_checksums_is_used_with_a_warning_unless_it_should_have_them(two_epochs, tmp_path):
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    _as_of_version_0_1_0(tmp_path / "checkpoints" / "epoch-000001")
    with pytest.warns(RunWarning, match="no checksums"):
        found = checkpoints.latest(tmp_path)
    assert found is not None
    assert (found.epoch, found.verified) == (1, False)
    assert _bits(found.tree) == _bits(_tree(2.0))
    shutil.rmtree(tmp_path / "checkpoints" / "epoch-000001" / "state")
    with pytest.warns(RunWarning, match="epoch-000001 is damaged"):
        found = checkpoints.latest(tmp_path)
    assert found is not None
    assert (found.epoch, found.verified) == (0, True)


def test_a_damaged_older_checkpoint_does_not_stop_the_next_save(two_epochs, tmp_path):
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "epoch-000000" / "scalars")
    for epoch in (2, 3):
        checkpoints.save(tmp_path, epoch, _tree(), {}, score=float(epoch))
    assert _epochs(tmp_path) == ["epoch-000002", "epoch-000003"]


def test_what_is_newer_than_the_epoch_gone_back_to_is_dropped(two_epochs, tmp_path):
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    checkpoints.drop_newer(tmp_path, checkpoints.Checkpoint(0, {}, {}))
    assert _epochs(tmp_path) == ["epoch-000000"]


def test_all_damaged_is_an_error_and_none_is_none(tmp_path):
    assert checkpoints.latest(tmp_path) is None
    (tmp_path / "checkpoints" / "epoch-000003").mkdir(parents=True)
    with pytest.raises(RunError, match="epoch-000003"):
        checkpoints.latest(tmp_path)


def test_what_a_crash_left_unfinished_is_not_read_and_swept_away(tmp_path):
    checkpoints.save(tmp_path, 0, _tree(), {})
    (tmp_path / "checkpoints" / ".unfinished").mkdir()
    (tmp_path / "checkpoints" / ".unfinished.orbax-checkpoint-tmp").mkdir()
    found = checkpoints.latest(tmp_path)
    assert found is not None
    assert found.epoch == 0
    checkpoints.save(tmp_path, 1, _tree(), {})
    assert _epochs(tmp_path) == ["epoch-000000", "epoch-000001"]


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from kilter.errors import RunError
from kilter.runs import checkpoints
run = Path(sys.argv[1])
big = np.random.default_rng(0).normal(size=20_000)
checkpoints.save(run, 0, {"a": [big]}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    checkpoints.save(run, 1, {"a": [big + 1]}, {})
except RunError as error:
    print(error.received[:60])
print(checkpoints.latest(run).epoch, sorted(path.name for path in (run / "checkpoints").iterdir()))
"""


def test_a_full_disk_keeps_the_older_checkpoint(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    said, left = done.stdout.splitlines()
    assert said.startswith("a full disk")
    assert left == "0 ['epoch-000000']"


@pytest.mark.parametrize(("total", "refused"), [(1 << 30, True), (0, False)])
def test_a_disk_without_room_is_refused_before_orbax_writes(total, refused, tmp_path, monkeypatch):
    disk = SimpleNamespace(total=total, free=1)
    monkeypatch.setattr("kilter.runs.checkpoints.shutil.disk_usage", lambda folder: disk)
    with pytest.raises(RunError, match="room on the disk") if refused else nullcontext():
        checkpoints.save(tmp_path, 0, _tree(), {})
    assert _epochs(tmp_path) == ([] if refused else ["epoch-000000"])


def test_the_throttle_keeps_saving_below_its_share(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    throttle = checkpoints.Throttle(share=0.05, interval=10.0)
    assert not throttle.due()
    saving = 0.0
    while now[0] < 1100.0:
        now[0] += 0.3  # an epoch
        if throttle.due():
            now[0] += 2.0  # a save
            saving += 2.0
            throttle.saved(2.0)
    assert 0.03 * 1000 < saving <= 0.05 * 1000
