"""Run kilter's doctor on the programs and say what it found, repaired, missed and harmed.

python -m held_out.judge --only diagnose --match conv
python -m held_out.judge --sample 20 --seed 1 --jobs 2 --out judged
python -m held_out.judge --why softmax-of-one
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import kilter
from held_out.case import Case, Program
from held_out.programs import PROGRAMS
from held_out.reporting import markdown
from held_out.scoring import case_constant, case_score

HERE = Path(__file__).parent
VERIFIED = HERE / "verified.json"


def _verified() -> dict[str, Any]:
    return json.loads(VERIFIED.read_text()) if VERIFIED.exists() else {}


def _given(case: Case) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what diagnose and treat are called with."""
    options = {"validation_data": case.val, "batch_size": case.batch_size, "verbose": False, **case.fit}
    return (case.model, case.x, case.y), options


def _level(finding: Any) -> str:
    return str(getattr(finding.severity, "value", finding.severity)).lower()


def _diagnose(program: Program, seed: int) -> dict[str, Any]:
    case = program.build(seed)
    arguments, options = _given(case)
    start = time.perf_counter()
    diagnosis = kilter.diagnose(*arguments, epochs=case.epochs, **options)
    seconds = time.perf_counter() - start
    found = [{"code": f.code, "severity": _level(f), "where": str(f.where)} for f in diagnosis.findings]
    return {"ok": bool(diagnosis.ok), "findings": found, "diagnose_seconds": round(seconds, 2)}


def _treat(program: Program, seed: int) -> dict[str, Any]:
    plain = program.build(seed)
    start = time.perf_counter()
    plain.train()
    plain_seconds = time.perf_counter() - start
    case = program.build(seed)
    arguments, options = _given(case)
    start = time.perf_counter()
    treatment = kilter.treat(*arguments, epochs=case.epochs, **options)
    seconds = time.perf_counter() - start
    return {
        "plain": round(case_score(plain), 4),
        "treated": round(case_score(case, treatment.model), 4),
        "constant": round(case_constant(case), 4),
        "changes": [_words(c) for c in treatment.changes],
        "kept": str(treatment.kept or ""),
        "plain_seconds": round(plain_seconds, 2),
        "treat_seconds": round(seconds, 2),
        "summary": list(treatment.summary()),
    }


def _words(change: Any) -> str:
    where = ", ".join(change.where) if isinstance(change.where, tuple | list) else change.where
    return f"{change.remedy} ({where}): {change.before} -> {change.after}"


def judge_one(name: str, only: str, seed: int) -> dict[str, Any]:
    """Judge one program in this process."""
    program = PROGRAMS[name]
    found: dict[str, Any] = {}
    for part, run in (("diagnose", _diagnose), ("treat", _treat)):
        if only in ("both", part):
            try:
                found.update(run(program, seed))
            except Exception as problem:  # noqa: BLE001
                found.setdefault("problems", []).append(f"{part}: {type(problem).__name__}: {problem}"[:400])
                found["trace"] = traceback.format_exc()[-3000:]
    return found


def _apart(name: str, only: str, seed: int, limit: float) -> dict[str, Any]:
    """Judge one program in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "one.json"
        command = [sys.executable, "-m", "held_out.judge", "--one", name, "--only", only, "--seed", str(seed)]
        try:
            done = subprocess.run(
                [*command, "--out", str(out)], capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return {"problems": [f"longer than {limit:.0f} s"]}
        if not out.exists():
            return {"problems": [f"ended with {done.returncode}"], "trace": done.stderr[-3000:]}
        return json.loads(out.read_text())


def verdict(program: Program, found: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Put what the doctor did beside what is known about the program."""
    result = {"name": program.name, "sort": program.sort, "kind": program.kind, "cause": program.cause}
    result |= {"source": program.source, "repairable": program.repairable, **found}
    if "findings" in found:
        result["severe"] = sorted({f["code"] for f in found["findings"] if f["severity"] == "severe"})
        result["warned"] = sorted({f["code"] for f in found["findings"] if f["severity"] == "warning"})
    if "treated" in found:
        result["harmed"] = found["treated"] < found["plain"] - 0.01
        result["harmed_by_changes"] = result["harmed"] and bool(found["changes"])
        fixed = [run["fixed"]["score"] for run in known.get("runs", []) if "fixed" in run]
        if fixed:
            result["fixed"] = round(sum(fixed) / len(fixed), 4)
            result["repaired"] = found["treated"] >= result["fixed"] - 0.02
        if program.sort == "noise":
            result["claimed"] = bool(found["changes"]) and not found["kept"]
    return result


def choose(options: argparse.Namespace) -> list[str]:
    """Return the names of the verified programs that were asked for."""
    known = _verified()
    names = [n for n, p in PROGRAMS.items() if re.search(options.match, f"{p.sort} {p.kind} {n}")]
    if not options.unverified:
        names = [n for n in names if known.get(n, {}).get("verified")]
    if options.sample and options.sample < len(names):
        chosen = set(random.Random(options.seed).sample(names, options.sample))
        names = [n for n in names if n in chosen]
    return names


def why(name: str, seed: int) -> None:
    """Print the diagnosis of one program."""
    program = PROGRAMS[name]
    print(f"{name} ({program.sort}, {program.kind}): {program.cause or 'nothing is wrong'}\n")
    arguments, options = _given(program.build(seed))
    for f in kilter.diagnose(*arguments, **options).findings:
        print(f"{_level(f)}: {f.code} {f.where}\n    {f.explanation}\n    {f.remedies}")


def judge_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Judge the programs, some at a time, and write what is known after each."""
    names, known = choose(options), _verified()
    results: dict[str, dict[str, Any]] = {}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        waiting = {pool.submit(_apart, n, options.only, options.model_seed, options.limit): n for n in names}
        for future in concurrent.futures.as_completed(waiting):
            name = waiting[future]
            results[name] = verdict(PROGRAMS[name], future.result(), known.get(name, {}))
            print(
                f"{len(results)}/{len(names)} {name}",
                results[name].get("problems", ""),
                file=sys.stderr,
                flush=True,
            )
            ordered = [results[n] for n in names if n in results]
            options.out.with_suffix(".json").write_text(json.dumps(ordered, indent=1) + "\n")
            options.out.with_suffix(".md").write_text(markdown(ordered))
    return [results[n] for n in names]


def main() -> None:
    """Judge what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("both", "diagnose", "treat"), default="both")
    parser.add_argument("--match", default=".", help="a regular expression for 'sort kind name'")
    parser.add_argument("--sample", type=int, default=0, help="judge so many of them, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model-seed", type=int, default=0, help="the seed of the networks' weights")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds for each program")
    parser.add_argument("--unverified", action="store_true", help="also programs that are not verified")
    parser.add_argument("--why", metavar="NAME")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("judged"))
    options = parser.parse_args()
    if options.why:
        why(options.why, options.model_seed)
    elif options.one:
        options.out.write_text(json.dumps(judge_one(options.one, options.only, options.seed)))
    else:
        print(markdown(judge_all(options)))


if __name__ == "__main__":
    main()
