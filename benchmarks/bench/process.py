"""One peer's process seen from the driver: it sleeps in a read until it is told to train one epoch."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from bench.machine import usable_cores
from bench.peers import Peer, python_of, settings_for
from bench.summary import Epoch
from bench.workloads import Workload

TICKS = os.sysconf("SC_CLK_TCK")


class PeerFailedError(RuntimeError):
    """A peer's process ended, or was silent for too long; the message ends with its log's last lines."""


class PeerProcess:
    """Starts a peer on a workload; :meth:`train_epoch` commands one epoch and waits for its figures.

    Both sides speak one JSON object a line over the process's stdin and stdout; what the peer's libraries
    print goes to ``log``. A peer that does not answer within ``patience`` seconds is ended. Use as a
    context manager.
    """

    def __init__(self, peer: Peer, workload: Workload, data: Path, scratch: Path, patience: float) -> None:
        self.peer = peer
        self.patience = patience
        self.log = scratch / f"{workload.name}-{peer.name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.compile_seconds: float | None = None
        self.peak_bytes = 0
        command = (python_of(peer), "-m", peer.module, "--workload", workload.to_json(), "--data", data)
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                (*map(str, command), *peer.arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=settings_for(peer, scratch),
                text=True,
            )

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def wait_ready(self) -> dict[str, str]:
        """Wait until data and model are in place; returns the versions of the libraries the peer runs on."""
        return self._answer()["versions"]

    def train_epoch(self) -> Epoch:
        """Command one epoch and wait for it; nothing else of ours computes meanwhile."""
        before = _busy_seconds(), _process_seconds(self._process.pid), time.perf_counter()
        self._say("epoch")
        answer = self._answer()
        after = _busy_seconds(), _process_seconds(self._process.pid), time.perf_counter()
        self.peak_bytes = answer["peak_bytes"]
        if self.compile_seconds is None:
            self.compile_seconds = answer["compile_seconds"]
        busy, own, elapsed = (b - a for a, b in zip(before, after, strict=True))
        # The counters tick 100 times a second, so a short epoch can come out a little below zero.
        others = max(0.0, busy - own) / (elapsed * usable_cores()) if after[0] else None
        return Epoch(answer["seconds"], answer["loss"], answer["call_seconds"], others)

    def stop(self) -> None:
        """Ask the process to end, and end it where it does not; safe to call twice."""
        if self._process.poll() is None:
            with contextlib.suppress(PeerFailedError):  # it ended by itself just now
                self._say("stop")
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerFailedError(self._last_words("ended before it could be told what to do")) from None

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        alarm = threading.Timer(self.patience, self._process.kill)
        alarm.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late = not alarm.is_alive()
            alarm.cancel()
        if not line:
            raise PeerFailedError(
                self._last_words(f"was silent for {self.patience:.0f} s" if late else "ended")
            )
        return json.loads(line)

    def _last_words(self, what: str) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"{self.peer.name} {what}: {' / '.join(lines[-3:]) or 'nothing in its log'}"


def _busy_seconds() -> float:
    """CPU seconds that anything has used since this machine started (0 where the system does not tell)."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0.0
    user, nice, system, _idle, _wait, interrupt, soft, steal = map(int, path.read_text().split()[1:9])
    return (user + nice + system + interrupt + soft + steal) / TICKS


def _process_seconds(pid: int) -> float:
    """CPU seconds of one process and all its threads (0 where the system does not tell)."""
    path = Path(f"/proc/{pid}/stat")
    if not path.exists():
        return 0.0
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
