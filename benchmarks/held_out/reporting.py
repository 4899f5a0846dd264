"""The tables that the judge prints."""

from __future__ import annotations

from statistics import median
from typing import Any

Result = dict[str, Any]


def _share(results: list[Result], key: str) -> str:
    seen = [r for r in results if key in r]
    return f"{sum(bool(r[key]) for r in seen)}/{len(seen)}" if seen else "–"


def _middle(values: list[float], digits: int = 1) -> str:
    return f"{median(values):.{digits}f}" if values else "–"


def _cost(results: list[Result]) -> str:
    return _middle(
        [r["treat_seconds"] / max(r["plain_seconds"], 0.01) for r in results if "treat_seconds" in r]
    )


def _changes(results: list[Result]) -> str:
    return _middle([len(r["changes"]) for r in results if "changes" in r])


def _row(label: str, results: list[Result]) -> str:
    severe = [r | {"any": bool(r["severe"])} for r in results if "severe" in r]
    mendable = [r for r in results if r["repairable"]]
    cells = [
        label,
        len(results),
        _share(severe, "any"),
        _share(mendable, "repaired"),
        _share(results, "repaired"),
        _share(results, "harmed"),
        _share(results, "harmed_by_changes"),
        _share(results, "claimed"),
        sum(bool(r.get("problems")) for r in results),
        _changes(results),
        _cost(results),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def _counts(results: list[Result]) -> list[str]:
    lines = [
        "| Programs | Number | Severe finding | Repaired, of the repairable | Repaired, of all | Harmed"
        " | Harmed with changes | Claimed on noise | Exceptions | Median changes"
        " | Median cost, times plain training |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for sort in ("faulty", "sound", "noise"):
        of = [r for r in results if r["sort"] == sort]
        if of:
            lines.append(_row(f"**{sort}**", of))
        for kind in dict.fromkeys(r["kind"] for r in of):
            lines.append(_row(f"{sort}, {kind}", [r for r in of if r["kind"] == kind]))
    return lines


def _score(r: Result, key: str) -> str:
    return f"{r[key]:.3f}" if key in r else ""


def _faults(results: list[Result]) -> list[str]:
    lines = [
        "| Program | What is wrong | Severe | Warned | As it came | Treated | Mended by hand | Changes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        if r["sort"] == "faulty":
            mark = "" if r["repairable"] else " (not repairable)"
            codes = [", ".join(r.get(k, [])) for k in ("severe", "warned")]
            scores = [_score(r, k) for k in ("plain", "treated", "fixed")]
            cells = [r["name"], r["cause"] + mark, *codes, *scores, "; ".join(r.get("changes", []))]
            lines.append("| " + " | ".join(c.replace("|", "/") for c in cells) + " |")
    return lines


def _others(results: list[Result]) -> list[str]:
    lines = ["| Program | Severe | As it came | Treated | Changes |", "|---|---|---|---|---|"]
    for r in results:
        if r["sort"] != "faulty" and (r.get("severe") or r.get("harmed") or r.get("claimed")):
            cells = [r["name"], ", ".join(r.get("severe", [])), _score(r, "plain"), _score(r, "treated")]
            lines.append(
                "| " + " | ".join([*cells, "; ".join(r.get("changes", []))]).replace("\n", " ") + " |"
            )
    return lines


def markdown(results: list[Result]) -> str:
    """Return the counts, the causes beside the codes found, and what went wrong elsewhere."""
    parts = ["## Counts", "", *_counts(results)]
    parts += ["", "## Faulty programs: the cause beside what was found", "", *_faults(results)]
    parts += [
        "",
        "## Sound and noise programs that were called faulty, changed or harmed",
        "",
        *_others(results),
    ]
    problems = [f"- {r['name']}: {p}" for r in results for p in r.get("problems", [])]
    parts += ["", "## Exceptions", "", *(problems or ["none"])]
    return "\n".join(parts) + "\n"
