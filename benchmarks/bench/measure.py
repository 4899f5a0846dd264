"""The measurement: all peers of a group live; one trains an epoch while the others sleep, in rounds."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.machine import available_memory
from bench.peers import REFERENCE, Peer, with_steps_per_execution
from bench.process import PeerFailedError, PeerProcess
from bench.summary import Epoch, Run
from bench.workloads import Workload

# A process that trains holds the framework and at most two copies of the data (its own and the device's);
# seen, not guessed: see the peak column of the results.
FRAMEWORK_BYTES = 800 * 2**20
COPIES = 2
MEMORY_SHARE = 0.85
PAUSE_SECONDS = 0.1  # lets the thread pools of the last peer fall asleep
PROBE_EPOCHS = 2


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to measure.

    ``rounds`` after the warm-up; ``probes`` are the ``steps_per_execution`` to try; ``patience`` the
    seconds of silence after which a peer is given up; ``data`` the folder of the rows; ``scratch`` takes
    logs and caches; ``say`` is told of each step.
    """

    rounds: int
    probes: tuple[int, ...]
    patience: float
    data: Path
    scratch: Path
    say: Callable[[str], None]

    def start(self, peer: Peer, workload: Workload) -> PeerProcess:
        """Start a peer's process on a workload."""
        return PeerProcess(peer, workload, self.data, self.scratch, self.patience)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What came of a workload: the runs, the probes' seconds an epoch, and who failed, with the reason."""

    runs: tuple[Run, ...]
    probes: dict[int, float]
    failures: dict[str, str]


def groups(peers: Sequence[Peer], at_once: int) -> list[list[Peer]]:
    """Split the peers into groups of at most ``at_once`` living processes, the reference in every one.

    Ratios are only taken inside a group, where both sides were interleaved. At least two live at once.
    """
    reference = [peer for peer in peers if peer.name == REFERENCE]
    others = [peer for peer in peers if peer.name != REFERENCE]
    room = max(1, at_once - len(reference))
    return [reference + others[begin : begin + room] for begin in range(0, len(others), room)] or [reference]


def measure(workload: Workload, peers: Sequence[Peer], plan: Plan) -> Measured:
    """Measure one workload with every peer; a peer that fails is named with its reason, the others go on."""
    probes: dict[int, float] = {}
    failures: dict[str, str] = {}
    ready = []
    for peer in peers:
        if peer.probes:
            probes = probe(workload, peer, plan)
            if not probes:
                failures[peer.name] = f"{peer.name}: no steps_per_execution could be measured"
                continue
            peer = with_steps_per_execution(peer, min(probes, key=lambda steps: probes[steps]))
        ready.append(peer)
    at_once = int(available_memory() * MEMORY_SHARE / (FRAMEWORK_BYTES + COPIES * workload.data_bytes))
    runs: list[Run] = []
    for number, group in enumerate(groups(ready, at_once)):
        found, failed = run_group(workload, group, number, plan)
        runs += found
        failures |= failed
    return Measured(tuple(runs), probes, failures)


def probe(workload: Workload, peer: Peer, plan: Plan) -> dict[int, float]:
    """Seconds an epoch (best of two) for each ``steps_per_execution`` of the plan, a process each.

    A value whose process fails or is too slow to compile is left out and said.
    """
    found = {}
    for steps in plan.probes:
        candidate = with_steps_per_execution(peer, steps)
        try:
            with plan.start(candidate, workload) as process:
                process.wait_ready()
                process.train_epoch()
                found[steps] = min(process.train_epoch().seconds for _ in range(PROBE_EPOCHS))
            plan.say(f"  {peer.name} with steps_per_execution={steps}: {found[steps]:.2f} s")
        except PeerFailedError as error:
            plan.say(f"  {peer.name} with steps_per_execution={steps}: {error}")
    return found


def run_group(
    workload: Workload, peers: Sequence[Peer], number: int, plan: Plan
) -> tuple[list[Run], dict[str, str]]:
    """Start and warm up the peers one after another, then command A B C, A B C, … for the plan's rounds.

    In its turn a peer trains two epochs, and the second is measured.

    Returns the runs, and the reason for each peer that failed; one that fails half-way has no figures.
    """
    failures: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        alive: dict[str, _Contender] = {}
        for peer in peers:
            process = stack.enter_context(plan.start(peer, workload))
            try:
                versions = tuple(sorted(process.wait_ready().items()))
                alive[peer.name] = _Contender(process, versions, process.train_epoch(), [])
                plan.say(f"  {peer.name}: ready, first epoch {alive[peer.name].first.seconds:.2f} s")
            except PeerFailedError as error:
                failures[peer.name] = str(error)
                plan.say(f"  {error}")
        for turn in range(plan.rounds):
            for name in list(alive):
                time.sleep(PAUSE_SECONDS)
                try:
                    # A system may take the memory of a process that sleeps back; the epoch that
                    # fetches it again is not the one that counts.
                    alive[name].process.train_epoch()
                    alive[name].epochs.append(alive[name].process.train_epoch())
                except PeerFailedError as error:
                    failures[name] = str(error)
                    del alive[name]
            plan.say(f"  round {turn + 1} of {plan.rounds}, medians: {_medians(alive)}")
        return [contender.run(number) for contender in alive.values()], failures


@dataclasses.dataclass
class _Contender:
    """A living process with what it has done so far."""

    process: PeerProcess
    versions: tuple[tuple[str, str], ...]
    first: Epoch
    epochs: list[Epoch]

    def run(self, group: int) -> Run:
        return Run(
            peer=self.process.peer.name,
            group=group,
            first=self.first,
            epochs=tuple(self.epochs),
            peak_bytes=self.process.peak_bytes,
            compile_seconds=self.process.compile_seconds,
            note=self.process.peer.note,
            versions=self.versions,
        )


def _medians(alive: dict[str, _Contender]) -> str:
    return ", ".join(
        f"{name} {statistics.median(epoch.seconds for epoch in contender.epochs):.2f}"
        for name, contender in alive.items()
    )
