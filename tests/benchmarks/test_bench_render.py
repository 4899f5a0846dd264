from __future__ import annotations

import datetime
import json

from bench.machine import Machine, machine_label
from bench.measure import Measured
from bench.render import HEADINGS, cells, markdown_table, text_table
from bench.results import Outcome, Report, free_path, write
from bench.summary import Epoch, Run, summarise
from bench.workloads import WORKLOADS, epoch_flops

MACHINE = Machine("Intel(R) Xeon(R) Processor", 2, 24 << 30, ("avx2", "avx512f"), "Linux x86_64", "3.11.7")
RUNS = (
    Run("kilter", 0, Epoch(5.0, 2.2), (Epoch(1.5, 2.0), Epoch(1.7, 1.9)), 900 << 20, 3.25),
    Run("torch", 0, Epoch(5.0, 2.2), (Epoch(6.0, 2.0), Epoch(6.8, 1.9)), 800 << 20, note="NAdam, foreach"),
)
ROWS = summarise(RUNS, "kilter", epoch_flops(WORKLOADS[0]), 200e9)


def report(*outcomes):
    date = datetime.date(2026, 1, 2)
    return Report(date, "benchmarks/run.py", MACHINE, 200e9, "synthetic", 2, False, "kilter", outcomes)


def test_every_figure_has_its_heading():
    assert list(zip(HEADINGS, cells(ROWS[1]), strict=True)) == [
        ("peer", "torch (NAdam, foreach)"),
        ("s/epoch", "6.40"),
        ("min–max", "6.00–6.80"),
        ("n", "2"),
        ("ratio", "4.00×"),
        ("min–max", "4.00–4.00"),
        ("s/call", "6.40"),
        ("compile s", "0.0"),  # its first epoch was no slower than the others
        ("peak MiB", "800"),
        ("GFLOP/s", "21.0"),  # 134.5 GFLOP in 6.4 s
        ("of limit", "11%"),
        ("loss", "1.900"),
    ]


def test_a_missing_ratio_is_a_dash():
    (row,) = summarise(RUNS[1:], "kilter", 1, 1.0)
    assert cells(row)[4:6] == ("–", "–")


def test_text_columns_line_up():
    heading, rule, *lines = text_table(ROWS).splitlines()
    assert len(rule) == len(heading)
    assert {len(line) for line in lines} == {len(heading)}
    assert all(line.index("×") == lines[0].index("×") for line in lines)


def test_markdown_has_as_many_cells_in_every_line():
    lines = markdown_table(ROWS).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert {line.count("|") for line in lines} == {len(HEADINGS) + 1}


def test_label_names_the_processor_and_not_the_host():
    assert machine_label(MACHINE) == "intel-xeon-avx512f-2-cores"


def test_results_are_kept_whole_and_never_overwrite_an_earlier_run(tmp_path):
    outcome = Outcome(WORKLOADS[0], Measured(RUNS, {8: 2.5}, {"lightning": "lightning ended"}), ROWS)
    first = free_path(tmp_path, datetime.date(2026, 1, 2), MACHINE, quick=False)
    write(report(), first)
    write(report(outcome), first)
    second = free_path(tmp_path, datetime.date(2026, 1, 2), MACHINE, quick=False)
    assert (first.name, second.name) == (
        "2026-01-02-intel-xeon-avx512f-2-cores.json",
        "2026-01-02-intel-xeon-avx512f-2-cores-2.json",
    )
    kept = json.loads(first.read_text())
    assert [epoch["seconds"] for epoch in kept["outcomes"][0]["measured"]["runs"][0]["epochs"]] == [1.5, 1.7]
    text = first.with_suffix(".md").read_text()
    assert markdown_table(ROWS) in text
    assert "8: 2.50 s" in text
    assert "Failed: lightning ended" in text
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md"}
