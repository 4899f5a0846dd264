"""What a run leaves behind: a JSON file with every epoch, and the same tables as Markdown."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

from bench.machine import Machine, machine_label
from bench.measure import Measured
from bench.render import markdown_table
from bench.summary import Row, disturbance
from bench.workloads import Workload, epoch_flops, needed_flops

METHOD = (
    "Ratio: the peer's median seconds an epoch over the reference's, both from the same rounds; its "
    "range is that of the round-by-round ratios. s/call: a whole fit call of one epoch, with handing "
    "over the data. Compile: what kilter's History reports, for the others the first epoch minus the "
    "median. Peak: highest resident memory of the peer's process. GFLOP/s: 6 × multiply-adds of a row × "
    "rows, over the median; of limit: that over the best float32 matrix product of NumPy or XLA on this "
    "machine."
)

# Share of CPU time taken by others above which a peer with as many threads as cores is clearly slowed.
BUSY = 0.05


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One workload, measured and summarised."""

    workload: Workload
    measured: Measured
    rows: tuple[Row, ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """A whole run of the benchmark."""

    date: datetime.date
    command: str
    machine: Machine
    gemm_peak: float
    data: str
    rounds: int
    quick: bool
    reference: str
    outcomes: tuple[Outcome, ...]


def free_path(folder: Path, date: datetime.date, machine: Machine, quick: bool) -> Path:
    """``<folder>/<date>-<machine>.json``, with a number where earlier results have the name."""
    stem = f"{date.isoformat()}-{machine_label(machine)}{'-quick' if quick else ''}"
    number, path = 1, folder / f"{stem}.json"
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.json"
    return path


def write(report: Report, path: Path) -> None:
    """Write the report as JSON to ``path`` and as Markdown beside it, in place of what stands there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, text in (
        (path, json.dumps(to_json(report), indent=1) + "\n"),
        (path.with_suffix(".md"), to_markdown(report)),
    ):
        temporary = target.with_suffix(".part")
        temporary.write_text(text)
        temporary.replace(target)


def to_json(report: Report) -> dict[str, Any]:
    """Everything measured, as plain JSON types."""
    record = dataclasses.asdict(report)
    record["date"] = report.date.isoformat()
    for outcome, plain in zip(report.outcomes, record["outcomes"], strict=True):
        plain["epoch_flops"] = epoch_flops(outcome.workload)
        plain["needed_flops"] = needed_flops(outcome.workload)
        for run in plain["measured"]["runs"]:
            run["versions"] = dict(run["versions"])
    return record


def to_markdown(report: Report) -> str:
    """The tables with what a reader needs to judge them: hardware, versions, method, command line."""
    machine = report.machine
    head = (
        f"# Benchmark of {report.date.isoformat()}{' (quick: too short to quote)' if report.quick else ''}",
        f"- Machine: {machine.processor}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, "
        f"{machine.system} ({', '.join(machine.flags)}); float32 matrix-product limit "
        f"{report.gemm_peak / 1e9:.0f} GFLOP/s",
        f"- Data: {report.data}; Python {machine.python}",
        f"- Command: `{report.command}`; {report.rounds} rounds, reference {report.reference}",
    )
    tables = "\n\n".join(outcome_markdown(outcome) for outcome in report.outcomes)
    versions = "\n".join(f"- {peer}: {what}" for peer, what in versions_of(report).items())
    first, *rest = head
    return "\n\n".join((first, "\n".join(rest), tables, METHOD, "## Versions", versions)) + "\n"


def outcome_markdown(outcome: Outcome) -> str:
    """One workload's heading, table and remarks."""
    return "\n\n".join((f"## {outcome.workload.title}", markdown_table(outcome.rows), *remarks(outcome)))


def remarks(outcome: Outcome) -> list[str]:
    """What stands under a table: size, probes, disturbance by others, failures."""
    workload = outcome.workload
    saved = 1 - needed_flops(workload) / epoch_flops(workload)
    flops = f"{epoch_flops(workload) / 1e9:.1f} GFLOP"
    lines = [
        f"{workload.rows:,} rows, {flops} an epoch ({saved:.0%} of it is the gradient of the input, which "
        f"nobody needs); one copy of the input is {workload.data_bytes / 2**20:.0f} MiB."
    ]
    if outcome.measured.probes:
        tried = ", ".join(f"{steps}: {seconds:.2f} s" for steps, seconds in outcome.measured.probes.items())
        lines.append(f"steps_per_execution tried (best of two epochs): {tried}.")
    others = disturbance(outcome.measured.runs)
    if others is not None:
        verdict = " The machine was too busy: do not quote these figures." if others.median > BUSY else ""
        lines.append(
            f"CPU time taken by others in an epoch: median {others.median:.1%}, at most {others.high:.1%}."
            + verdict
        )
    lines += [f"Failed: {reason}" for reason in outcome.measured.failures.values()]
    return lines


def versions_of(report: Report) -> dict[str, str]:
    """Library versions by peer."""
    return {
        run.peer: ", ".join(f"{name} {version}" for name, version in run.versions)
        for outcome in report.outcomes
        for run in outcome.measured.runs
    }
