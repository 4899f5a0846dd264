"""The corpus of faulty and sound programs: what kilter finds in them, and what it makes of them.

    .venv/bin/python benchmarks/corpus.py diagnose            every program, diagnosed
    .venv/bin/python benchmarks/corpus.py treat --sample 30   faulty ones, treated beside sound references
    .venv/bin/python benchmarks/corpus.py null 200            identical programs: how often an effect is seen
    .venv/bin/python benchmarks/corpus.py reported            programs of other kinds, and the calibration
    .venv/bin/python benchmarks/corpus.py repairs             a sample of all kinds of programs, treated
    .venv/bin/python benchmarks/corpus.py sequences           recurrent networks and attention, the same way
    .venv/bin/python benchmarks/corpus.py causes              data, losses, updates and splits, the same way
    .venv/bin/python benchmarks/corpus.py strangers           programs after public reports, the same way
    .venv/bin/python benchmarks/corpus.py odd                 valid programs of every other kind: no exception

``--held-out SEED`` draws other depths, widths and weights. Results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

from bench import machine
from programs import calibration, measuring, odd, repairs
from programs.cases import cases
from programs.causes_cases import causes
from programs.families import Case
from programs.reported_cases import reported
from programs.sequence_cases import sequences
from programs.strangers import strangers
from programs.summary import of_diagnoses, of_treatments, page

# Programs that are trained beside their references, for the calibration of the findings.
JUDGED: dict[str, Callable[[], Any]] = {
    "reported": reported, "sequences": sequences, "causes": causes, "strangers": strangers,
}  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Measure what was asked for; 0 unless a program raised an exception."""
    options = _options()
    if options.what == "null":
        found = measuring.claims(options.number, lambda line: print(line, flush=True))
        lines = [f"{found['claimed']} of {found['trials']} trials of identical programs claim an effect"]
        rows: list[dict[str, Any]] = [found]
    elif options.what in JUDGED:
        known = JUDGED[options.what]()
        chosen = [one for one in known if not options.only or any(part in one.name for part in options.only)]
        found = measuring.each(chosen, calibration.judged, lambda name, one: print(name, one, flush=True))
        rows = measuring.to_rows(found)
        lines = calibration.figures(rows)
    elif options.what == "repairs":
        sample = [
            one
            for one in repairs.sample(options.seed)
            if not options.only or any(part in one.name for part in options.only)
        ]
        rows = measuring.to_rows(
            measuring.each(sample, repairs.repaired, lambda name, one: print(name, one, flush=True))
        )
        lines = repairs.figures(rows)
    elif options.what == "odd":
        rows = odd.tried(options.only, lambda line: print(line, flush=True))
        bad = [row for row in rows if row["error"]]
        lines = [f"{len(bad)} of {len(rows)} odd programs raised an exception"]
    else:
        lines, rows = _measured(options)
    print("\n".join(lines))
    if options.keep:
        _keep(options, lines, rows)
    return int(any(row.get("error") for row in rows))


def _measured(options: argparse.Namespace) -> tuple[list[str], list[dict[str, Any]]]:
    chosen = [measuring.held_out(case, options.held_out) for case in _chosen(options)]
    one = measuring.diagnosed if options.what == "diagnose" else measuring.treated
    results = measuring.each(chosen, lambda case: one(case, options.held_out), _say)
    summary = of_diagnoses if options.what == "diagnose" else of_treatments
    return summary(results), measuring.to_rows(results)


def _chosen(options: argparse.Namespace) -> list[Case]:
    known = cases()
    if options.what == "treat":
        known = [case for case in known if case.curable and (options.sound or case.faulty)]
    if options.only:
        known = [case for case in known if any(part in case.name for part in options.only)]
    if options.sample and options.sample < len(known):
        order = np.random.default_rng(options.seed).permutation(len(known))
        known = [known[index] for index in sorted(order[: options.sample])]
    return known


def _say(name: str, result: Any) -> None:
    if isinstance(result, measuring.Diagnosed):
        good = result.detected == result.faulty and (result.named or not result.faulty)
        told = f"severe {','.join(result.severe) or '-'}; warnings {','.join(result.warnings) or '-'}"
    else:
        good = result.repaired
        told = (
            f"{result.score:.3f} of {result.reference:.3f} (found {', '.join(result.severe) or 'nothing'}; "
            f"{', '.join(result.changes) or 'no change'}; "
            f"{result.verdict}; processor {result.processor_seconds:.1f} s, "
            f"Keras {result.keras_seconds:.1f} s, {result.keras_processor_seconds:.1f} s)"
        )
    mark = "!!" if result.error else "  " if good else "XX"
    print(f"{mark} {name:32} {result.seconds:5.1f} s  {result.error or told}", flush=True)


def _keep(options: argparse.Namespace, lines: list[str], rows: list[dict[str, Any]]) -> None:
    folder = ROOT / "benchmarks" / "results"
    stem = f"{datetime.date.today()}-corpus-{options.what}"
    command = f"benchmarks/corpus.py {' '.join(sys.argv[1:])}"
    (folder / f"{stem}.json").write_text(json.dumps({"command": command, "rows": rows}, indent=1) + "\n")
    (folder / f"{stem}.md").write_text(page(command, machine.describe(), lines, rows))
    print(f"kept in benchmarks/results/{stem}.md")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = ("diagnose", "treat", "repairs", "null", "odd", *JUDGED)
    parser.add_argument("what", choices=kinds)
    parser.add_argument("number", nargs="?", type=int, default=200, help="trials of null")
    parser.add_argument("--sample", type=int, default=0, help="so many cases, drawn with --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=int, default=0, help="draw depths, widths and weights anew")
    parser.add_argument("--only", nargs="*", default=[], help="cases with one of these in their names")
    parser.add_argument("--sound", action="store_true", help="treat sound programs too")
    parser.add_argument("--keep", action="store_true", help="write the results to benchmarks/results/")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
