"""Check with plain Keras that faults cost something, and that sound programs are as good as tuned ones."""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import keras

from held_out.case import Case, Program
from held_out.programs import PROGRAMS
from held_out.scoring import case_constant, case_score

SHORT = {"rmse": 0.10}
SEEDS = (0, 1)


def _least(case: Case) -> float:
    return SHORT.get(case.measure, 0.05) if isinstance(case.measure, str) else 0.05


def _run(case: Case) -> dict[str, float]:
    start = time.perf_counter()
    case.train()
    seconds = time.perf_counter() - start
    return {"score": round(case_score(case), 4), "seconds": round(seconds, 2)}


def check_faulty(program: Program) -> dict[str, Any]:
    """Train a faulty program and its mended form with two seeds."""
    runs = []
    for seed in SEEDS:
        given, fixed = program.build(seed), program.fix(seed)
        runs.append({"given": _run(given), "fixed": _run(fixed)})
        short = runs[-1]["fixed"]["score"] - runs[-1]["given"]["score"]
        if short < _least(given):
            break
    holds = len(runs) == len(SEEDS) and short >= _least(given)
    return {"runs": runs, "constant": round(case_constant(given), 4), "verified": holds}


def _tuned(program: Program, optimizer: Any, factor: int) -> float:
    """Score the program with another optimiser and more epochs, at its best validation loss."""
    case = program.build(0)
    if optimizer is not None:
        model = case.model
        weights = model._compile_config.config.get("loss_weights")
        model.compile(optimizer, model._compile_config.config["loss"], loss_weights=weights)
    keep = keras.callbacks.EarlyStopping("val_loss", patience=10**6, restore_best_weights=True)
    case.fit = {**case.fit, "validation_data": case.val}
    case.train(case.epochs * factor, [keep])
    return round(case_score(case), 4)


def check_sound(program: Program) -> dict[str, Any]:
    """Train a sound program with two seeds, and tuned in three ways unless nothing can be gained."""
    runs = []
    for seed in SEEDS:
        case = program.build(seed)
        runs.append({"given": _run(case)})
    own = sum(r["given"]["score"] for r in runs) / len(runs)
    tuned: dict[str, float] = {}
    if own < 0.98:
        tuned["twice the epochs"] = _tuned(program, None, 2)
        tuned["adam 0.003, twice the epochs"] = _tuned(program, keras.optimizers.Adam(0.003), 2)
        if max(tuned.values()) <= own + 0.02:
            tuned["adam 0.001, twice the epochs"] = _tuned(program, keras.optimizers.Adam(0.001), 2)
    best = max([own, *tuned.values()])
    low = round(case_constant(case), 4)
    return {
        "runs": runs,
        "tuned": tuned,
        "constant": low,
        "verified": best - own <= 0.02 and own > low + 0.05,
    }


def check_noise(program: Program) -> dict[str, Any]:
    """Train a program without signal once; it must not beat a constant answer by 5 points."""
    case = program.build(0)
    run = _run(case)
    low = round(case_constant(case), 4)
    return {"runs": [{"given": run}], "constant": low, "verified": run["score"] < low + 0.05}


def main() -> None:
    """Check the programs that match and write what was found beside the others' results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--match", default=".")
    parser.add_argument("--again", action="store_true", help="also those that were checked before")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "verified.json")
    options = parser.parse_args()
    checks = {"faulty": check_faulty, "sound": check_sound, "noise": check_noise}
    for name, program in PROGRAMS.items():
        known = json.loads(options.out.read_text()) if options.out.exists() else {}
        if not re.search(options.match, f"{program.sort} {program.kind} {name}"):
            continue
        if name in known and not options.again:
            continue
        try:
            found = checks[program.sort](program)
        except Exception as problem:  # noqa: BLE001
            found = {"problem": f"{type(problem).__name__}: {problem}"[:300], "verified": False}
        known[name] = {"sort": program.sort, "kind": program.kind, **found}
        options.out.write_text(json.dumps(known, indent=1) + "\n")
        print(f"{'ok ' if found['verified'] else 'NO '} {name} {found.get('problem', '')}", flush=True)
        for run in found.get("runs", []):
            print("     ", {k: tuple(v.values()) for k, v in run.items()}, found.get("tuned", ""), flush=True)
        keras.utils.clear_session()


if __name__ == "__main__":
    main()
