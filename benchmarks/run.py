"""``make bench``: kilter and its peers side by side, in one run, on the same data and models.

Example: ``.venv/bin/python benchmarks/run.py --workloads mlp-32 --peers kilter,keras-jax --rounds 3``
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import data, machine, measure, results
from bench.peers import HERE, PEERS, REFERENCE, Peer, make_environment
from bench.render import text_table
from bench.summary import summarise
from bench.workloads import WORKLOADS, Workload, epoch_flops

QUICK_ROWS = 1_000
QUICK_ROUNDS = 2
QUICK_PROBES = (8, 32)
PROBES = (8, 32, 64, 128)
PATIENCE_SECONDS = 1_800.0


def main() -> int:
    """Measure what the command line asks for; 0 when every peer was measured, 1 when one failed."""
    options = parse_options(sys.argv[1:])
    peers = usable(options.peers)
    folder, what = data.prepare()
    report = results.Report(
        date=datetime.date.today(),
        command=shlex.join(("benchmarks/run.py", *sys.argv[1:])),
        machine=machine.describe(),
        gemm_peak=machine.gemm_peak(),
        data=what,
        rounds=options.rounds,
        quick=options.quick,
        reference=REFERENCE,
        outcomes=(),
    )
    print(introduction(report), flush=True)
    scratch = data.CACHE / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)  # cold compilation caches
    plan = measure.Plan(options.rounds, options.probes, PATIENCE_SECONDS, folder, scratch, say)
    path = results.free_path(options.results, report.date, report.machine, options.quick)
    for workload in options.workloads:
        outcome = run_workload(workload, peers, plan, report.gemm_peak)
        report = dataclasses.replace(report, outcomes=(*report.outcomes, outcome))
        results.write(report, path)  # after each, so that an interrupted run keeps what it has
    say(f"\n{results.METHOD}\nkept in {path.with_suffix('.md')} and {path.name}")
    complete = len(peers) == len(options.peers) and not any(
        each.measured.failures for each in report.outcomes
    )
    return 0 if complete else 1


def say(line: str) -> None:
    """Print a line at once: progress is watched through pipes too."""
    print(line, flush=True)


def introduction(report: results.Report) -> str:
    """What is about to be measured on."""
    limit = f"{report.gemm_peak / 1e9:.0f} GFLOP/s"
    return f"{report.machine.processor}, {report.machine.cores} cores; float32 limit {limit}; {report.data}"


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, resolved to workloads and peers; exits with 2 and a message on a wrong one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    workloads = {workload.name: workload for workload in WORKLOADS}
    peers = {peer.name: peer for peer in PEERS}
    parser.add_argument(
        "--workloads", default=",".join(workloads), help="names with commas (default: %(default)s)"
    )
    parser.add_argument("--peers", default=",".join(peers), help="names with commas (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, help="measured epochs of each peer (default: 5; 2 with --quick)"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_ROWS} rows: does it run? No figures to quote"
    )
    parser.add_argument(
        "--results", type=Path, default=HERE / "results", help="folder for the JSON and Markdown"
    )
    options = parser.parse_args(arguments)
    options.workloads = _chosen(parser, "--workloads", options.workloads, workloads)
    options.peers = _chosen(parser, "--peers", options.peers, peers)
    options.rounds = options.rounds if options.rounds is not None else QUICK_ROUNDS if options.quick else 5
    if options.rounds < 1:
        parser.error(f"--rounds: expected at least 1, received {options.rounds}")
    if options.quick:
        options.workloads = tuple(dataclasses.replace(each, rows=QUICK_ROWS) for each in options.workloads)
    options.probes = QUICK_PROBES if options.quick else PROBES
    return options


def usable(peers: Sequence[Peer]) -> list[Peer]:
    """The peers whose environment stands or can be made; the others are named and left out."""
    found = []
    for peer in peers:
        try:
            make_environment(peer)
        except subprocess.CalledProcessError as error:
            say(f"{peer.name} left out: pip ended with {error.returncode}")
            continue
        found.append(peer)
    return found


def run_workload(
    workload: Workload, peers: Sequence[Peer], plan: measure.Plan, peak: float
) -> results.Outcome:
    """Measure one workload and print its table."""
    say(f"\n{workload.title}")
    measured = measure.measure(workload, peers, plan)
    rows = summarise(measured.runs, REFERENCE, epoch_flops(workload), peak)
    outcome = results.Outcome(workload, measured, rows)
    say("\n".join(("", text_table(rows), *results.remarks(outcome))))
    return outcome


def _chosen(parser: argparse.ArgumentParser, option: str, text: str, known: dict) -> tuple:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        parser.error(f"{option}: expected names out of {', '.join(known)}; received {text!r}")
    return tuple(known[name] for name in names)


if __name__ == "__main__":
    sys.exit(main())
