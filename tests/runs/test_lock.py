"""One writer a run directory; a crash frees the lock, a living process does not."""

import json
import os
import socket
import subprocess
import sys

import pytest

from kilter.errors import RunError
from kilter.runs import lock

HOLD = """
import os, sys
from pathlib import Path
from kilter.runs import lock
held = lock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.readline()
os._exit(1)  # a crash: nothing is released in an orderly way
"""


@pytest.fixture
def other_process(tmp_path):
    """A process that holds the lock until it is told to crash."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_refused_until_the_holder_crashes(tmp_path, other_process):
    path = tmp_path / "lock"
    assert lock.held(path)
    with pytest.raises(RunError) as caught:
        lock.acquire(path)
    assert f"process {other_process.pid} on {socket.gethostname()}" in caught.value.received
    other_process.communicate("\n")
    assert path.exists(), "a crash leaves the file behind"
    assert not lock.held(path)
    mine = lock.acquire(path)
    assert json.loads(path.read_text())["pid"] == os.getpid()
    mine.release()


def test_a_second_lock_in_the_same_process_is_refused(tmp_path):
    first = lock.acquire(tmp_path / "lock")
    with pytest.raises(RunError, match=str(os.getpid())):
        lock.acquire(tmp_path / "lock")
    first.release()
    assert not (tmp_path / "lock").exists()
    lock.acquire(tmp_path / "lock").release()


def test_releasing_twice_does_not_take_away_the_next_holders_lock(tmp_path):
    first = lock.acquire(tmp_path / "lock")
    first.release()
    second = lock.acquire(tmp_path / "lock")
    first.release()
    assert lock.held(tmp_path / "lock")
    second.release()


def test_looking_does_not_make_a_file(tmp_path):
    assert not lock.held(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []


WITHOUT_POSIX = """
import os, signal, sys
for name in ("fcntl", "resource"):
    sys.modules[name] = None
for module, name in ((os, "fork"), (signal, "SIGHUP"), (os, "sched_getaffinity")):
    vars(module).pop(name, None)
from pathlib import Path
from kilter.runs import atomic, directory, environment, lock, reading, termination
path = Path(sys.argv[1]) / "lock"
mine = lock.acquire(path)
assert lock.held(path)
mine.release()
assert not lock.held(path)
environment.describe_environment(device="cpu", seed=0)
with termination.Termination() as ended:
    assert ended.name == "Ctrl-C"
"""


def test_a_system_without_posix_modules_can_keep_runs(tmp_path):
    subprocess.run([sys.executable, "-W", "ignore", "-c", WITHOUT_POSIX, str(tmp_path)], check=True)
