"""What a diagnosis and a treatment cost beside the plain training: compilations, traces, CPU seconds.

Each program runs in a process of its own, without the compilation cache: the training with Keras, the
diagnosis, the treatment. CPU seconds (user and system of the process) change less than wall time with other
work on the machine. ``digest`` stands for findings, changes and weights: it is equal exactly if they are.

Example: ``.venv/bin/python benchmarks/treatment_cost.py --programs lstm-slow --phases``
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WAYS = ("keras", "diagnose", "treat")


def main() -> int:
    """Run each program, print a line for each, keep the figures."""
    options = parse_options()
    if options.child:
        print(json.dumps(measured(options.programs[0], options.ways, options.shorter)))
        return 0
    from cost.programs import PROGRAMS

    found: dict[str, Any] = {}
    for name in options.programs or PROGRAMS:
        command = [
            sys.executable,
            str(Path(__file__)),
            "--child",
            "--programs",
            name,
            "--ways",
            *options.ways,
        ]
        environment = os.environ | {"KILTER_CACHE": "off", "JAX_PLATFORMS": "cpu"}
        result = subprocess.run(
            [*command, "--shorter", str(options.shorter)], env=environment, capture_output=True, text=True
        )
        if result.returncode:
            print(name, result.stderr[-2000:])
            continue
        found[name] = json.loads(result.stdout.splitlines()[-1])
        print(line(name, found[name]), flush=True)
        if options.phases:
            print(*phases(found[name]), sep="\n", flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1))
    return 0


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--programs", nargs="+", default=[], help="names; all if left out")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument(
        "--shorter", type=int, default=1, help="divides the epochs, to compare digests quickly"
    )
    parser.add_argument("--phases", action="store_true", help="also CPU seconds and programs by phase")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(name: str, ways: list[str], shorter: int) -> dict[str, Any]:
    """The figures of one program in this process."""
    import kilter  # isort: skip  (before keras: it chooses the backend)
    import keras

    from cost.counting import counted
    from cost.programs import PROGRAMS

    found: dict[str, Any] = {}
    for way in ways:
        keras.utils.set_random_seed(0)
        program = PROGRAMS[name]()
        epochs = max(2, program.options["epochs"] // shorter)
        options = program.options | {"epochs": epochs, "validation_data": program.held, "verbose": 0}
        if way == "keras":
            began = time.process_time()
            program.model.fit(program.x, program.y, **options)
            found[way] = {"cpu": time.process_time() - began}
            continue
        with counted() as count:
            result = getattr(kilter, way)(program.model, program.x, program.y, **options, seed=1)
        found[way] = {
            "cpu": count.total,
            "compiled": count.compiled(),
            "large": count.large(),
            "traced": sum(n for (kind, *_), n in count.events.items() if kind == "trace"),
            "kinds": {kind: count.of(kind) for kind in ("compile", "trace", "lower", "other")},
            "phases": sorted(
                ([*key, value] for key, value in count.seconds.items()), key=lambda one: -one[2]
            ),
            "events": sorted([*key, value] for key, value in count.events.items()),
            "steps": sorted([*key, value, count.work[key]] for key, value in count.steps.items()),
            "trainings": count.trainings(),
            "digest": digest(result),
            "found": described(result),
        }
    return found


def described(result: Any) -> list[Any]:
    """Findings, changes and scores as plain values."""
    diagnosis = getattr(result, "diagnosis", result)
    findings = [[one.code, one.severity, one.where, repr(one.evidence)] for one in diagnosis.findings]
    if not hasattr(result, "changes"):
        return findings
    changes = [[one.remedy, one.where, one.before, one.after] for one in result.changes]
    tried = [[one.remedies, repr(one.score), one.outcome] for one in result.trials.tried]
    return [
        findings,
        changes,
        tried,
        repr(result.after.score),
        repr(dict(result.after.measures)),
        result.kept,
    ]


def digest(result: Any) -> str:
    """A hash of :func:`described` and of the weights."""
    made = hashlib.sha256(json.dumps(described(result)).encode())
    model = getattr(result, "model", None)
    for array in [] if model is None else model.get_weights():
        made.update(array.tobytes())
    return made.hexdigest()[:12]


def line(name: str, found: dict[str, Any]) -> str:
    """The figures of one program on a line."""
    plain = found.get("keras", {}).get("cpu")
    parts = [f"{name:18s}" + ("" if plain is None else f" keras {plain:6.1f} s")]
    for way, one in found.items():
        if way == "keras":
            continue
        kinds = " ".join(f"{kind} {seconds:.1f}" for kind, seconds in one["kinds"].items())
        ratio = "" if plain is None else f" = {one['cpu'] / plain:.2f}x"
        times = f"{sum(one['trainings'].values()):.2f} trainings, "
        programs = f"{times}{one['compiled']} programs ({one['large']} large), {one['traced']} traces"
        parts.append(f"{way} {one['cpu']:.1f} s{ratio} ({kinds}), {programs}, {one['digest']}")
    return "; ".join(parts)


def phases(found: dict[str, Any]) -> list[str]:
    """A line for each phase of the treatment, or of the diagnosis."""
    one = found.get("treat") or found["diagnose"]
    by: dict[str, dict[str, float]] = {}
    for phase, kind, seconds in one["phases"]:
        by.setdefault(phase, {})[kind] = seconds
    programs: dict[str, list[int]] = {}
    for kind, name, phase, count in one["events"]:
        if kind == "compile":
            each = programs.setdefault(phase, [0, 0])
            each[0] += count
            each[1] += count * ("run" in name)
    trainings = one["trainings"]
    return [
        f"    {phase:30s} {trainings.get(phase, 0):6.2f} trainings {sum(kinds.values()):6.2f} s  "
        + " ".join(f"{kind} {seconds:.2f}" for kind, seconds in kinds.items())
        + "  {} programs, {} large".format(*programs.get(phase, [0, 0]))
        for phase, kinds in sorted(by.items(), key=lambda item: -sum(item[1].values()))
    ]


if __name__ == "__main__":
    sys.exit(main())
