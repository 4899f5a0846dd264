"""Checkpoints: the same bits come back, the last two and the best stay, a full disk costs nothing."""

import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kilter.errors import RunError
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


def test_an_epoch_saved_again_is_replaced(tmp_path):
    checkpoints.save(tmp_path, 0, _tree(1.0), {})
    checkpoints.save(tmp_path, 0, _tree(2.0), {})
    found = checkpoints.latest(tmp_path)
    assert found is not None
    assert _bits(found.tree) == _bits(_tree(2.0))


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    for epoch in range(2):
        checkpoints.save(tmp_path, epoch, _tree(), {})
    for path in (tmp_path / "checkpoints" / "epoch-000001").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    found = checkpoints.latest(tmp_path)
    assert found is not None
    assert found.epoch == 0


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


def test_the_throttle_keeps_saving_below_its_share(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    throttle = checkpoints.Throttle(share=0.05, patience=10.0)
    assert not throttle.due()
    saving = 0.0
    while now[0] < 1100.0:
        now[0] += 0.3  # an epoch
        if throttle.due():
            now[0] += 2.0  # a save
            saving += 2.0
            throttle.saved(2.0)
    assert 0.03 * 1000 < saving <= 0.05 * 1000
