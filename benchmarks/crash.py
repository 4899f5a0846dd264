"""Kill trainings with SIGKILL at random moments, resume them, and compare the bits: ``make crash``.

    python benchmarks/crash.py [--kills 200] [--seed 0] [--out FILE.json]

Every trial is one training that is killed up to four times, by one process or by two together, of which one
is killed. At the end its checkpoint, history, result and model must be those of an undisturbed training, bit
for bit. Exit code 1 if one is not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.runs.crashing import SUBJECTS, plan, trial

KILLS_A_TRIAL = 4


def run(kills: int, seed: int, folder: Path) -> dict[str, object]:
    """The counts of so many kills, over all subjects in turn."""
    generator = random.Random(seed)
    wanted = {name: trial(name, folder / f"{name}-whole", [])[1] for name in SUBJECTS}
    print(f"undisturbed: {', '.join(wanted)}", flush=True)
    counts: Counter[str] = Counter()
    different: list[str] = []
    number, began = 0, time.monotonic()
    while counts["killed"] < kills:
        name = list(SUBJECTS)[number % len(SUBJECTS)]
        plans = [plan(generator) for _ in range(KILLS_A_TRIAL)]
        counts["trials"] += 1
        number += 1
        try:
            codes, found = trial(name, folder / f"{name}-{number}", plans)
        except TimeoutError as error:
            counts["failed"] += 1
            different.append(f"{name}-{number}: {error}, {plans}")
            continue
        for kill, code in zip(plans, codes[:-1], strict=True):
            counts["killed"] += code == -9
            counts[f"killed by {kill.kind}"] += code == -9
            counts[f"killed in {name}"] += code == -9
            counts["ended before the kill"] += code == 0
            counts["failed"] += code not in (0, -9)
        counts["failed"] += codes[-1] != 0
        parts = [part for part in wanted[name] if found.get(part) != wanted[name][part]]
        if parts or codes[-1] != 0:
            different.append(f"{name}-{number}: {parts}, {codes}, {plans}")
        print(f"{number} trials, {counts['killed']} kills, {len(different)} different", flush=True)
    return {"seed": seed, "counts": dict(counts), "different": different, "seconds": time.monotonic() - began}


def _share_compiled_programs(folder: Path) -> None:
    """Let each child load the programs that the first one compiled, also those that take no time.

    They are not optimised, as in the tests: the bits are compared, not the speed.
    """
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def main() -> None:
    """Run, print the counts as JSON and end with code 1 for a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="a folder for the runs and logs, which stay")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        _share_compiled_programs(folder / "programs")
        found = run(given.kills, given.seed, folder)
    text = json.dumps(found, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")
    counts = found["counts"]
    sys.exit(1 if found["different"] or (isinstance(counts, dict) and counts["failed"]) else 0)


if __name__ == "__main__":
    main()
